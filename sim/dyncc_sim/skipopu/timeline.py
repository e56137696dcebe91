"""Layers in time, as the hardware does them and as the model of time has them.

Usage: ``python -m dyncc_sim.skipopu.timeline [--rtl] [-o FOLDER]``. With ``--rtl`` the program
runs on the hardware again, and what it did is recorded in ``timeline.json``, beside this file.
Draws ``skipopu-layers-rtl.svg`` and ``skipopu-layers-model.svg``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from dyncc.arch.skipopu.csr import CLIENTS, WRITERS
from dyncc.arch.skipopu.isa import R_NEXT_SLOT, Engine, Op
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.core.figures import save
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.executor import Executor
from dyncc_sim.skipopu.flow import Source
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.outcomes import Computed
from dyncc_sim.skipopu.pictures import layer_window, timeline
from dyncc_sim.skipopu.small import Small
from dyncc_sim.skipopu.timing import Span, Timing, simulate

RECORD = Path(__file__).with_suffix(".json")
#: The board's instance; the memory of the bench has no refresh.
ARCH = replace(ARCHS["ecp5_85f"], refresh_period_cycles=0, refresh_cycles=0)
#: Small, since each cycle of the hardware costs time.
DECODER = LlamaConfig(
    width=128, hidden=384, layers=4, heads=4, kv_heads=2, head_size=32, vocabulary=96, context=40
)
#: Whether attention and MLP of each layer run, and what a picture says of those that are shown.
RUNS = ((True, True), (False, True), (True, False), (True, True))
SHOWN = (0, 2)
TITLE = "a layer that runs, one that skips attention, one that skips its MLP"
#: Tokens before.
BEFORE = 20
NAMES = {"rtl": "skipopu-layers-rtl", "model": "skipopu-layers-model"}
_SOURCES = {
    "fetch": Source.PROGRAM, "vectors": Source.VECTORS, "rotations": Source.VECTORS,
    "history": Source.KV, "entries": Source.KV, "stream": Source.MATRICES,
    **dict.fromkeys(WRITERS, Source.WRITES),
}  # fmt: skip
assert set(_SOURCES) == set(CLIENTS)


@dataclass
class Token:
    """A token in the middle of a text, with routers that decide as `RUNS`.

    Attributes
    ----------
    small, memory
        The decoder, and memory with all tokens before.
    registers, changes
        With which its program starts, and what the host changes in memory before.
    """

    small: Small
    memory: Memory
    registers: dict[int, int]
    changes: list[tuple[int, bytes]]


def token() -> Token:
    """The token; the tokens before are the simulator's work."""
    from dyncc_sim.skipopu.bench.machine_cases import forced_routers

    small = Small(ARCH, KvPolicy.REUSE, config=DECODER)
    memory, draw = small.memory(), numpy.random.default_rng(7)
    machine, place, slot = Machine(ARCH, memory), small.places.address("tokens"), 0
    numbers = draw.integers(0, DECODER.vocabulary, BEFORE + 1).astype("<u4")
    for position in range(BEFORE):
        memory.load(place, numbers[position : position + 1].tobytes())
        slot = machine.run(small.program, small.registers(position, 1, slot))[R_NEXT_SLOT]
    registers = small.registers(BEFORE, 1, slot)
    changes = [(place, numbers[BEFORE:].tobytes())]
    return Token(
        small, memory, registers,
        changes + forced_routers(small, memory, registers, changes, RUNS),
    )  # fmt: skip


def modelled() -> Timing:
    """The token in the model of time, recorded."""
    found = token()
    for address, content in found.changes:
        found.memory.load(address, content)
    outcomes = Computed(Executor(ARCH, found.memory))
    return simulate(ARCH, found.small.program, found.registers, outcomes, record=True)


def measured() -> dict[str, Any]:
    """The token on the hardware, which is compared with the simulator meanwhile.

    Returns
    -------
    dict
        ``cycles``, from the end of the start to the halt, and ``spans`` and ``transfers`` as in
        `bench.recorder.Recorder.report`, from there on.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    from dyncc_sim.skipopu.bench.machine_cases import MachineCases, run

    found = token()
    cases = MachineCases(ARCH, found.memory)
    cases.run(found.small.program, found.registers, found.changes)
    # The bench counts from the cycle behind a command.
    (told,) = run(cases, latency=ARCH.memory_latency_cycles - 1, recorded=True)
    first = told["begin"]
    return {
        "cycles": told["cycles"],
        "spans": [
            [engine, op, pc, begin - first, end - first, busy, suppressed]
            for engine, op, pc, begin, end, busy, suppressed in told["spans"]
        ],
        "transfers": [
            [client, begin - first, end - first] for client, begin, end in told["transfers"]
        ],
    }


def timing_of(told: dict[str, Any]) -> Timing:
    """What `measured` returned as the model of time tells it, so far as a picture needs it."""
    found = Timing(ARCH, tokens=1, cycles=told["cycles"])
    for engine, op, pc, begin, end, busy, suppressed in told["spans"]:
        span = Span(Engine[engine], Op[op], pc, begin, end, busy, bool(suppressed))
        found.spans.append(span)
        found.order[span.engine].append(pc)
    found.transfers = [(_SOURCES[client], begin, end) for client, begin, end in told["transfers"]]
    return found


def recorded() -> Timing:
    """The hardware, as it was measured last."""
    return timing_of(json.loads(RECORD.read_text(encoding="utf-8")))


def shown(timing: Timing) -> tuple[float, float]:
    """Begin and end of the layers that a picture shows."""
    return layer_window(timing, SHOWN[0])[0], layer_window(timing, SHOWN[1])[1]


def write(told: dict[str, Any]) -> None:
    """Record what the hardware did, one instruction a line."""
    lines = [f'"cycles": {told["cycles"]}']
    for name in ("spans", "transfers"):
        items = ",\n".join(json.dumps(item) for item in told[name])
        lines.append(f'"{name}": [\n{items}\n]')
    RECORD.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command."""
    parser = argparse.ArgumentParser(description="Layers of SkipOPU in time.")
    parser.add_argument("--rtl", action="store_true", help="run the hardware again")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="where pictures go; none if not")
    given = parser.parse_args(arguments)
    if given.rtl:
        write(measured())
    for name, timing in (("rtl", recorded()), ("model", modelled())):
        begin, end = shown(timing)
        sys.stdout.write(f"{name}: {end - begin:,.0f} of {timing.cycles:,.0f} cycles\n")
        if given.output is not None:
            path = Path(given.output) / f"{NAMES[name]}.svg"
            save(timeline(timing, (begin, end), TITLE), path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
