"""Handlers of instructions that compute: names, operators, comparisons, displays, control flow."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any

import torch

from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.values import (
    DictObj,
    DynListObj,
    ListObj,
    Raised,
    Ref,
    Sym,
    Text,
    short_dtype,
)
from dyncc.ir.hcfg import Raise, Value

_BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any], str]] = {
    "Add": (operator.add, operator.iadd, "add"),
    "Sub": (operator.sub, operator.isub, "sub"),
    "Mult": (operator.mul, operator.imul, "mul"),
    "Div": (operator.truediv, operator.itruediv, "truediv"),
    "FloorDiv": (operator.floordiv, operator.ifloordiv, "floordiv"),
    "Mod": (operator.mod, operator.imod, "mod"),
    "Pow": (operator.pow, operator.ipow, "pow"),
    "LShift": (operator.lshift, operator.ilshift, "lshift"),
    "RShift": (operator.rshift, operator.irshift, "rshift"),
    "BitAnd": (operator.and_, operator.iand, "and"),
    "BitOr": (operator.or_, operator.ior, "or"),
    "BitXor": (operator.xor, operator.ixor, "xor"),
    "MatMult": (operator.matmul, operator.imatmul, "matmul"),
}
_COMPARE: dict[str, tuple[Callable[..., Any], str]] = {
    "Eq": (operator.eq, "eq"),
    "NotEq": (operator.ne, "ne"),
    "Lt": (operator.lt, "lt"),
    "LtE": (operator.le, "le"),
    "Gt": (operator.gt, "gt"),
    "GtE": (operator.ge, "ge"),
}
_UNARY: dict[str, tuple[Callable[..., Any], str]] = {
    "USub": (operator.neg, "neg"),
    "UAdd": (operator.pos, "pos"),
    "Invert": (operator.invert, "invert"),
}


# --- names and constants ----------------------------------------------------------------------


@handles("const")
def _const(run: Interpreter, instr: Instr) -> None:
    run.done(instr.const)


@handles("load")
def _load(run: Interpreter, instr: Instr) -> None:
    name = instr.uses[0]
    if name not in run.frame.registers:
        raise Unsupported(
            f"`{instr.const}`",
            "it has no value on a path that leads here",
            "Give it a value before the branch or the loop.",
        )
    run.done(run.frame.registers[name])


@handles("move")
def _move(run: Interpreter, instr: Instr) -> None:
    run.done(run.use())


@handles("free")
def _free(run: Interpreter, instr: Instr) -> None:
    function = run.frame.function
    names = function.__code__.co_freevars
    run.done(external(run, function.__closure__[names.index(instr.const)].cell_contents))


@handles("global")
def _global(run: Interpreter, instr: Instr) -> None:
    scope = run.frame.function.__globals__
    if instr.const in scope:
        run.done(external(run, scope[instr.const]))
    elif hasattr(builtins, instr.const):
        run.done(getattr(builtins, instr.const))
    else:
        raise Unsupported(f"the name `{instr.const}`", "it is not defined", "Define or import it.")


def external(run: Interpreter, value: Any) -> Any:
    """A Python object from outside of the capture; its tensors become weights."""
    if isinstance(value, torch.Tensor):
        found: Any = run.native(lambda tensor: tensor, (value,))
        return found
    if type(value) is tuple:
        return tuple(external(run, part) for part in value)
    return value


# --- control flow -----------------------------------------------------------------------------


@handles("jump")
def _jump(run: Interpreter, instr: Instr) -> None:
    run.frame.pc = instr.targets[0]


@handles("branch")
def _branch(run: Interpreter, instr: Instr) -> None:
    truth = run.truth(run.use())
    if not isinstance(truth, Sym):
        run.builder.passed.append((run.loc, instr))
        run.frame.pc = instr.targets[0 if truth else 1]
        return
    run.expect_join()
    then, orelse = run.state.copy(), run.state.copy()
    then.frames[-1].pc, orelse.frames[-1].pc = instr.targets
    run.fork(truth.value, then, orelse, source_text(instr))


def source_text(instr: Instr) -> str:
    """The source of an instruction's syntax; of a loop, its first line."""
    import ast

    text = ast.unparse(instr.node) if instr.node is not None else ""
    return text.splitlines()[0].rstrip(":") if instr.op == "next" else text


@handles("return")
def _return(run: Interpreter, instr: Instr) -> None:
    from dyncc.frontend.exits import leave

    value = run.use()
    if len(run.state.frames) == 1:
        run.finish(leave(run, value))
    frame = run.state.frames.pop()
    assert frame.result is not None
    run.frame.registers[frame.result] = value
    if frame.joins:
        run.cut()


@handles("raise")
def _raise(run: Interpreter, instr: Instr) -> None:
    error = run.use()
    if isinstance(error, type) and issubclass(error, BaseException):
        error = Raised(error, ())
    if not isinstance(error, Raised):
        raise Unsupported("`raise`", "it raises no exception object", "Raise an exception.")
    parts: list[Any] = []
    for arg in error.args:
        for part in arg.parts if isinstance(arg, Text) else (arg,):
            part = part.value if isinstance(part, Sym) else part
            known = isinstance(part, int | float | str | Value)
            parts.append(part if known else str(part))
    kind = next(cls for cls in error.kind.__mro__ if getattr(builtins, cls.__name__, None) is cls)
    if kind is not error.kind:
        parts.insert(0, f"{error.kind.__name__}: ")
    run.finish(Raise(kind.__name__, tuple(parts), run.loc))


@handles("unsupported")
def _unsupported(run: Interpreter, instr: Instr) -> None:
    raise Unsupported(
        str(instr.const),
        "this construct is not compiled yet",
        "Write it with if, while, for, or a helper function; it may stay where no path reaches.",
    )


@handles("enter")
def _enter(run: Interpreter, instr: Instr) -> None:
    manager = run.use()
    if type(manager).__module__.startswith("torch.autograd.grad_mode"):
        run.done(None)
        return
    raise Unsupported(
        "a `with` statement",
        f"the effect of {type(manager).__name__} on compiled code is not known",
        "Use it outside of forward; torch.no_grad() and torch.inference_mode() are understood.",
    )


# --- operators --------------------------------------------------------------------------------


@handles("binary")
def _binary(run: Interpreter, instr: Instr) -> None:
    plain, _, op = _BINARY[instr.const]
    run.done(binary(run, plain, op, run.use(0), run.use(1)))


@handles("inplace")
def _inplace(run: Interpreter, instr: Instr) -> None:
    plain, inplace, op = _BINARY[instr.const]
    left, right = run.uses()
    if run.is_tensor(left):
        run.done(tensor_operator(run, inplace, left, right))
        return
    if isinstance(left, Ref) and isinstance(run.state.heap[left], ListObj) and op == "add":
        items = run.state.heap[left].items + sequence(run, right)
        run.state.heap[left] = ListObj(items)
        run.done(left)
        return
    run.done(binary(run, plain, op, left, right))


def binary(run: Interpreter, plain: Callable[..., Any], op: str, left: Any, right: Any) -> Any:
    """A binary operator on any two values."""
    if run.is_tensor(left) or run.is_tensor(right):
        return tensor_operator(run, plain, left, right)
    if isinstance(left, Sym) or isinstance(right, Sym):
        return run.host(op, left, right)
    if isinstance(left, Ref) and isinstance(run.state.heap[left], ListObj):
        items = run.state.heap[left].items
        if op == "add":
            return run.state.new(ListObj(items + sequence(run, right)))
        if op == "mul" and isinstance(right, int):
            return run.state.new(ListObj(items * right))
    if isinstance(left, Ref | Text) or isinstance(right, Ref | Text):
        raise Unsupported(
            f"the operator `{op}`", "it is not compiled for these operands", "Write it otherwise."
        )
    return evaluate(run, plain, left, right)


def tensor_operator(run: Interpreter, function: Callable[..., Any], left: Any, right: Any) -> Any:
    """An operator with a tensor on one side; a dynamic scalar becomes a 0-d tensor."""
    return run.native(function, promote(run, (left, right)))


def promote(run: Interpreter, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """`args` with dynamic scalars as 0-d tensors, of a dtype that changes no result."""
    if not any(isinstance(arg, Sym) for arg in args):
        return args
    dtypes = [run.state.heap[arg].fake for arg in args if run.is_tensor(arg)]
    promoted: list[Any] = []
    for arg in args:
        if not isinstance(arg, Sym):
            promoted.append(arg)
            continue
        sample = {"bool": True, "int": 1, "float": 1.0, "complex": 1j}[str(arg.value.type)]
        dtype = torch.result_type(dtypes[0], sample) if dtypes else torch.tensor(sample).dtype
        promoted.append(run.scalar_tensor(arg, short_dtype(dtype)))
    return tuple(promoted)


def evaluate(run: Interpreter, function: Callable[..., Any], *args: Any) -> Any:
    """A native operation on static values."""
    try:
        return function(*args)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise Unsupported(
            f"`{source_text(run.instr)}`",
            f"it raises {type(error).__name__}: {error}",
            "Correct the expression.",
        ) from error


@handles("unary")
def _unary(run: Interpreter, instr: Instr) -> None:
    function, op = _UNARY[instr.const]
    value = run.use()
    if run.is_tensor(value):
        run.done(run.native(function, (value,)))
    elif isinstance(value, Sym):
        run.done(run.host(op, value))
    else:
        run.done(evaluate(run, function, value))


@handles("not")
def _not(run: Interpreter, instr: Instr) -> None:
    truth = run.truth(run.use())
    run.done(run.host("not", truth) if isinstance(truth, Sym) else not truth)


@handles("compare")
def _compare(run: Interpreter, instr: Instr) -> None:
    left, right = run.uses()
    if instr.const in ("Is", "IsNot"):
        same = (
            left == right
            if isinstance(left, Ref) and isinstance(right, Ref)
            else left is right and not isinstance(left, Sym)
        )
        run.done(same == (instr.const == "Is"))
        return
    if instr.const in ("In", "NotIn"):
        found = contains(run, right, left)
        if instr.const == "NotIn":
            found = run.host("not", found) if isinstance(found, Sym) else not found
        run.done(found)
        return
    function, op = _COMPARE[instr.const]
    if run.is_tensor(left) or run.is_tensor(right):
        run.done(tensor_operator(run, function, left, right))
    elif isinstance(left, Sym) or isinstance(right, Sym):
        if left is None or right is None or isinstance(left, str) or isinstance(right, str):
            run.done(op == "ne")
        else:
            run.done(run.host(op, left, right))
    elif isinstance(left, Ref) or isinstance(right, Ref):
        plain = tuple(_plain(run, value) for value in (left, right))
        run.done(evaluate(run, function, *plain))
    else:
        run.done(evaluate(run, function, left, right))


def _plain(run: Interpreter, value: Any) -> Any:
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, ListObj) and is_static(run.state, found.items):
            return list(found.items)
        if isinstance(found, DictObj) and is_static(run.state, tuple(v for _, v in found.items)):
            return dict(found.items)
        raise Unsupported(
            "a comparison of containers",
            "they hold tensors or numbers that are known at run time only",
            "Compare their elements.",
        )
    return value


def contains(run: Interpreter, container: Any, value: Any) -> Any:
    """Truth of ``value in container``."""
    if isinstance(container, Ref):
        found = run.state.heap[container]
        if isinstance(found, DynListObj) and len(found.values) == 1:
            return run.host("list.contains", Sym(found.values[0]), run.scalar(value))
        if isinstance(found, DictObj):
            return value in dict(found.items)
        if not isinstance(found, ListObj):
            raise Unsupported("`in`", "it is not compiled for this container", "Use a list.")
        container = found.items
    if isinstance(value, Sym) or (
        isinstance(container, tuple) and scalars_in(run.state, container)
    ):
        answer: Any = False
        for item in container:
            equal = run.host("eq", value, item)
            answer = equal if answer is False else run.host("or", answer, equal)
        return answer
    return evaluate(run, operator.contains, container, value)


# --- displays ---------------------------------------------------------------------------------


def sequence(run: Interpreter, value: Any) -> tuple[Any, ...]:
    """The items of something whose length is known."""
    from dyncc.frontend.objects import iterate

    return iterate(run, value)


def spread(run: Interpreter, values: list[Any], stars: tuple[bool, ...]) -> tuple[Any, ...]:
    """Items of a display, starred ones taken apart."""
    items: list[Any] = []
    for position, value in enumerate(values):
        if position < len(stars) and stars[position]:
            items.extend(sequence(run, value))
        else:
            items.append(value)
    return tuple(items)


@handles("tuple")
def _tuple(run: Interpreter, instr: Instr) -> None:
    run.done(spread(run, run.uses(), instr.const))


@handles("list")
def _list(run: Interpreter, instr: Instr) -> None:
    run.done(run.state.new(ListObj(spread(run, run.uses(), instr.const))))


@handles("dict")
def _dict(run: Interpreter, instr: Instr) -> None:
    values = run.uses()
    half = len(values) // 2
    result = DictObj(())
    for key, value in zip(values[:half], values[half:], strict=True):
        result = result.set(run.static(key, "a dict key"), value)
    run.done(run.state.new(result))


@handles("slice")
def _slice(run: Interpreter, instr: Instr) -> None:
    run.done(slice(*run.uses()))


#: What `!s`, `!r` and `!a` do, by the number that ast gives them; -1 is for none.
_CONVERSIONS: dict[int, Callable[[Any], Any]] = {-1: lambda v: v, 115: str, 114: repr, 97: ascii}


@handles("format")
def _format(run: Interpreter, instr: Instr) -> None:
    parts: list[Any] = []
    for value, (conversion, spec) in zip(run.uses(), instr.const, strict=True):
        if isinstance(value, str) and conversion == -1 and not spec:
            parts.append(value)
        elif is_static(run.state, value):
            converted = _CONVERSIONS[conversion](value)
            parts.append(evaluate(run, format, converted, spec))
        else:
            parts.append(run.scalar(value))
    if all(isinstance(part, str) for part in parts):
        run.done("".join(parts))
    else:
        run.done(Text(tuple(parts)))
