"""Programs as text: one instruction a line, and back.

::

    ; a comment
    setr d=r6 s=r0 mode=IMMEDIATE imm=576
    ld mode=WEIGHTS type=Q4_1 memory=r8 vector=r0 rows=r7 columns=r6 index=r0 release=0
    gemv type=Q4_1 blocks=r9 vector=r10 rows=r7 columns=r6 wait=0 if=A

Fields are those of `dyncc.arch.skipopu.isa`; those that are left out are 0. Registers are ``r0`` to
``r31``, codes go by name, semaphores are listed with commas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from dyncc.arch.fields import Code
from dyncc.arch.skipopu.isa import BODIES, REGISTERS, SEMAPHORES, Instruction, Op, Operand, Pred
from dyncc.core.errors import ConfigError

C = TypeVar("C", bound=Code)


def assemble(text: str, where: str = "program") -> list[Instruction]:
    """Instructions of a text.

    Raises
    ------
    ConfigError
        With every line that is wrong, and why.
    """
    found, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition(";")[0].split()
        if not code:
            continue
        try:
            found.append(_instruction(code))
        except (ValueError, KeyError) as error:
            wrong.append(f"{where}:{number}: {error.args[0]}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def disassemble(instructions: Iterable[Instruction]) -> str:
    """Text of instructions; fields that are 0 are left out, but for registers and codes."""
    return "".join(f"{line(item)}\n" for item in instructions)


def line(instruction: Instruction) -> str:
    """Text of one instruction."""
    parts = [instruction.op.name.lower()]
    for item in BODIES[instruction.op]:
        value = instruction.fields.get(item.name, 0)
        if item.register:
            parts.append(f"{item.name}=r{value}")
        elif item.code is not None:
            parts.append(f"{item.name}={item.code(value).name}")
        elif value:
            parts.append(f"{item.name}={value}")
    for name, mask in (("wait", instruction.wait), ("release", instruction.release)):
        if mask:
            listed = ",".join(str(bit) for bit in range(SEMAPHORES) if mask >> bit & 1)
            parts.append(f"{name}={listed}")
    if instruction.pred != Pred.ALWAYS:
        parts.append(f"if={instruction.pred.name}")
    return " ".join(parts)


def _instruction(code: list[str]) -> Instruction:
    op = _named(Op, code[0].upper(), "instruction")
    layout = {item.name: item for item in BODIES[op] if item.name != "reserved"}
    fields = dict.fromkeys(layout, 0)
    masks = {"wait": 0, "release": 0}
    pred = Pred.ALWAYS
    seen: set[str] = set()
    for part in code[1:]:
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not FIELD=VALUE")
        if name in seen:
            raise ValueError(f"{name} is given twice")
        seen.add(name)
        if name in masks:
            masks[name] = sum(1 << _integer(bit, 0, SEMAPHORES) for bit in value.split(","))
        elif name == "if":
            pred = _named(Pred, value, "predicate")
        elif name in layout:
            fields[name] = _value(layout[name], value)
        else:
            raise ValueError(f"{op.name} has no field {name!r}, but {', '.join(layout)}")
    found = Instruction(op, fields, pred, masks["wait"], masks["release"])
    found.encode()
    return found


def _value(item: Operand, text: str) -> int:
    if item.register:
        if not text.startswith("r"):
            raise ValueError(f"{item.name} must be a register, not {text!r}")
        return _integer(text[1:], 0, REGISTERS)
    if item.code is not None:
        return int(_named(item.code, text, item.name))
    return _integer(text, None, None)


def _integer(text: str, low: int | None, end: int | None) -> int:
    try:
        found = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if low is not None and end is not None and not low <= found < end:
        raise ValueError(f"{found} is not in {low}..{end - 1}")
    return found


def _named(kind: type[C], name: str, what: str) -> C:
    if name not in kind.__members__:
        raise ValueError(f"there is no {what} {name!r}, but {', '.join(kind.__members__)}")
    return kind[name]
