"""The same work on a device over a good line and over a bad one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.arch.neurocorex import CoreImage, Space, spaces
from dyncc.arch.neurocorex.packets import Opcode
from dyncc.link import Statistics, Transport
from dyncc.spiking.device_core import DeviceCore


@dataclass
class Outcome:
    """What came out of the work, and what is left in the device.

    Attributes
    ----------
    results
        Arrays and counters that the host got, in their order.
    memories
        All words of all memories.
    log_end
        Position after the last log word.
    statistics
        Of the session; the only thing that may depend on the line.
    """

    results: list[Any]
    memories: dict[Space, list[int]]
    log_end: int
    statistics: Statistics


def work(transport: Transport, image: CoreImage, rounds: int, steps: int = 100) -> Outcome:
    """Program now and then; run, record, read what was learnt, rest."""
    with DeviceCore(transport) as core:
        results = []
        for seed in range(rounds):
            if seed % 4 == 0:
                core.program(image)
            results += one_round(core, seed, steps)
        return Outcome(
            results,
            {space: core._read(space) for space in spaces(core.spec)},
            core._snapshot()["log_end"],
            core.session.statistics,
        )


def one_round(core: DeviceCore, seed: int, steps: int) -> list[Any]:
    """A run with silent stretches, one in which potentials are recorded, and what is left."""
    draw = numpy.random.default_rng(seed)
    spikes = draw.random((steps, core.spec.inputs)) < 0.2
    spikes[steps // 4 : steps // 2] = False
    first = core.run(spikes)
    found = [first.spikes, core.counters(), core.weights()]
    if not first.decided:
        second = core.run(draw.random((20, core.spec.inputs)) < 0.3, record=[0, 3, 4])
        found += [second.spikes, second.potentials, second.decided, second.winner]
    core.rest()
    # A request that is refused changes nothing.
    assert core.session.ask(Opcode.STOP) == b""
    return found


def check_equal(found: Outcome, expected: Outcome) -> None:
    """All but statistics are the same."""
    assert len(found.results) == len(expected.results)
    for one, other in zip(found.results, expected.results, strict=True):
        if isinstance(one, numpy.ndarray):
            assert one.shape == other.shape
            assert (one == other).all()
        else:
            assert one == other
    assert found.memories == expected.memories
    assert found.log_end == expected.log_end
