"""A master of an AXI4 bus, with bursts that increment."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dyncc.core.errors import ConfigError
from dyncc_hw.skipopu.interfaces import ADDRESS_BITS
from dyncc_hw.skipopu.memory.bursts import Geometry, burst_signature

#: Most words of a burst, and bytes that none crosses a multiple of.
MOST_WORDS, PAGE_BYTES = 256, 4096
INCR = 0b01
#: Normal memory that may be buffered, not cached.
CACHE = 0b0011


def axi_signature(geometry: Geometry, id_bits: int) -> wiring.Signature:
    """Of a master, with the names of the specification in small letters."""
    size = geometry.bus_bytes
    address: dict[str, Any] = {
        "valid": Out(1), "ready": In(1), "id": Out(id_bits), "addr": Out(ADDRESS_BITS),
        "len": Out(8), "size": Out(3), "burst": Out(2), "lock": Out(1), "cache": Out(4),
        "prot": Out(3), "qos": Out(4),
    }  # fmt: skip
    members = {
        f"{channel}{name}": port for channel in ("ar", "aw") for name, port in address.items()
    }
    return wiring.Signature(
        members
        | {
            "wvalid": Out(1), "wready": In(1), "wdata": Out(8 * size), "wstrb": Out(size),
            "wlast": Out(1),
            "bvalid": In(1), "bready": Out(1), "bid": In(id_bits), "bresp": In(2),
            "rvalid": In(1), "rready": Out(1), "rid": In(id_bits), "rdata": In(8 * size),
            "rresp": In(2), "rlast": In(1),
        }
    )  # fmt: skip


class AxiMaster(wiring.Component):
    """Carries out bursts on an AXI4 bus.

    All have the same id, so that memory answers in order. Addresses and data of writes do not wait
    for each other, as AXI wants it. Latency: none for reads, a cycle for writes. Throughput: a word
    a cycle, also from a burst to the next.

    Parameters
    ----------
    geometry
        Of the bus; bursts of at most `MOST_WORDS` words and `PAGE_BYTES` bytes.
    id_bits
        Width of ids.

    Members
    -------
    port
        See `bursts.burst_signature`.
    bus
        See `axi_signature`.

    Raises
    ------
    ConfigError
        If AXI has no bursts of this size.
    """

    def __init__(self, geometry: Geometry, id_bits: int = 1) -> None:
        if geometry.burst_words > MOST_WORDS or geometry.burst_bytes > PAGE_BYTES:
            raise ConfigError(
                f"AXI has bursts of at most {MOST_WORDS} words and {PAGE_BYTES} bytes, not of "
                f"{geometry.burst_words} words of {geometry.bus_bytes} bytes"
            )
        if id_bits < 1:
            raise ConfigError(f"ids of AXI have a bit at least, not {id_bits}")
        self.geometry = geometry
        super().__init__(
            {
                "port": In(burst_signature(geometry)),
                "bus": Out(axi_signature(geometry, id_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Channels are streams already."""
        m = Module()
        geometry, port, bus = self.geometry, self.port, self.bus
        command = port.command
        words, write = command.payload.words, command.payload.write
        address, length = Signal(geometry.word_address_bits), Signal(8)
        announced, left = Signal(), Signal(geometry.words)
        free, gives = Signal(), Signal()
        m.d.comb += [
            gives.eq(bus.wvalid & bus.wready),
            free.eq((~announced | bus.awready) & ((left == 0) | ((left == 1) & gives))),
            command.ready.eq(Mux(write, free, bus.arready)),
            bus.arvalid.eq(command.valid & ~write),
            bus.araddr.eq(command.payload.address << geometry.shift),
            bus.arlen.eq(words - 1),
            bus.awvalid.eq(announced),
            bus.awaddr.eq(address << geometry.shift),
            bus.awlen.eq(length),
            bus.wvalid.eq((left != 0) & port.data.valid),
            bus.wdata.eq(port.data.payload.word),
            bus.wstrb.eq(port.data.payload.strobe),
            bus.wlast.eq(left == 1),
            port.data.ready.eq((left != 0) & bus.wready),
            bus.bready.eq(1),
            port.written.eq(bus.bvalid),
            port.failed.eq(bus.bresp[1]),
            port.answer.valid.eq(bus.rvalid),
            port.answer.payload.word.eq(bus.rdata),
            port.answer.payload.error.eq(bus.rresp[1]),
            bus.rready.eq(port.answer.ready),
        ]
        for channel in ("ar", "aw"):
            m.d.comb += [
                getattr(bus, f"{channel}size").eq(geometry.shift),
                getattr(bus, f"{channel}burst").eq(INCR),
                getattr(bus, f"{channel}cache").eq(CACHE),
            ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += announced.eq(0)
        with m.If(gives):
            m.d.sync += left.eq(left - 1)
        with m.If(command.valid & write & free):
            m.d.sync += [
                announced.eq(1), left.eq(words),
                address.eq(command.payload.address), length.eq(words - 1),
            ]  # fmt: skip
        return m
