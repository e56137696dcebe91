"""The registers on an AXI4-Lite bus."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.skipopu import csr
from dyncc_hw.skipopu.control.control import READ_CYCLES, register_signature

#: Bits of addresses of bytes.
ADDRESS_BITS = csr.ADDRESS_BITS + 2
OKAY, SLVERR = 0b00, 0b10


def axi_lite_signature() -> wiring.Signature:
    """Of a master, with the names of the specification in small letters; words of 32 bits."""
    return wiring.Signature(
        {
            "awvalid": Out(1), "awready": In(1), "awaddr": Out(ADDRESS_BITS), "awprot": Out(3),
            "wvalid": Out(1), "wready": In(1), "wdata": Out(csr.WORD_BITS),
            "wstrb": Out(csr.WORD_BITS // 8),
            "bvalid": In(1), "bready": Out(1), "bresp": In(2),
            "arvalid": Out(1), "arready": In(1), "araddr": Out(ADDRESS_BITS), "arprot": Out(3),
            "rvalid": In(1), "rready": Out(1), "rdata": In(csr.WORD_BITS), "rresp": In(2),
        }
    )  # fmt: skip


class AxiLiteSlave(wiring.Component):
    """Words of the registers, at four times their numbers.

    A word is written as a whole: with other strobes nothing is, and the answer is an error. One
    access at a time, reads and writes in turn if both wait; a write takes two cycles, a read takes
    what the registers do and two more.

    Members
    -------
    bus
        See `axi_lite_signature`.
    registers
        See `dyncc_hw.skipopu.control.control.register_signature`.
    """

    def __init__(self) -> None:
        super().__init__({"bus": In(axi_lite_signature()), "registers": Out(register_signature())})

    def elaborate(self, platform: Any) -> Module:
        """Take an access, then answer it."""
        m = Module()
        bus, registers = self.bus, self.registers
        wrote, refused, waits = Signal(), Signal(), Signal(range(READ_CYCLES))
        writes, reads, whole = Signal(), Signal(), Signal()
        m.d.comb += [
            writes.eq(bus.awvalid & bus.wvalid & ~(wrote & bus.arvalid)),
            reads.eq(bus.arvalid & ~writes),
            whole.eq(bus.wstrb.all()),
            registers.address.eq(bus.araddr >> 2),
            registers.write_data.eq(bus.wdata),
            bus.rdata.eq(registers.read_data), bus.rresp.eq(OKAY),
        ]  # fmt: skip
        with m.If(refused):
            m.d.comb += bus.bresp.eq(SLVERR)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(writes):
                    m.d.comb += [
                        bus.awready.eq(1), bus.wready.eq(1),
                        registers.address.eq(bus.awaddr >> 2), registers.write.eq(whole),
                    ]  # fmt: skip
                    m.d.sync += [wrote.eq(1), refused.eq(~whole)]
                    m.next = "WRITTEN"
                with m.Elif(reads):
                    m.d.comb += [bus.arready.eq(1), registers.read.eq(1)]
                    m.d.sync += [wrote.eq(0), waits.eq(READ_CYCLES - 1)]
                    m.next = "READING"
            with m.State("WRITTEN"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "IDLE"
            with m.State("READING"):
                m.d.sync += waits.eq(waits - 1)
                with m.If(waits == 0):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    m.next = "IDLE"
        return m
