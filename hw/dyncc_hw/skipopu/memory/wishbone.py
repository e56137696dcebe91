"""A master of a Wishbone bus, revision B4, pipelined.

Pipelined, because memory then answers late without holding back the next address, so that its
latency is paid once and not for each word; and because each word has an address of its own, which
also slaves that know nothing of bursts understand. To those that do, `cti` says how long a burst
goes on, as in registered feedback cycles.
"""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: Cycle types: the next word follows, or this is the last.
INCREMENTING, LAST = 0b010, 0b111


def wishbone_signature(geometry: Geometry) -> wiring.Signature:
    """Of a master, with the names of the specification; `adr` counts words.

    Members
    -------
    cyc, stb, we, adr, sel, dat_w
        A word is asked for in each cycle with `stb` and no `stall`.
    cti
        See `INCREMENTING` and `LAST`. Bursts are linear.
    stall, ack, err, dat_r
        Each word is answered once, in order, with `ack` or with `err`.
    """
    size = geometry.bus_bytes
    return wiring.Signature(
        {
            "cyc": Out(1), "stb": Out(1), "we": Out(1), "adr": Out(geometry.word_address_bits),
            "sel": Out(size), "dat_w": Out(8 * size), "cti": Out(3),
            "stall": In(1), "ack": In(1), "err": In(1), "dat_r": In(8 * size),
        }
    )  # fmt: skip


def has_room(asked: Any, depth: int) -> Value:
    """Whether one more word may be asked for."""
    return asked != depth


class WishboneMaster(wiring.Component):
    """Carries out bursts on a Wishbone bus.

    What is read waits in a FIFO, since the bus does not wait; words are asked for as far as there
    is room in it. Before the bus turns from reads to writes all answers come in. Latency: a cycle
    from a burst to its first word on the bus, and one from an answer to the port. Throughput: a
    word a cycle, also from a burst to the next.

    Parameters
    ----------
    geometry
        Of the bus.

    Members
    -------
    port
        See `bursts.burst_signature`.
    bus
        See `wishbone_signature`.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        #: Words that are asked for, and not taken by the port.
        self.depth = max(16, 1 << (geometry.latency + 4 - 1).bit_length())
        super().__init__(
            {
                "port": In(burst_signature(geometry)),
                "bus": Out(wishbone_signature(geometry)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Words left to ask for, and words left to be answered."""
        m = Module()
        geometry, port, bus = self.geometry, self.port, self.bus
        command, answer = port.command, port.answer
        most = geometry.requests * geometry.burst_words
        left, owed = Signal(geometry.words), Signal(range(most + 1))
        issued, answered, same = Signal(), Signal(), Signal()
        m.d.comb += [
            issued.eq(bus.stb & ~bus.stall),
            answered.eq((bus.ack | bus.err) & (owed != 0)),
            same.eq(command.payload.write == bus.we),
            command.ready.eq(((left == 0) & (same | (owed == 0))) | ((left == 1) & issued & same)),
            bus.cyc.eq((left != 0) | (owed != 0)),
            bus.cti.eq(Mux(left == 1, LAST, INCREMENTING)),
            bus.dat_w.eq(port.data.payload.word),
            bus.sel.eq(Mux(bus.we, port.data.payload.strobe, (1 << geometry.bus_bytes) - 1)),
            port.data.ready.eq(issued & bus.we),
        ]
        m.d.sync += owed.eq(owed + issued - answered)
        with m.If(issued):
            m.d.sync += [left.eq(left - 1), bus.adr.eq(bus.adr + 1)]
        with m.If(command.valid & command.ready):
            m.d.sync += [
                left.eq(command.payload.words), bus.adr.eq(command.payload.address),
                bus.we.eq(command.payload.write),
            ]  # fmt: skip

        m.submodules.answers = answers = fifo.SyncFIFO(
            width=8 * geometry.bus_bytes + 1, depth=self.depth
        )
        taken = answer.valid & answer.ready
        asked = Signal(range(self.depth + 1))
        m.d.sync += asked.eq(asked + (issued & ~bus.we) - taken)
        m.d.comb += [
            bus.stb.eq((left != 0) & Mux(bus.we, port.data.valid, has_room(asked, self.depth))),
            answers.w_en.eq(answered & ~bus.we),
            answers.w_data.eq(Cat(bus.dat_r, bus.err)),
            answer.valid.eq(answers.r_rdy),
            Cat(answer.payload.word, answer.payload.error).eq(answers.r_data),
            answers.r_en.eq(answer.ready),
        ]

        # Bursts that are written are over when all their words are answered.
        m.submodules.bursts = bursts = fifo.SyncFIFO(
            width=geometry.words.width, depth=max(2, geometry.requests)
        )
        count, failed, ends = Signal(geometry.words), Signal(), Signal()
        writes = answered & bus.we
        m.d.comb += [
            bursts.w_en.eq(command.valid & command.ready & command.payload.write),
            bursts.w_data.eq(command.payload.words),
            ends.eq(count + 1 == bursts.r_data),
            bursts.r_en.eq(writes & ends),
            port.written.eq(writes & ends),
            port.failed.eq(failed | bus.err),
        ]
        with m.If(writes):
            m.d.sync += [count.eq(Mux(ends, 0, count + 1)), failed.eq((failed | bus.err) & ~ends)]
        return m
