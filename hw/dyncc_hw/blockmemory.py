"""Memory that becomes block memory of an FPGA, and nothing beside it."""

from typing import Any

from amaranth import Module, Signal, ValueLike, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

#: Attribute of a memory of which no word is read while it is written, or nobody looks at it.
ANY_ON_COLLISION = {"no_rw_check": 1}


def clocked_read(m: Module, store: memory.Memory, address: ValueLike, enable: ValueLike = 1) -> Any:
    """A word of a memory, which comes in the cycle after `enable` and stays.

    Synthesis takes the register into the block RAM. If the memory is `ANY_ON_COLLISION`, nothing
    is around it; for a clocked port of Amaranth there would be registers and multiplexers, lest a
    word that is written just then reads wrong.

    Returns
    -------
    Any
        A signal of the memory's shape.
    """
    port = store.read_port(domain="comb")
    found = Signal(store.shape, reset_less=True)
    m.d.comb += port.addr.eq(address)
    with m.If(enable):
        m.d.sync += found.eq(port.data)
    return found


class BlockMemory(wiring.Component):
    """A memory with one port to read and one to write, of which only one is used in a cycle.

    Amaranth's ports have an order when both meet at an address, for which yosys builds a copy of
    the write port out of flip-flops (512 words of 8 bits on an ECP5: 27, and 28 LUTs). Here yosys
    sees that they never meet.

    Latency: a word that is read comes in the next cycle, and stays. While a word is written none is
    read, and the last one stays. After reset all words are 0, and the word that was read last is
    not defined.

    Parameters
    ----------
    width, depth
        Bits of a word, and words.

    Members
    -------
    read, write
        Ports as those of `amaranth.lib.memory`.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        address = max(1, (depth - 1).bit_length())
        shape = unsigned(width)
        super().__init__(
            {
                "read": In(memory.ReadPort.Signature(addr_width=address, shape=shape)),
                "write": In(memory.WritePort.Signature(addr_width=address, shape=shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """An asynchronous port and a register, which become a synchronous port."""
        m = Module()
        m.submodules.store = store = memory.Memory(
            shape=unsigned(self.width), depth=self.depth, init=[]
        )
        into = store.write_port()
        m.d.comb += [
            into.addr.eq(self.write.addr),
            into.data.eq(self.write.data),
            into.en.eq(self.write.en),
        ]
        enable = self.read.en & ~self.write.en
        m.d.comb += self.read.data.eq(clocked_read(m, store, self.read.addr, enable))
        return m
