"""What the sequencer makes of a word: the one decoder of instructions in hardware."""

from typing import Any

from amaranth import Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dyncc.arch.fields import width
from dyncc.arch.skipopu.isa import (
    BODIES,
    BODY_BITS,
    ENGINES,
    HEADER,
    INSTRUCTION_BITS,
    Engine,
    Op,
    Pred,
    operand_registers,
)

#: Registers that an instruction names at most.
OPERANDS = max(sum(item.register for item in body) for body in BODIES.values())
REGISTER_NUMBER_BITS = 5

HEADER_LAYOUT = data.StructLayout({item.name: item.bits for item in HEADER})


def field(word: Any, op: Op, name: str) -> Value:
    """A field of a word's body."""
    low = 0
    for item in BODIES[op]:
        if item.name == name:
            found = Value.cast(word)[low : low + item.bits]
            return found.as_signed() if item.signed else found
        low += item.bits
    raise KeyError(name)


class Decoder(wiring.Component):
    """Decodes a word; combinational.

    Members
    -------
    word
        The instruction.
    defined
        Whether `dyncc.arch.skipopu.isa.decode` takes it.
    header
        Its header.
    engine
        Who carries it out, of `Engine`.
    count
        Registers that it reads.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "word": In(INSTRUCTION_BITS),
                "defined": Out(1),
                "header": Out(HEADER_LAYOUT),
                "engine": Out(range(len(Engine))),
                "count": Out(range(OPERANDS + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """A case for each opcode."""
        m = Module()
        header = data.View(HEADER_LAYOUT, self.word[BODY_BITS : BODY_BITS + width(HEADER)])
        m.d.comb += self.header.eq(header)
        with m.Switch(header.op):
            for op, body in BODIES.items():
                with m.Case(int(op)):
                    wrong: Value = Const(0, 1)
                    for item in body:
                        value = field(self.word, op, item.name)
                        if item.name == "reserved":
                            wrong = wrong | value.any()
                        elif item.code is not None and len(item.code) < 1 << item.bits:
                            # Codes are numbered from zero on.
                            wrong = wrong | (value >= len(item.code))
                    known = Signal(name=f"known_{op.name.lower()}")
                    m.d.comb += [
                        known.eq(header.pred < len(Pred)),
                        self.defined.eq(known & ~wrong),
                        self.engine.eq(int(ENGINES[op])),
                        self.count.eq(len(operand_registers(op))),
                    ]
        return m
