"""Handlers of instructions that compute: names, operators, comparisons, displays, control flow."""

from __future__ import annotations

import builtins
import importlib
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch

from dyncc.frontend.arrays import array, array_operator, as_array, tensor_of
from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.code import Instr
from dyncc.frontend.containers import (
    SET_OPERATORS,
    dict_method,
    make_dict,
    make_set,
    set_method,
    static_key,
)
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.interpreter import DataDependent, Interpreter, handles
from dyncc.frontend.lists import dynamic_display, dynamic_method
from dyncc.frontend.strings import percent
from dyncc.frontend.values import (
    DictObj,
    DynListObj,
    ListObj,
    Ref,
    SetObj,
    Sym,
    short_dtype,
)
from dyncc.frontend.views import NeedsNumber

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
        problem = Unsupported(
            "DY103",
            f"`{instr.const}`",
            "nothing gives it a value before",
            "Give it a value first, or correct the name.",
        )
        variable = f"local variable '{instr.const}'"
        text = f"cannot access {variable} where it is not associated with a value"
        # Where only some data lead here, it may be that they never come.
        raise PythonError(UnboundLocalError, (text,), None if run.state.forks else problem)
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
        raise Unsupported(
            "DY102", f"the name `{instr.const}`", "it is not defined", "Define or import it."
        )


@handles("import")
def _import(run: Interpreter, instr: Instr) -> None:
    name, level, whole = instr.const
    package = run.frame.function.__globals__.get("__package__")
    module = evaluate(run, importlib.import_module, "." * level + name, package)
    run.done(module if whole else sys.modules[name.partition(".")[0]])


@handles("import from")
def _import_from(run: Interpreter, instr: Instr) -> None:
    module = run.use()
    if not hasattr(module, instr.const):
        module = evaluate(run, importlib.import_module, f"{module.__name__}.{instr.const}")
        run.done(module)
        return
    run.done(external(run, getattr(module, instr.const)))


def external(run: Interpreter, value: Any) -> Any:
    """A Python object from outside of the capture; its tensors become weights."""
    if isinstance(value, torch.Tensor):
        found: Any = run.native(lambda tensor: tensor, (value,))
        return found
    if type(value) is tuple:
        return tuple(external(run, part) for part in value)
    return value


def source_text(instr: Instr) -> str:
    """The source of an instruction's syntax; of a loop, its first line."""
    import ast

    text = ast.unparse(instr.node) if instr.node is not None else ""
    return text.splitlines()[0].rstrip(":") if instr.op == "next" else text


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
    if array(run, left) is not None:
        raise Unsupported(
            "DY704",
            "an array changed in place",
            "it is not compiled",
            "Write `a = a + b`, or use tensors.",
        )
    container = run.state.heap[left] if isinstance(left, Ref) else None
    if isinstance(container, DictObj | SetObj) and op in SET_OPERATORS:
        if isinstance(container, DictObj):
            dict_method(run, left, container, SET_OPERATORS[op][0], (right,), {})
        else:
            set_method(run, left, container, SET_OPERATORS[op][1], (right,), {})
        run.done(left)
        return
    if run.holds(left, ListObj) and op == "add":
        items = run.state.heap[left].items + sequence(run, right)
        run.state.heap[left] = ListObj(items)
        run.done(left)
        return
    run.done(binary(run, plain, op, left, right))


def binary(run: Interpreter, plain: Callable[..., Any], op: str, left: Any, right: Any) -> Any:
    """A binary operator on any two values."""
    if array(run, left) is not None or array(run, right) is not None:
        return array_operator(run, plain, op, left, right)
    if run.is_tensor(left) or run.is_tensor(right):
        return tensor_operator(run, plain, left, right)
    if isinstance(left, str) and op == "mod" and not is_static(run.state, right):
        return percent(run, left, right)
    if isinstance(left, Sym) or isinstance(right, Sym):
        return run.host(op, left, right)
    if run.holds(left, ListObj):
        items = run.state.heap[left].items
        if op == "add":
            return run.state.new(ListObj(items + sequence(run, right)))
        if op == "mul" and isinstance(right, int):
            return run.state.new(ListObj(items * right))
    container = run.state.heap[left] if isinstance(left, Ref) else None
    if isinstance(container, DictObj) and op == "or":
        made = run.state.new(container)
        dict_method(run, made, container, "update", (right,), {})
        return made
    if isinstance(container, SetObj) and op in SET_OPERATORS:
        return set_method(run, left, container, SET_OPERATORS[op][2], (right,), {})
    if isinstance(left, Ref) or isinstance(right, Ref):
        raise Unsupported(
            "DY505",
            f"the operator `{op}`",
            "it is not compiled for these operands",
            "Write it otherwise.",
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
        if not isinstance(arg, Sym) or arg.extent is not None:
            promoted.append(arg)
            continue
        sample = {"bool": True, "int": 1, "float": 1.0, "complex": 1j}.get(str(arg.value.type))
        if sample is None:
            raise NeedsNumber(arg.value.type)
        dtype = torch.result_type(dtypes[0], sample) if dtypes else torch.tensor(sample).dtype
        promoted.append(run.scalar_tensor(arg, short_dtype(dtype)))
    return tuple(promoted)


def library_call(
    run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], what: str
) -> Any:
    """Library code, which may take numbers that are known at run time only.

    Such a number is a tensor to it if that will do; else it is made known, if it was known before
    a loop was rolled; else it is an operand in a region. A tensor without dimensions that holds an
    integer is such a number where the code asks for its content, as torch does for a size.

    Raises
    ------
    DataDependent
        If it asks for the content of another tensor.
    """
    mark = run.builder.mark()
    try:
        return _with_numbers(run, function, args, kwargs, what)
    except DataDependent:
        run.builder.rollback(mark)
        integers = tuple(_integer(run, arg) for arg in args)
        named = {name: _integer(run, arg) for name, arg in kwargs.items()}
        if (integers, named) == (args, kwargs):
            raise
    return _with_numbers(run, function, integers, named, what)


def _integer(run: Interpreter, value: Any) -> Any:
    """The number in a tensor of one integer, also in a tuple; else the value."""
    if type(value) is tuple:
        return tuple(_integer(run, item) for item in value)
    if run.is_tensor(value):
        fake = run.state.heap[value].fake
        if fake.dim() == 0 and short_dtype(fake.dtype) in ("i64", "i32", "i16", "i8", "u8"):
            return run.item(value)
    return value


def _with_numbers(
    run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], what: str
) -> Any:
    everything = (*args, *kwargs.values())
    dynamic = [sym for arg in everything for sym in scalars_in(run.state, arg)]
    if all(sym.extent is not None for sym in dynamic):
        return run.native(function, args, kwargs)
    promoted = promote(run, everything)
    mark = run.builder.mark()
    named = dict(zip(kwargs, promoted[len(args) :], strict=True))
    try:
        return run.native(function, promoted[: len(args)], named)
    except (DataDependent, NeedsNumber):
        run.builder.rollback(mark)
    except Unsupported as problem:
        if not isinstance(problem.__cause__, TypeError):
            raise
        run.builder.rollback(mark)
    for sym in dynamic:
        if sym.origins - run.decisions.rolled:
            run.static(sym, what)
    return run.native(function, args, kwargs, numbers=True)


#: What Python raises for a mistake in a program.
_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip


def evaluate(run: Interpreter, function: Callable[..., Any], *args: Any) -> Any:
    """A native operation on static values."""
    try:
        return function(*args)
    except _ERRORS as error:
        problem = Unsupported(
            "DY105",
            f"`{source_text(run.instr)}`",
            f"it raises {type(error).__name__}: {error}",
            "Correct the expression.",
        )
        if isinstance(error, TypeError | AttributeError) and not is_static(run.state, args):
            # It may mean what stands for a value here, not the value.
            raise problem from error
        raise PythonError(type(error), error.args, problem) from error


@handles("unary")
def _unary(run: Interpreter, instr: Instr) -> None:
    function, op = _UNARY[instr.const]
    value = run.use()
    if array(run, value) is not None:
        run.done(as_array(run, run.native(function, (tensor_of(run, value),))))
    elif run.is_tensor(value):
        run.done(run.native(function, (value,)))
    elif isinstance(value, Sym):
        run.done(run.host(op, value))
    else:
        run.done(evaluate(run, function, value))


@handles("not")
def _not(run: Interpreter, instr: Instr) -> None:
    truth = run.truth(run.use())
    run.done(run.host("not", truth) if isinstance(truth, Sym) else not truth)


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
    values = run.uses()
    starred = [value for value, star in zip(values, instr.const, strict=False) if star]
    if any(isinstance(run.state.heap.get(value), DynListObj) for value in starred):
        run.done(run.state.new(dynamic_display(run, values, instr.const)))
        return
    run.done(run.state.new(ListObj(spread(run, values, instr.const))))


@handles("dict")
def _dict(run: Interpreter, instr: Instr) -> None:
    values = iter(run.uses())
    result = DictObj(())
    for is_star in instr.const:
        first = next(values)
        pairs = make_dict(run, (first,), {}).items if is_star else ((first, next(values)),)
        for key, value in pairs:
            result = result.set(static_key(run, key), value)
    run.done(run.state.new(result))


@handles("set")
def _set(run: Interpreter, instr: Instr) -> None:
    run.done(run.state.new(make_set(run, spread(run, run.uses(), instr.const))))


@handles("collect")
def _collect(run: Interpreter, instr: Instr) -> None:
    """Put what a turn of a comprehension gives into its result."""
    result, *values = run.uses()
    found = run.state.heap[result]
    if isinstance(found, DictObj):
        run.state.heap[result] = found.set(static_key(run, values[0]), values[1])
    elif isinstance(found, SetObj):
        set_method(run, result, found, "add", (values[0],), {})
    elif isinstance(found, DynListObj):
        dynamic_method(run, result, "append", (values[0],))
    else:
        run.state.heap[result] = ListObj((*found.items, values[0]))
    run.done()


@handles("slice")
def _slice(run: Interpreter, instr: Instr) -> None:
    run.done(slice(*run.uses()))
