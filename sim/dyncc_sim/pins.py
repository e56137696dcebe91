"""Plays cycles of inputs to a block under cocotb and notes what it answers; counts coverage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cocotb
import numpy
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from dyncc.arch.fields import Field

#: Values of signals by their names.
Values = Mapping[str, int]


class Pins:
    """The ports of one block.

    Parameters
    ----------
    dut
        The top level.
    prefix
        What the names of the block's ports begin with.
    inputs
        Its inputs, without the prefix.
    """

    def __init__(self, dut: Any, prefix: str, inputs: Iterable[str]) -> None:
        self._clk, self._rst = dut.clk, dut.rst
        self._dut, self._prefix, self._inputs = dut, prefix, tuple(inputs)

    def _pin(self, name: str) -> Any:
        return getattr(self._dut, self._prefix + name)

    def drive(self, values: Values) -> None:
        """Set inputs; a value may be negative, and is cut to the width of its pin."""
        for name, value in values.items():
            pin = self._pin(name)
            pin.value = value & ((1 << len(pin)) - 1)

    def read(self, names: Iterable[str]) -> dict[str, int]:
        """Outputs, as unsigned numbers; -1, which nothing equals, if a bit is unknown."""
        values = {name: self._pin(name).value for name in names}
        return {name: int(value) if value.is_resolvable else -1 for name, value in values.items()}

    async def reset(self) -> None:
        """Start the clock; hold reset with all inputs low."""
        Clock(self._clk, 10, "ns").start()
        self.drive(dict.fromkeys(self._inputs, 0))
        self._rst.value = 1
        await ClockCycles(self._clk, 3)
        self._rst.value = 0
        await RisingEdge(self._clk)

    async def play(
        self,
        cycles: Iterable[Values],
        watched: Sequence[str],
        reply: Callable[[dict[str, int]], Values | None] | None = None,
    ) -> list[dict[str, int]]:
        """Set inputs, cycle by cycle, and note outputs before the next clock edge.

        Parameters
        ----------
        cycles
            Inputs of each cycle; what is left out stays.
        watched
            Outputs to note.
        reply
            From the outputs of a cycle, inputs of the next; they come before those of `cycles`.
        """
        found: list[dict[str, int]] = []
        answer: Values = {}
        for given in cycles:
            self.drive({**given, **answer})
            await ReadOnly()
            seen = self.read(watched)
            found.append(seen)
            answer = (reply(seen) if reply is not None else None) or {}
            await RisingEdge(self._clk)
        return found


class Coverage(Counter[str]):
    """How often what happened."""

    def missing(self, required: Iterable[str]) -> list[str]:
        """What of this never happened."""
        return [name for name in required if self[name] == 0]

    def finish(self, name: str, required: Iterable[str]) -> None:
        """Report under this name, and fail if something that is required never happened."""
        cocotb.log.info("coverage: %s: %s", name, dict(sorted(self.items())))
        missing = self.missing(required)
        assert not missing, f"nothing covers: {', '.join(missing)}"


def random_integers(
    draw: numpy.random.Generator, bits: int, signed: bool, size: int
) -> numpy.ndarray:
    """Integers of a width, of all magnitudes, a quarter of them at or beside a limit or zero."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    magnitudes = 1 << draw.integers(0, bits + 1, size)
    found = numpy.where(
        draw.random(size) < 0.5,
        draw.integers(low, high + 1, size),
        draw.integers(-magnitudes, magnitudes) if signed else draw.integers(0, magnitudes),
    )
    special = draw.choice([low, low + 1, -1 if signed else 0, 0, 1, high - 1, high], size)
    return numpy.clip(numpy.where(draw.random(size) < 0.25, special, found), low, high)


def random_field(draw: numpy.random.Generator, item: Field, size: int) -> numpy.ndarray:
    """Values of a field, see `random_integers`."""
    return random_integers(draw, item.bits, item.signed, size)
