"""Memory at the bus of a machine, and payloads taken apart."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from amaranth import Shape

#: How often memory goes on in a cycle; one of these for a turn.
RATES = (0.2, 0.5, 0.9, 1.0)


class Fields:
    """Takes words of a layout apart."""

    def __init__(self, layout: Any) -> None:
        self._parts = {name: (item.offset, Shape.cast(item.shape)) for name, item in layout}
        self.layout = layout

    def __call__(self, word: int) -> dict[str, int]:
        """Numbers by name; those of structures inside stay words."""
        found = {}
        for name, (offset, shape) in self._parts.items():
            value = word >> offset & ((1 << shape.width) - 1)
            if shape.signed and value >> (shape.width - 1):
                value -= 1 << shape.width
            found[name] = value
        return found


class BurstMemory:
    """Memory at the other side of the machine's bus.

    Parameters
    ----------
    content
        Its bytes.
    bus_bytes
        Of a word.
    latency
        Cycles from a command to its first word.
    """

    def __init__(
        self, dut: Any, content: Any, bus_bytes: int, latency: int, draw: random.Random
    ) -> None:
        self.dut, self.content, self.bus, self.latency = dut, content, bus_bytes, latency
        self.draw = draw
        self.rate = 1.0
        #: Words after which answers come with errors, or not at all.
        self.fails_after: int | None = None
        self.hangs_after: int | None = None
        self.reads: deque[list[int]] = deque()
        self.writes: deque[list[int]] = deque()
        self.written = 0
        self.words_read = self.words_written = self.cycle = 0
        self.address_bits = len(dut.bus__command__payload) - 1
        self.offers = False
        dut.bus__answer__valid.value = 0
        dut.bus__written.value = 0
        dut.bus__failed.value = 0

    def forget(self) -> None:
        """The machine was reset: nothing is on its way."""
        self.reads.clear()
        self.writes.clear()
        self.written = 0
        self.offers = False

    def drive(self) -> None:
        """Pins of the next cycle."""
        dut = self.dut
        self.ready = self.rate == 1.0 or self.draw.random() < self.rate
        dut.bus__command__ready.value = self.ready
        if not self.offers:
            head = self.reads[0] if self.reads else None
            offers = head is not None and head[2] <= self.cycle
            if offers and self.rate < 1.0:
                offers = self.draw.random() < self.rate
            if self.hangs_after is not None and self.words_read >= self.hangs_after:
                offers = False
            if offers and head is not None:
                first = head[0] * self.bus
                word = int.from_bytes(self.content[first : first + self.bus].tobytes(), "little")
                fails = self.fails_after is not None and self.words_read >= self.fails_after
                dut.bus__answer__payload.value = word | fails << (8 * self.bus)
            dut.bus__answer__valid.value = self.offers = offers
        self.takes = bool(self.writes) and (self.rate == 1.0 or self.draw.random() < self.rate)
        dut.bus__data__ready.value = self.takes
        dut.bus__written.value = self.written > 0
        self.written -= self.written > 0

    def look(self, layout: Any) -> None:
        """What happens in this cycle."""
        dut = self.dut
        self.cycle += 1
        if self.ready and int(dut.bus__command__valid.value):
            told = layout(int(dut.bus__command__payload.value))
            entry = [told["address"], told["words"], self.cycle + self.latency]
            (self.writes if told["write"] else self.reads).append(entry)
        if self.offers and int(dut.bus__answer__ready.value):
            head = self.reads[0]
            head[0] += 1
            head[1] -= 1
            self.words_read += 1
            if not head[1]:
                self.reads.popleft()
            self.offers = False
        if self.takes and int(dut.bus__data__valid.value):
            word = int(dut.bus__data__payload.value)
            head = self.writes[0]
            first = head[0] * self.bus
            for byte in range(self.bus):
                if word >> (8 * self.bus + byte) & 1:
                    self.content[first + byte] = word >> (8 * byte) & 255
            head[0] += 1
            head[1] -= 1
            self.words_written += 1
            if not head[1]:
                self.writes.popleft()
                self.written += 1
