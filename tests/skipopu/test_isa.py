"""Instructions: every field of every word, as text and as bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyncc.arch.fields import width
from dyncc.arch.skipopu.assembler import assemble, disassemble, line
from dyncc.arch.skipopu.isa import (
    BODIES,
    BODY_BITS,
    ENGINES,
    HEADER,
    INSTRUCTION_BITS,
    REGISTERS,
    SEMAPHORES,
    Instruction,
    Op,
    Operand,
    Pred,
    decode,
)
from dyncc.core.errors import ConfigError


def values(item: Operand) -> st.SearchStrategy[int]:
    if item.code is not None:
        return st.sampled_from([int(member) for member in item.code])
    low = -(1 << (item.bits - 1)) if item.signed else 0
    return st.integers(low, low + (1 << item.bits) - 1)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    op = draw(st.sampled_from(list(Op)))
    fields = {i.name: draw(values(i)) for i in BODIES[op] if i.name != "reserved"}
    masks = st.integers(0, (1 << SEMAPHORES) - 1)
    return Instruction(op, fields, draw(st.sampled_from(list(Pred))), draw(masks), draw(masks))


def test_layouts() -> None:
    assert width(HEADER) + BODY_BITS == INSTRUCTION_BITS == 64
    assert set(BODIES) == set(ENGINES) == set(Op)
    for layout in BODIES.values():
        assert width(layout) == BODY_BITS
        assert all(1 << item.bits == REGISTERS for item in layout if item.register)


@given(instructions())
def test_words_and_text_come_back(instruction: Instruction) -> None:
    word = instruction.encode()
    assert 0 <= word < 1 << INSTRUCTION_BITS
    assert decode(word) == instruction
    assert assemble(line(instruction)) == [instruction]


@given(st.lists(instructions(), max_size=20))
def test_programs_come_back(program: list[Instruction]) -> None:
    text = disassemble(program)
    assert assemble(text) == program
    assert disassemble(assemble(text)) == text


@given(st.integers(0, (1 << INSTRUCTION_BITS) - 1))
def test_every_word_is_an_instruction_or_refused(word: int) -> None:
    try:
        found = decode(word)
    except ValueError:
        return
    assert found.encode() == word


def test_all_mistakes_are_named_at_once() -> None:
    text = """
        setr d=r6 imm=1         ; fine
        jump r3
        gemv rows=5
        npe function=SINH
        sync wait=6
        nop if=B
        setr d=r7 d=r8
        setr d=r32
        setr imm=0x100000000
    """
    with pytest.raises(ConfigError) as caught:
        assemble(text, "bad.s")
    message = str(caught.value)
    for expected in (
        "bad.s:3: there is no instruction 'JUMP', but NOP, SETR",
        "bad.s:4: rows must be a register, not '5'",
        "bad.s:5: there is no function 'SINH', but COPY, ADD",
        "bad.s:6: 6 is not in 0..5",
        "bad.s:7: there is no predicate 'B', but ALWAYS, A",
        "bad.s:8: d is given twice",
        "bad.s:9: 32 is not in 0..31",
        "bad.s:10: imm must be in -2147483648..2147483647, not 4294967296",
    ):
        assert expected in message
    assert "bad.s:2" not in message
