"""Iteration: ``for``, ``next``, unpacking, generators.

A generator is a frame that waits on the heap. To step it is to enter that frame; ``yield`` puts it
back.
"""

from __future__ import annotations

import ast
import operator
import types
from dataclasses import replace
from typing import Any

from dyncc.frontend import library
from dyncc.frontend.builtin_calls import KNOWN, knows
from dyncc.frontend.calls import inline
from dyncc.frontend.code import GENERATOR, Instr
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.guards import Guarded
from dyncc.frontend.instances import ENTERED, special_method
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.lists import dynamic_get
from dyncc.frontend.objects import iterate
from dyncc.frontend.operations import binary, source_text
from dyncc.frontend.raising import error_of, new_error, throw
from dyncc.frontend.sequences import item_at, iterator, refuse_taken
from dyncc.frontend.unwinding import waits_in_try
from dyncc.frontend.values import (
    DynIterObj,
    DynListObj,
    Frame,
    GeneratorObj,
    IterObj,
    ListObj,
    Ref,
    Sym,
)

# --- loops ------------------------------------------------------------------------------------


@handles("iter")
def _iter(run: Interpreter, instr: Instr) -> None:
    value = run.use()
    # The loop's head follows; what earlier loops at this place did says nothing about this one.
    run.frame.enter_loop(run.frame.pc + 1)
    made = make_iterator(run, value)
    if made is not ENTERED:
        run.done(made)


@knows(iter)
def make_iterator(run: Interpreter, value: Any) -> Any:
    """``iter(value)``; ENTERED if ``__iter__`` is entered."""
    if isinstance(value, range):
        return run.state.new(DynIterObj(None, value.start, value.stop, value.step))
    if is_generator(run, value):
        return value
    special = special_method(run, value, "__iter__")
    if special is not None:
        inline(run, library.iterated, (value, special), {})
        return ENTERED
    return iterator(run, value)


@handles("sequence")
def _sequence(run: Interpreter, instr: Instr) -> None:
    """A value whose items are taken at once; one that must be stepped becomes a list."""
    value = run.use()
    if is_generator(run, value) or special_method(run, value, "__iter__") is not None:
        inline(run, library.as_list, (value,), {})
    else:
        run.done(value)


@handles("loop")
def _loop(run: Interpreter, instr: Instr) -> None:
    run.frame.enter_loop(run.frame.pc + 1)
    run.done()


@handles("next")
def _step(run: Interpreter, instr: Instr) -> None:
    found = run.state.heap[run.use()]
    if isinstance(found, GeneratorObj):
        resume(run, run.use(), instr.dest[0], instr.targets[0])
        return
    more = remaining(run, found)
    if not isinstance(more, Sym):
        run.builder.passed.append((run.loc, instr))
        run.frame.pc = run.frame.pc + 1 if more else instr.targets[0]
        return
    run.expect_join()
    then, orelse = run.state.copy(), run.state.copy()
    then.frames[-1].pc += 1
    orelse.frames[-1].pc = instr.targets[0]
    run.fork(more.value, then, orelse, source_text(instr))


def remaining(run: Interpreter, found: IterObj | DynIterObj) -> Any:
    """Truth, static or dynamic, of whether an iterator has another item."""
    if isinstance(found, IterObj):
        found = run.state.look(found)
        owner = None if found.owner is None else run.state.heap[found.owner]
        if isinstance(owner, DynListObj):
            return run.host("lt", found.position, run.host("list.len", Sym(owner.values[0])))
        return run.static(found.position, "a position in a list") < len(found.items)
    refuse_taken(found)
    upward = run.static(found.step, "the step of a range") > 0
    stop = found.stop
    if isinstance(found.source, Ref) and upward:
        # The loop may have changed the list since it began.
        stop = run.host("list.len", Sym(run.state.heap[found.source].values[0]))
    if not isinstance(found.position, Sym) and not isinstance(stop, Sym):
        return found.position < stop if upward else found.position > stop
    return run.compare("lt" if upward else "gt", found.position, stop)


@handles("fetch")
def _fetch(run: Interpreter, instr: Instr) -> None:
    if is_generator(run, run.use()):
        run.done(run.use(1))
    else:
        run.done(advance(run, run.use()))


def advance(run: Interpreter, iterator: Ref) -> Any:
    """The next item of an iterator that has one."""
    found = run.state.heap[iterator]
    if isinstance(found, IterObj):
        found = run.state.look(found)
        owner = None if found.owner is None else run.state.heap[found.owner]
        after = binary(run, operator.add, "add", found.position, 1)
        run.state.heap[iterator] = replace(found, position=after)
        if isinstance(owner, DynListObj):
            return dynamic_get(run, owner, found.position)
        return found.items[run.static(found.position, "a position in a list")]
    item = found.position
    if isinstance(found.source, tuple):
        item = item_at(run, found.source, item)
    elif found.source is not None:
        item = dynamic_get(run, run.state.heap[found.source], item)
    after = binary(run, operator.add, "add", found.position, found.step)
    run.state.heap[iterator] = DynIterObj(found.source, after, found.stop, found.step)
    return item


@handles("unpack")
def _unpack(run: Interpreter, instr: Instr) -> None:
    items = iterate(run, run.use())
    count, star = instr.const
    if len(items) != count if star is None else len(items) < count - 1:
        wanted = count if star is None else f"at least {count - 1}"
        text = (
            f"too many values to unpack (expected {wanted})"
            if len(items) > count
            else f"not enough values to unpack (expected {wanted}, got {len(items)})"
        )
        reason = f"there are {len(items)} values for {count} targets"
        problem = Unsupported("DY107", "unpacking", reason, "Correct the targets.")
        raise PythonError(ValueError, (text,), problem)
    values = list(items)
    if star is not None:
        end = len(items) - (count - star - 1)
        values[star:end] = [run.state.new(ListObj(items[star:end]))]
    for name, value in zip(instr.dest, values, strict=True):
        run.frame.registers[name] = value
    run.frame.pc += 1


# --- generators -------------------------------------------------------------------------------


def resume(run: Interpreter, generator: Ref, result: str, exhausted: int | None) -> None:
    """Step a generator.

    Parameters
    ----------
    result
        Register of the consumer for what it yields.
    exhausted
        Where the consumer goes on if it returns; None for raising StopIteration.
    """
    found: GeneratorObj = run.state.heap[generator]
    if found.frame is None:
        _at_end(run, exhausted, None)
        return
    frame = found.frame.copy()
    frame.result, frame.exhausted = result, exhausted
    frame.registers[GENERATOR] = generator
    run.state.heap[generator] = GeneratorObj(None)
    run.frame.pc += 1
    run.state.frames.append(frame)


def _at_end(run: Interpreter, exhausted: int | None, value: Any) -> None:
    """Go on in a consumer, which stands at the instruction that stepped a finished generator."""
    if exhausted is not None:
        run.frame.pc = exhausted
        return
    raise PythonError(StopIteration, () if value is None else (value,))


def throw_into(run: Interpreter, generator: Ref, error: Any) -> Any:
    """``generator.throw(error)``: the exception is raised where the generator waits."""
    raised = error_of(run, error)
    found: GeneratorObj = run.state.heap[generator]
    # The instruction before the one to go on at is the `yield`.
    if found.frame is None or found.frame.code.instrs[found.frame.pc - 1].op != "yield":
        raise Unsupported(
            "DY308",
            "`.throw()` of a generator",
            "it has ended or has not begun",
            "Raise the exception instead.",
        )
    resume(run, generator, run.instr.dest[0], None)
    run.frame.pc -= 1
    throw(run, run.state, raised)
    return ENTERED


@handles("yield")
def _yield(run: Interpreter, instr: Instr) -> None:
    if len(run.state.frames) == 1:
        raise Unsupported(
            "DY307",
            "`yield` in forward",
            "a network gives one result and ends",
            "Return a list of results.",
        )
    value, generator = run.uses()
    frame = run.state.frames.pop()
    registers = {name: item for name, item in frame.registers.items() if name != GENERATOR}
    registers[instr.dest[0]] = None
    waiting = Frame(
        frame.code,
        frame.function,
        frame.pc + 1,
        registers,
        None,
        frame.joins,
        dict(frame.visits),
        turned=frame.turned,
    )
    managed = run.frame.function is library.GeneratorManager.__enter__
    if waits_in_try(waiting) and not managed and not _goes_to_the_end(run, frame):
        raise Unsupported(
            "DY306",
            "`yield` inside of `try` or `with`",
            "Python runs what is left of it when the consumer drops the generator, and when that "
            "is, is not known here",
            "Yield outside of it, or go through the generator with a for loop without break and "
            "return.",
        )
    run.state.heap[generator] = GeneratorObj(waiting)
    assert frame.result is not None
    run.frame.registers[frame.result] = value


def _goes_to_the_end(run: Interpreter, frame: Frame) -> bool:
    """Whether the consumer is a loop that steps a generator until it returns."""
    node = run.frame.code.instrs[run.frame.pc - 1].node
    if frame.exhausted is None or not isinstance(node, ast.For | ast.ListComp):
        return False
    leaving = (ast.Break, ast.Return, ast.Yield, ast.YieldFrom)
    return not any(isinstance(item, leaving) for item in ast.walk(node))


def leave_generator(run: Interpreter, frame: Frame, value: Any) -> None:
    """Return from a generator's frame, which was taken off the stack."""
    generator = frame.registers[GENERATOR]
    run.state.heap[generator] = GeneratorObj(None, value)
    # The consumer stands behind the instruction that stepped it.
    run.frame.pc -= 1
    if frame.exhausted is None:
        args = () if value is None else (value,)
        throw(run, run.state, new_error(run.state, StopIteration, args))
        return
    run.frame.pc = frame.exhausted


@handles("outcome")
def _outcome(run: Interpreter, instr: Instr) -> None:
    """What a generator returned, for ``yield from``."""
    found = run.state.heap[run.use()]
    run.done(found.value if isinstance(found, GeneratorObj) else None)


# --- stepping by hand -------------------------------------------------------------------------


@knows(next)
def _next(run: Interpreter, iterator: Any, *default: Any) -> Any:

    if default:
        inline(run, library.next_or, (iterator, *default), {})
        return ENTERED
    special = special_method(run, iterator, "__next__")
    if special is not None:
        inline(run, special, (iterator,), {})
        return ENTERED
    found = run.state.heap[iterator] if isinstance(iterator, Ref) else None
    if not isinstance(found, IterObj | DynIterObj | GeneratorObj):
        return NotImplemented
    if isinstance(found, GeneratorObj):
        resume(run, iterator, run.instr.dest[0], None)
        return ENTERED
    more = remaining(run, found)
    if isinstance(more, Sym):
        if run.passed_guard():
            return advance(run, iterator)
        raise Guarded(more, StopIteration, ())
    if more:
        return advance(run, iterator)
    problem = Unsupported("DY106", "`next`", "the iterator has no more items", "Give it a default.")
    raise PythonError(StopIteration, (), problem)


def is_generator(run: Interpreter, value: Any) -> bool:
    """Whether a value is a generator."""
    return run.holds(value, GeneratorObj)


#: Builtins with a form in `library` that steps generators no further than they do.
_LAZY = {
    zip: "zipped_lazily",
    enumerate: "enumerated_lazily",
    map: "mapped_lazily",
    filter: "filtered_lazily",
    any: "any_true",
    all: "all_true",
}


def _only_looks(function: Any) -> bool:
    """Whether a builtin does not step the generators that it is given."""
    return any(function is other for other in _LOOKING)


_LOOKING = (
    next, iter, reversed, type, isinstance, hasattr, getattr, setattr, callable, print, str, repr,
)  # fmt: skip


def with_generators(
    run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Carry out a call of a builtin with a generator among its arguments; return whether it was."""
    if not any(is_generator(run, value) for value in args) or _only_looks(function):
        return False
    try:
        lazy = _LAZY.get(function)
    except TypeError:
        return False
    if lazy is not None and not kwargs:
        inline(run, getattr(library, lazy), args, {})
        return True
    if function not in KNOWN and not isinstance(function, types.BuiltinFunctionType):
        return False
    inline(run, library.with_lists, (function, *args), kwargs)
    return True
