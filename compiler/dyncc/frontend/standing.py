"""Where a state stands: in the program, in the user's source, and in which loops."""

from __future__ import annotations

from collections.abc import Iterator

from dyncc.core.errors import Call, Diagnostic
from dyncc.frontend import library
from dyncc.frontend.canonical import Path
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Body, Context, Unsupported
from dyncc.frontend.values import DynIterObj, Frame, State, Sym
from dyncc.ir.hcfg import Loc


def context_of(state: State) -> Context:
    """Where a state stands."""
    return tuple((frame.code.serial, frame.pc) for frame in state.frames)


def skip_jumps(state: State) -> None:
    """Stand where the next jumps lead."""
    frame = state.frames[-1]
    while frame.code.instrs[frame.pc].op == "jump":
        frame.pc = frame.code.instrs[frame.pc].targets[0]
    frame.joins -= {frame.pc}


def loops_around(state: State) -> Iterator[Body]:
    """The loops in which a state stands, of all active functions."""
    context = context_of(state)
    for depth, frame in enumerate(state.frames):
        for loop in frame.code.loops:
            if loop.first <= frame.pc <= loop.last:
                places: frozenset[Path] = frozenset(
                    place
                    for name in loop.deciding
                    # The position of an iterator over a list is its first part, over a range its
                    # second.
                    for place in ((depth, name), (depth, name, 0), (depth, name, 1))
                )
                yield Body(context[:depth], frame.code.serial, loop.first, loop.last, places)


def is_open(state: State) -> bool:
    """Whether a state is at a turn of a loop whose number of turns is known at run time only."""
    frame = state.frames[-1]
    instr = frame.code.instrs[frame.pc]
    found = state.heap[frame.registers[instr.uses[0]]] if instr.op == "next" else None
    return isinstance(found, DynIterObj) and isinstance(found.stop, Sym)


def visible(state: State) -> tuple[Frame, Instr]:
    """The innermost activation of code that is not the compiler's own, and what it does there."""
    depth = len(state.frames) - 1
    while state.frames[depth].code.file == library.__file__:
        depth -= 1
    frame = state.frames[depth]
    inner = depth == len(state.frames) - 1
    return frame, frame.code.instrs[frame.pc if inner else frame.pc - 1]


def place_of(state: State) -> Loc:
    """Where a state stands in the user's source."""
    frame, instr = visible(state)
    return frame.code.loc(instr.node)


def diagnostic(state: State, problem: Unsupported) -> Diagnostic:
    """What cannot be compiled, with the place where `state` stands."""
    frame, instr = visible(state)
    loc, node = place_of(state), instr.node
    line = frame.code.source_line(loc.line)
    # Columns of syntax trees count bytes.
    column = _characters(line, loc.column)
    end = getattr(node, "end_col_offset", None)
    if getattr(node, "end_lineno", loc.line) != loc.line:
        end = len(line.rstrip().encode())
    return Diagnostic(
        f"{loc.file}:{loc.line}:{column + 1}",
        problem.code,
        problem.construct,
        problem.why,
        problem.hint,
        line,
        column,
        None if end is None else max(column + 1, _characters(line, end)),
        _calls(state, frame),
    )


def _characters(line: str, offset: int) -> int:
    """Characters of a line before a byte of it."""
    return len(line.encode()[:offset].decode(errors="replace"))


def _calls(state: State, inner: Frame) -> tuple[Call, ...]:
    """The calls in the user's code that lead to its activation `inner`, outermost first."""
    found = []
    for frame in state.frames:
        if frame is inner:
            break
        if frame.code.file != library.__file__:
            node = frame.code.instrs[frame.pc - 1].node
            found.append(Call(str(frame.code.loc(node)), frame.code.name))
    return tuple(found)
