"""Those around a host's access in a bench: registers, memory, and a machine."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature
from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.agents import Agent
from dyncc_sim.skipopu.bench.burst_memory import BurstMemory, Fields
from dyncc_sim.skipopu.bench.rig import packed
from dyncc_sim.skipopu.device import HostTwin


class Board(dict[int, int]):
    """Words of registers, which hold what is written."""

    def read(self, address: int) -> int:
        """A word."""
        return self.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Write a word."""
        self[address] = value


class Twin(HostTwin):
    """The twin; whether registers can be written says the bench."""

    at_work = False

    @property
    def running(self) -> bool:
        """As the bench says."""
        return self.at_work


class Memory(BurstMemory):
    """Memory that can fail and be silent.

    Attributes
    ----------
    fails
        Whether it answers with errors.
    quiet, stuck
        Whether it does not answer; whether it takes nothing.
    """

    fails = quiet = stuck = False

    def drive(self) -> None:
        """Pins of the next cycle."""
        self.fails_after = 0 if self.fails else None
        self.hangs_after = 0 if self.quiet else None
        rate, written = self.rate, self.written
        if self.stuck:
            self.rate = 0.0
        if self.quiet:
            self.written = 0
        super().drive()
        if self.quiet:
            self.written = written
        self.rate = rate
        self.dut.bus__failed.value = self.fails


class MachineAgent(Agent):
    """Reads and writes regions of its own, and knows what has to come.

    Parameters
    ----------
    reads, writes
        Regions, in words of the bus.
    """

    def __init__(
        self, dut: Any, geometry: Geometry, content: Any, reads: range, writes: range,
        draw: random.Random, coverage: Coverage,
    ) -> None:  # fmt: skip
        super().__init__(draw, False)
        self.dut, self.geometry, self.content = dut, geometry, content
        self.reads, self.writes, self.coverage = reads, writes, coverage
        command = burst_signature(geometry).members["command"].signature
        self.layout = Fields(command.members["payload"].shape)
        self.active = True
        self.greedy = False
        self.clear()

    def clear(self) -> None:
        """Nothing is on its way."""
        self.offer: tuple[bool, int, int] | None = None
        self.waited: deque[int] = deque()
        self.given: deque[list[int]] = deque()
        self.unwritten = self.owed = 0
        self.word: tuple[int, int, int] | None = None
        for name in ("command__valid", "data__valid", "answer__ready"):
            getattr(self.dut, f"machine__{name}").value = 0

    @property
    def on_way(self) -> int:
        """Bursts that are on their way."""
        return self.owed + self.unwritten

    def drive(self) -> None:
        """Offer a burst, and words of those that were taken."""
        dut, draw, size = self.dut, self.random, self.geometry.bus_bytes
        goes = self.greedy or self.goes()
        free = self.offer is None and self.on_way < self.geometry.requests
        if free and self.active and goes:
            write = draw.random() < 0.4
            region = self.writes if write else self.reads
            words = draw.randint(1, self.geometry.burst_words)
            address = draw.randrange(region.start, region.stop - words + 1)
            self.offer = (write, address, words)
            values = {"write": write, "address": address, "words": words}
            dut.machine__command__payload.value = packed(self.layout.layout, values)
        dut.machine__command__valid.value = self.offer is not None
        if self.word is None and self.given and goes:
            address = self.given[0][0]
            self.word = (address, draw.getrandbits(8 * size), draw.getrandbits(size))
            dut.machine__data__payload.value = self.word[1] | self.word[2] << 8 * size
        dut.machine__data__valid.value = self.word is not None
        self.takes = goes
        dut.machine__answer__ready.value = goes

    def look(self) -> None:
        """What was taken, and what came."""
        dut, size = self.dut, self.geometry.bus_bytes
        if self.word is not None and int(dut.machine__data__ready.value):
            address, word, strobe = self.word
            for byte in range(size):
                if strobe >> byte & 1:
                    self.content[address * size + byte] = word >> 8 * byte & 255
            self.word = None
            head = self.given[0]
            head[0] += 1
            head[1] -= 1
            if not head[1]:
                self.given.popleft()
            self.coverage["words of the machine written"] += 1
        if int(dut.machine__written.value):
            assert self.unwritten, "the machine is told of a write of the host"
            self.unwritten -= 1
        if int(dut.machine__answer__valid.value) and self.takes:
            assert self.waited, "the machine gets a word of the host"
            address, last = divmod(self.waited.popleft(), 2)
            self.owed -= last
            found = int(dut.machine__answer__payload.value) & ((1 << 8 * size) - 1)
            first = address * size
            wanted = int.from_bytes(self.content[first : first + size].tobytes(), "little")
            assert found == wanted, f"the machine reads {found:#x} at {first:#x}, not {wanted:#x}"
            self.coverage["words of the machine read"] += 1
        if self.offer is not None and int(dut.machine__command__ready.value):
            write, address, words = self.offer
            self.offer = None
            if write:
                self.given.append([address, words])
                self.unwritten += 1
            else:
                last = address + words - 1
                self.waited += [2 * at + (at == last) for at in range(address, last + 1)]
                self.owed += 1


class Turns:
    """The machine goes before the host, but not for ever."""

    def __init__(self, dut: Any, turns: int, coverage: Coverage) -> None:
        self.dut, self.turns, self.coverage = dut, turns, coverage
        self.bursts, self.idle = 0, False

    def look(self) -> None:
        """Count bursts of the machine for which the host waits."""
        dut = self.dut
        if not int(dut.waits.value):
            self.bursts, self.idle = 0, False
            return
        if int(dut.goes.value):
            assert self.idle or self.bursts == self.turns, f"the host waited for {self.bursts}"
            self.coverage["overdue"] += not self.idle
            self.coverage["at once"] += self.bursts == 0
            self.bursts, self.idle = 0, False
            return
        valid = int(dut.machine__command__valid.value)
        self.idle |= not valid
        self.bursts += bool(valid and int(dut.machine__command__ready.value))
        assert self.bursts <= self.turns, "the machine does not let the host through"
