"""Blocks of SkipOPU side by side, and items for them: one build and one run for many blocks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy
from amaranth import Module, Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from dyncc_sim.pins import Coverage
from dyncc_sim.runner import build_bench

BENCH = "dyncc_sim.skipopu.bench.block_bench"


class Rig(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """Blocks with a stream `input`, a stream `output` and maybe others, each with its ports.

    Parameters
    ----------
    blocks
        Components by name, which are the members.
    """

    def __init__(self, blocks: Mapping[str, Any]) -> None:
        self.blocks = dict(blocks)
        super().__init__({name: Out(block.signature) for name, block in self.blocks.items()})

    def elaborate(self, platform: Any) -> Module:
        """Connect each block to its ports."""
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            wiring.connect(m, block, wiring.flipped(getattr(self, name)))
        return m


def packed(shape: Any, value: Any) -> int:
    """The bits of a value of a shape: a dict for a structure, a sequence for an array.

    Raises
    ------
    ValueError
        If a number does not fit.
    """
    if isinstance(shape, data.StructLayout):
        if value.keys() != shape.members.keys():
            raise ValueError(f"{sorted(value)} are not the members {sorted(shape.members)}")
        return sum(packed(item.shape, value[name]) << item.offset for name, item in shape)
    if isinstance(shape, data.ArrayLayout):
        if len(value) != shape.length:
            raise ValueError(f"{len(value)} elements do not fill an array of {shape.length}")
        size = Shape.cast(shape.elem_shape).width
        return sum(packed(shape.elem_shape, item) << (size * i) for i, item in enumerate(value))
    kind, number = Shape.cast(shape), int(value)
    low = -(1 << (kind.width - 1)) if kind.signed else 0
    if not low <= number < low + (1 << kind.width):
        raise ValueError(f"{number} does not fit {kind}")
    return number & ((1 << int(kind.width)) - 1)


@dataclass
class Cases:
    """Items of a block, and what the twin makes of them.

    Attributes
    ----------
    block
        The component.
    inputs, outputs
        Payloads as integers, in order. There may be more or fewer outputs than inputs.
    others
        The same of further streams, by name.
    coverage
        What the items are.
    required
        What has to be among them.
    steady
        Whether nothing stalls, so that the block has to take an item in each cycle.
    """

    block: Any
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    others: dict[str, list[int]] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    required: Sequence[str] = ()
    steady: bool = False

    def give(self, **values: Any) -> None:
        """Add an item."""
        self.inputs.append(packed(self.block.takes, values))

    def want(self, **values: Any) -> None:
        """Add a result."""
        self.outputs.append(packed(self.block.gives, values))


#: Makes cases from random numbers.
Maker = Callable[[numpy.random.Generator], Cases]


def steady(make: Maker, draw: numpy.random.Generator) -> Cases:
    """The same cases without stalls."""
    return replace(make(draw), steady=True)


def run_blocks(makers: Mapping[str, Maker], seed: int, simulators: Sequence[str]) -> None:
    """Compare blocks with their twins on simulators.

    Raises
    ------
    MissingToolError, ToolError, MismatchError
        As `dyncc_sim.runner.run_bench`.
    """
    # The items of a block do not depend on what other blocks there are.
    cases = {
        name: make(numpy.random.default_rng([seed, crc32(name.encode())]))
        for name, make in makers.items()
    }
    text = {
        name: {
            "inputs": {
                stream: [hex(word) for word in words]
                for stream, words in {"input": case.inputs, **case.others}.items()
            },
            "outputs": [hex(word) for word in case.outputs],
            "latency": getattr(case.block, "latency", 0),
            "coverage": {name: int(count) for name, count in case.coverage.items()},
            "required": list(case.required),
            "steady": case.steady,
        }
        for name, case in cases.items()
    }
    with tempfile.TemporaryDirectory(prefix="dyncc-cases.") as folder:
        path = Path(folder) / "cases.json"
        path.write_text(json.dumps(text), encoding="utf-8")
        for simulator in simulators:
            rig = Rig({name: case.block for name, case in cases.items()})
            build_bench(rig, simulator).run(BENCH, {"cases": str(path), "seed": seed})
