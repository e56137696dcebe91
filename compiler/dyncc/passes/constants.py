"""Which values are known when a program is compiled: sparse conditional constant propagation.

After Wegman and Zadeck, "Constant propagation with conditional branches", TOPLAS 13(2), 1991.
Values do not cross blocks but as arguments, so a lattice of each block's parameters is all the
state there is. It starts with nothing, and edges count only once they can be taken. So a parameter
stays known around a loop that passes on what it was given, and what only a branch on a known
condition leads to has no say.

What a branch says about its own condition is not used, although behind its ``then`` the condition
is true: ``dyncc verify`` leads a program against its conditions, and it would go on otherwise than
the source does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from dyncc.ir.hcfg import Block, Branch, Hcfg, HostOp, Jump, Operand, Value, jumps
from dyncc.ir.hostops import SCALAR_FUNCTIONS
from dyncc.ir.types import STR, ScalarType
from dyncc.passes.renaming import identity

#: Integers of more bits are left to run time: a program of a line can make them very large.
MAX_BITS = 4096


@dataclass(frozen=True)
class Constant:
    """A scalar that is known; equal to one that no program can tell from it."""

    literal: bool | int | float | complex | str = field(compare=False)
    key: Hashable

    @property
    def writable(self) -> bool:
        """Whether the literal can be written into a program: the text keeps no sign of a NaN."""
        return self.literal == self.literal


#: Of a block: the values that are known.
Known = Mapping[Value, Constant]


def constant(operand: Operand) -> Constant | None:
    """A scalar literal as a `Constant`; None for anything else."""
    if isinstance(operand, bool | int | float | complex | str):
        return Constant(operand, identity(operand))
    return None


def propagate(program: Hcfg) -> dict[str, Known]:
    """For each block that can be reached: its values that are the same in every run."""
    entry = program.entry
    arriving: dict[str, list[Constant | None]] = {entry.name: [None] * len(entry.params)}
    known: dict[str, Known] = {}
    pending = [entry.name]
    while pending:
        block = program.blocks[pending.pop()]
        here = known[block.name] = _evaluate(block, arriving[block.name])
        for jump in taken(block, here):
            given = [here.get(arg) for arg in jump.args]
            before = arriving.get(jump.target)
            if before is not None:
                given = [
                    new if new == old else None for new, old in zip(given, before, strict=True)
                ]
            if given != before:
                arriving[jump.target] = given
                pending.append(jump.target)
    return known


def taken(block: Block, known: Known) -> tuple[Jump, ...]:
    """The edges out of a block that some run may take."""
    terminator = block.terminator
    if isinstance(terminator, Branch) and (truth := known.get(terminator.condition)) is not None:
        return (terminator.then if truth.literal else terminator.orelse,)
    return jumps(terminator)


def _evaluate(block: Block, params: Sequence[Constant | None]) -> Known:
    known = {
        value: given for value, given in zip(block.params, params, strict=True) if given is not None
    }
    for op in block.ops:
        if isinstance(op, HostOp) and (found := _result(op, known)) is not None:
            known[op.results[0]] = found
    return known


def _result(op: HostOp, known: Known) -> Constant | None:
    """What an operation gives in every run, if it is known, of its type, and of modest size."""
    if op.op not in SCALAR_FUNCTIONS:
        return None
    literals = []
    for arg in op.args:
        found = known.get(arg) if isinstance(arg, Value) else constant(arg)
        if found is None:
            return None
        literals.append(found.literal)
    (result,) = op.results
    if (result.type == STR and op.op != "const") or _is_large(op.op, literals):
        # Nothing is decided on a text that is made, and it may be of any length.
        return None
    try:
        made = SCALAR_FUNCTIONS[op.op](*literals)
    except Exception:  # noqa: BLE001 it raises at run time, as it does in eager Python
        return None
    # A power of floats, say, may be complex: then types lie, and nothing is known.
    if not isinstance(result.type, ScalarType) or type(made).__name__ != result.type.kind:
        return None
    if isinstance(made, int) and made.bit_length() > MAX_BITS:
        return None
    return constant(made)


def _is_large(op: str, args: Sequence[object]) -> bool:
    """Whether an operation on integers would take long."""
    match op, args:
        case "lshift", [int(), int() as shift]:
            return shift > MAX_BITS
        case "pow", [int() as base, int() as exponent]:
            return abs(exponent) * base.bit_length() > MAX_BITS
    return False
