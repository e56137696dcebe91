"""What the benches of the blocks of a core begin with."""

from __future__ import annotations

from typing import Any

import numpy

from dyncc.arch.neurocorex import CoreSpec
from dyncc_sim.pins import Coverage, Pins, Values
from dyncc_sim.runner import settings


class Block:
    """A block in `dyncc_sim.neurocorex_rig.Rig`, as `run_blocks` asks for it.

    Parameters
    ----------
    dut
        The rig.
    name
        The block.

    Attributes
    ----------
    spec
        Size of the core.
    pins, registers
        Ports of the block; registers that it reads.
    draw
        Random numbers from the seed.
    coverage
        What happened so far.
    """

    def __init__(self, dut: Any, name: str) -> None:
        options = settings()
        self.spec, self.name = CoreSpec(**options["spec"]), name
        self.pins = Pins(dut, f"{name}__", options["inputs"][name])
        self._registers = Pins(dut, "control__", options["registers"])
        self._names: list[str] = options["registers"]
        self.draw = numpy.random.default_rng(options["seed"])
        self.coverage = Coverage()

    async def reset(self) -> None:
        """Start the clock, with all inputs and registers zero."""
        self.set_registers({})
        await self.pins.reset()

    def set_registers(self, values: Values) -> None:
        """Set registers; those that are left out become zero."""
        self._registers.drive(dict.fromkeys(self._names, 0) | dict(values))

    def finish(self, *required: str) -> None:
        """Report the coverage; fail if something required never happened."""
        self.coverage.finish(self.name, required)
