"""Bytes of memory, one after the other."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu.packets import ADDRESS_BITS, OWN, PATIENCE
from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: A byte that is written, and whether it is the last for now.
GIVEN = data.StructLayout({"data": 8, "last": 1})
_BITS = {item.name: item.bits for item in OWN}


def _members() -> dict[str, Any]:
    """Members of `MemoryAccess`, but for its bus."""
    return {
        "load": In(1), "address": In(ADDRESS_BITS),
        "write": In(stream.Signature(GIVEN)),
        "want": In(1), "read": Out(stream.Signature(8)),
        "idle": Out(1),
        "errors": Out(_BITS["errors"]), "silent": Out(1),
    }  # fmt: skip


class NoAccess(wiring.Component):
    """In place of `MemoryAccess` where there is no memory, and so nothing to read or write."""

    def __init__(self) -> None:
        super().__init__(_members())

    def elaborate(self, platform: Any) -> Module:
        """It takes what nobody gives."""
        m = Module()
        m.d.comb += [self.idle.eq(1), self.write.ready.eq(1)]
        return m


class MemoryAccess(wiring.Component):
    """Reads or writes bytes from an address on, with bursts of one word.

    A word is written when it is full, or with the last byte; the next byte is taken when memory has
    it. A word is read once for all bytes that are wanted of it.

    Latency: a byte of a word that is there comes in the same cycle, else in the cycle after the
    answer of memory; its burst is offered a cycle after the byte is wanted. Throughput: a byte a
    cycle within a word, and for each word two cycles more than memory takes.

    A memory that gives no answer makes it `silent`, until reset: then it takes all bytes and gives
    zeros. What memory still asks of it is answered, without writing anything.

    Parameters
    ----------
    geometry
        Of the bus.
    patience
        Cycles in which a word has to be read or written, at least 1.

    Members
    -------
    load, address
        Takes the address of the first byte, and forgets the word that was read. Only while `idle`.
    write
        Stream of bytes to write.
    want, read
        Stream of bytes that are read; no word is asked for unless `want` is high.
    idle
        Nothing is on its way.
    bus
        See `bursts.burst_signature`.
    errors, silent
        See `dyncc.arch.skipopu.packets.OWN`.

    Raises
    ------
    ConfigError
        If `patience` is less than 1.
    """

    def __init__(self, geometry: Geometry, patience: int = PATIENCE) -> None:
        if patience < 1:
            raise ConfigError(f"memory gets 1 cycle or more for an answer, not {patience}")
        self.geometry, self.patience = geometry, patience
        super().__init__({**_members(), "bus": Out(burst_signature(geometry))})

    def elaborate(self, platform: Any) -> Module:
        """One word, which is read or written."""
        m = Module()
        geometry, bus = self.geometry, self.bus
        size, shift = geometry.bus_bytes, geometry.shift
        place, word, strobe = Signal(ADDRESS_BITS), Signal(8 * size), Signal(size)
        here, writes = Signal(), Signal()
        lane = place[:shift]
        ends = lane.all()
        left = Signal(range(self.patience), init=self.patience - 1)
        m.d.comb += [
            bus.command.payload.write.eq(writes),
            bus.command.payload.address.eq(place[shift:]),
            bus.command.payload.words.eq(1),
            bus.data.payload.word.eq(word),
            bus.data.payload.strobe.eq(strobe),
            self.read.payload.eq(word.word_select(lane, 8)),
        ]
        failed = (bus.answer.valid & bus.answer.ready & bus.answer.payload.error) | (
            bus.written & bus.failed
        )
        m.d.sync += self.errors.eq(self.errors + failed)

        def wait() -> None:
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.next = "SILENT"

        def written() -> None:
            # Memory may have the word in the cycle in which it takes it.
            with m.If(bus.written):
                m.d.sync += [strobe.eq(0), place.eq(place + 1)]
                m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(1),
                    self.write.ready.eq(~self.load),
                    self.read.valid.eq(self.want & here & ~self.load),
                ]
                m.d.sync += left.eq(self.patience - 1)
                with m.If(self.load):
                    m.d.sync += [place.eq(self.address), here.eq(0)]
                with m.Elif(self.write.valid):
                    m.d.sync += [
                        word.word_select(lane, 8).eq(self.write.payload.data),
                        strobe.bit_select(lane, 1).eq(1),
                        writes.eq(1),
                    ]
                    with m.If(ends | self.write.payload.last):
                        m.next = "COMMAND"
                    with m.Else():
                        m.d.sync += place.eq(place + 1)
                with m.Elif(self.want & ~here):
                    m.d.sync += writes.eq(0)
                    m.next = "COMMAND"
                with m.Elif(self.read.valid & self.read.ready):
                    m.d.sync += [place.eq(place + 1), here.eq(~ends)]
            with m.State("COMMAND"):
                wait()
                m.d.comb += bus.command.valid.eq(1)
                with m.If(bus.command.ready):
                    m.next = "ANSWER"
                    with m.If(writes):
                        m.next = "DATA"
            with m.State("DATA"):
                wait()
                m.d.comb += bus.data.valid.eq(1)
                with m.If(bus.data.ready):
                    m.next = "WRITTEN"
                    written()
            with m.State("WRITTEN"):
                wait()
                written()
            with m.State("ANSWER"):
                wait()
                m.d.comb += bus.answer.ready.eq(1)
                with m.If(bus.answer.valid):
                    m.d.sync += [word.eq(bus.answer.payload.word), here.eq(1)]
                    m.next = "IDLE"
            with m.State("SILENT"):
                m.d.comb += [
                    self.silent.eq(1), self.idle.eq(1), self.write.ready.eq(1),
                    self.read.valid.eq(self.want),
                    bus.answer.ready.eq(1), bus.data.valid.eq(1),
                    bus.data.payload.strobe.eq(0), self.read.payload.eq(0),
                ]  # fmt: skip
        return m
