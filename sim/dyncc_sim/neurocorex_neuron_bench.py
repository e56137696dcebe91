"""Bench of the units that update a neuron: the same bits as the twin, after the documented cycles.

Random parameters, states and sums, a quarter of them at a limit, with random gaps. Inputs are wrong
in every cycle in which the unit has no right to read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cocotb
import numpy

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import (
    BUS_BITS,
    CURRENT_BITS,
    CoreSpec,
    Dynamics,
    Reset,
    pack,
    parameter_fields,
    state_fields,
    width,
)
from dyncc_hw.neurocorex.neuron import NeuronUnit
from dyncc_hw.neurocorex.shared_neuron import SharedNeuronUnit
from dyncc_models.spiking.neuron import NeuronState, Outcome, update
from dyncc_sim.neurocorex_block import Block
from dyncc_sim.pins import Coverage, Values, random_field, random_integers

#: Neurons, by unit.
CASES = {"neuron": 1500, "shared_neuron": 500}
#: What makes cycles of inputs from words, and says in which cycle each neuron begins.
Play = Callable[
    [CoreSpec, numpy.random.Generator, dict[str, list[int]]], tuple[list[Values], list[int]]
]
OUTPUTS = ("out_valid", "out_tag", "out_state", "fired", "arrives")


@cocotb.test()
async def neuron(dut: Any) -> None:
    """The pipeline."""
    await compare(Block(dut, "neuron"), pipeline, NeuronUnit.LATENCY)


@cocotb.test()
async def shared_neuron(dut: Any) -> None:
    """The unit with one multiplier."""
    await compare(Block(dut, "shared_neuron"), one_multiplier, SharedNeuronUnit.LATENCY)


async def compare(block: Block, play: Play, latency: int) -> None:
    """Results, and the cycles in which there are any."""
    spec, draw, coverage = block.spec, block.draw, block.coverage
    await block.reset()
    cases = CASES[block.name]
    neuron, state, accumulated = random_neurons(spec, draw, cases)
    found = update(neuron, state, accumulated, spec.state_bits)
    count(coverage, spec, neuron, state, found)
    words = {
        "tag": draw.integers(0, spec.neurons, cases).tolist(),
        "accumulated": accumulated.tolist(),
        "state": packed(state_fields(spec), vars(state)),
        "parameters": packed(parameter_fields(spec), neuron),
    }
    wanted = {
        "out_tag": words["tag"],
        "out_state": packed(state_fields(spec), vars(found.state)),
        "fired": found.fired.astype(int).tolist(),
        "arrives": found.arrives.astype(int).tolist(),
    }
    cycles, starts = play(spec, draw, words)
    answers = await block.pins.play(cycles, OUTPUTS)
    due = {start + latency: case for case, start in enumerate(starts)}
    for cycle, answer in enumerate(answers):
        assert answer["out_valid"] == (cycle in due), cycle
        if cycle in due:
            case = due[cycle]
            expected = {name: values[case] for name, values in wanted.items()}
            assert {name: answer[name] for name in wanted} == expected, (case, answer, expected)
            coverage["compared"] += 1
    assert coverage["compared"] == cases
    shortest = min(numpy.diff(starts))
    coverage["without a gap"] = int((numpy.diff(starts) == shortest).sum())
    coverage["with a gap"] = int((numpy.diff(starts) > shortest).sum())
    delayed = ["arrives without firing"] if spec.max_delay > 1 else []
    block.finish(
        *delayed, "fired", "held by the refractory period", "held by its parameter",
        "with a gap", "without a gap", "current at its limit", "potential at its limit",
        *(f"{dynamics.name} fired" for dynamics in Dynamics),
        *(f"fired, reset {reset.name}" for reset in Reset),
    )  # fmt: skip


def random_neurons(
    spec: CoreSpec, draw: numpy.random.Generator, size: int
) -> tuple[dict[str, Integers], NeuronState, Integers]:
    """Parameters, states and sums of so many neurons."""
    neuron = {item.name: random_field(draw, item, size) for item in parameter_fields(spec)}
    neuron["dynamics"] = draw.integers(0, len(Dynamics), size)
    neuron["delay"] = draw.integers(0, spec.max_delay, size)
    neuron["fires"] = (draw.random(size) < 0.8).astype(numpy.int64)
    states = {item.name: random_field(draw, item, size) for item in state_fields(spec)}
    states["refractory"] = numpy.where(draw.random(size) < 0.6, 0, states["refractory"])
    states.setdefault("travelling", numpy.zeros(size, numpy.int64))
    return (
        neuron,
        NeuronState(**states),
        random_integers(draw, spec.accumulator_bits, True, size),
    )


def count(
    coverage: Coverage,
    spec: CoreSpec,
    neuron: dict[str, Integers],
    state: NeuronState,
    found: Outcome,
) -> None:
    """Add what happens to these neurons."""
    fired = found.fired
    above = (found.state.v > neuron["threshold"]) & ~fired
    coverage["fired"] += int(fired.sum())
    held = above & (neuron["fires"] == 1) & (state.refractory > 0)
    coverage["held by the refractory period"] += int(held.sum())
    coverage["held by its parameter"] += int((above & (neuron["fires"] == 0)).sum())
    coverage["arrives without firing"] += int((found.arrives & ~fired).sum())
    for dynamics in Dynamics:
        kind = neuron["dynamics"] == dynamics
        coverage[f"{dynamics.name} fired"] += int((fired & kind).sum())
    for reset in Reset:
        coverage[f"fired, reset {reset.name}"] += int((fired & (neuron["reset"] == reset)).sum())
    for name, values, bits in (
        ("current", found.state.i, CURRENT_BITS),
        ("potential", found.state.v, spec.state_bits),
    ):
        limit = 1 << (bits - 1)
        at_limit = (values == -limit) | (values == limit - 1)
        coverage[f"{name} at its limit"] += int(at_limit.sum())


def packed(layout: Any, values: dict[str, Any]) -> list[int]:
    """Words from arrays of their fields."""
    size = len(next(iter(values.values())))
    return [
        pack(layout, {item.name: values[item.name][index] for item in layout})
        for index in range(size)
    ]


def pipeline(
    spec: CoreSpec, draw: numpy.random.Generator, words: dict[str, list[int]]
) -> tuple[list[Values], list[int]]:
    """Cycles for `NeuronUnit`: a neuron a cycle, with gaps; and in which cycle each begins."""
    cycles: list[Values] = []
    starts = []
    for case in range(len(words["tag"])):
        while draw.random() < 0.3:
            cycles.append({"valid": 0, **wrong(spec, draw)})
        starts.append(len(cycles))
        cycles.append({"valid": 1, **{name: values[case] for name, values in words.items()}})
    return cycles + [{"valid": 0, **wrong(spec, draw)} for _ in range(12)], starts


def one_multiplier(
    spec: CoreSpec, draw: numpy.random.Generator, words: dict[str, list[int]]
) -> tuple[list[Values], list[int]]:
    """Cycles for `SharedNeuronUnit`: each input is held for as long as is documented."""
    cycles: list[Values] = []
    starts = []
    bits = width(parameter_fields(spec))
    for case in range(len(words["tag"])):
        starts.append(len(cycles))
        # The tag is held to the end; then the next neuron may come at once.
        length = SharedNeuronUnit.LATENCY + int(draw.choice([0, 0, 1, 5]))
        for cycle in range(length):
            given = wrong(spec, draw)
            if cycle < SharedNeuronUnit.LATENCY:
                given["tag"] = words["tag"][case]
            if cycle < 2:
                given["state"] = words["state"][case]
            if cycle < 3:
                given["accumulated"] = words["accumulated"][case]
            gone = max(0, cycle - SharedNeuronUnit.HOLD + 1) * BUS_BITS
            kept = words["parameters"][case] >> gone << gone
            lost = given["parameters"] & ((1 << min(gone, bits)) - 1)
            cycles.append({"valid": int(cycle == 0), **given, "parameters": kept | lost})
    return cycles + [{"valid": 0, **wrong(spec, draw)} for _ in range(12)], starts


def wrong(spec: CoreSpec, draw: numpy.random.Generator) -> dict[str, int]:
    """Inputs that nothing may come of."""

    def word(bits: int) -> int:
        return int.from_bytes(draw.bytes(-(-bits // 8)), "little") & ((1 << bits) - 1)

    return {
        "tag": int(draw.integers(0, spec.neurons)),
        "accumulated": word(spec.accumulator_bits),
        "state": word(width(state_fields(spec))),
        "parameters": word(width(parameter_fields(spec))),
    }
