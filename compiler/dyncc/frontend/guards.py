"""Exceptions of host operations that depend on run-time values.

Outside of ``try`` such an operation simply raises when it is carried out. Where code around it may
catch the exception, the program tests beforehand whether the operation would raise, and branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.unwinding import may_catch
from dyncc.frontend.values import Sym
from dyncc.ir.hcfg import Value
from dyncc.ir.hostops import SCALAR_FUNCTIONS
from dyncc.ir.types import ListType

if TYPE_CHECKING:
    from dyncc.frontend.computing import Computing

#: Truth, static or dynamic, of "the operation does not raise".
Test = Callable[["Computing", tuple[Any, ...]], Any]


class Guarded(Exception):
    """The block has to branch before this instruction on whether it raises.

    With None for the exception, it is carried out either way, and does not do the same.
    """

    def __init__(self, good: Sym, kind: type[BaseException] | None, args: tuple[Any, ...]) -> None:
        super().__init__(kind)
        self.good = good
        self.kind = kind
        self.arguments = args


def _compare(op: str, bound: Any, position: int = 0) -> Test:
    return lambda run, args: _host(run, op, args[position], bound)


def _not(op: str, *bound: Any) -> Test:
    return lambda run, args: _host(run, "not", _host(run, op, args[0], *bound))


def _host(run: Computing, op: str, *args: Any) -> Any:
    if any(isinstance(arg, Sym) for arg in args):
        return run.host(op, *args)
    return SCALAR_FUNCTIONS[op](*args)


def _within(run: Computing, args: tuple[Any, ...]) -> Any:
    first, index = args[0], args[1]
    if isinstance(first, Sym) and isinstance(first.value.type, ListType):
        length = run.host("list.len", first)
    else:
        index, length = first, args[1]
    low = _host(run, "ge", index, _host(run, "neg", length))
    return _host(run, "and", low, _host(run, "lt", index, length))


_FINITE: list[tuple[type[Exception], Test | None, Any]] = [
    (ValueError, _not("math.isnan"), float("nan")),
    (OverflowError, _not("math.isinf"), float("inf")),
]
_OVERFLOW: list[tuple[type[Exception], Test | None, Any]] = [(OverflowError, None, None)]
_RANGE: list[tuple[type[Exception], Test | None, Any]] = [(IndexError, _within, None)]
_DIVISION: list[tuple[type[Exception], Test | None, Any]] = [
    (ZeroDivisionError, _compare("ne", 0, 1), 0)
]
_POSITIVE: list[tuple[type[Exception], Test | None, Any]] = [(ValueError, _not("le", 0), 0.0)]

#: What may be raised, the test that it is not, and an operand with which it is.
_RISKS: dict[str, list[tuple[type[Exception], Test | None, Any]]] = {
    "truediv": _DIVISION, "floordiv": _DIVISION, "mod": _DIVISION,
    "int": _FINITE, "round": _FINITE,
    "math.floor": _FINITE, "math.ceil": _FINITE, "math.trunc": _FINITE,
    "math.sqrt": [(ValueError, _not("lt", 0), -1.0)],
    "math.log": _POSITIVE, "math.log2": _POSITIVE, "math.log10": _POSITIVE,
    "math.sin": [(ValueError, _not("math.isinf"), float("inf"))],
    "math.cos": [(ValueError, _not("math.isinf"), float("inf"))],
    "math.exp": _OVERFLOW,
    "pow": [(ZeroDivisionError, None, None), (OverflowError, None, None)],
    "lshift": [(ValueError, None, None)], "rshift": [(ValueError, None, None)],
    "position": _RANGE, "list.get": _RANGE, "list.set": _RANGE, "list.pop": _RANGE,
    "list.min": [(ValueError, None, None)], "list.max": [(ValueError, None, None)],
    "list.stack": [(RuntimeError, None, None)], "list.cat": [(RuntimeError, None, None)],
}  # fmt: skip

_MESSAGES = {
    "position": "index out of range",
    "list.get": "list index out of range",
    "list.set": "list assignment index out of range",
    "list.pop": "pop index out of range",
}


def guard(run: Computing, op: str, operands: tuple[Any, ...]) -> None:
    """Make sure that a host operation raises nothing that code around it would catch.

    Raises
    ------
    Guarded
        Where a test in front of the instruction is needed.
    PythonError
        Where the operation raises for certain.
    Unsupported
        Where there is no such test.
    """
    for kind, test, sample in _RISKS.get(op, ()):
        if not _concerns(op, operands) or not may_catch(run.state, kind):
            continue
        if test is None:
            raise Unsupported(
                "DY304",
                f"`{op}` inside of `try`",
                f"it may raise {kind.__name__} for some data, which the `except` would catch",
                "Move it out of the `try`, or catch only what is raised there on purpose.",
            )
        if run.passed_guard():
            continue
        args = tuple(Sym(arg) if isinstance(arg, Value) else arg for arg in operands)
        good = test(run, args)
        arguments = _arguments(op, operands, kind, sample)
        if isinstance(good, Sym):
            raise Guarded(good, kind, arguments)
        if not good:
            raise PythonError(kind, arguments)


#: Operations that raise for some contents of their tensors.
_RISKY_TENSOR_OPS: dict[str, tuple[type[Exception], ...]] = dict.fromkeys(
    ("embedding", "index", "index_put", "gather", "scatter", "scatter_add", "scatter_reduce",
     "take", "index_select", "index_add", "index_copy", "index_fill", "_index_put_impl_"),
    (IndexError, RuntimeError),
) | dict.fromkeys(
    ("_linalg_check_errors", "linalg_inv_ex", "_linalg_solve_ex", "_assert_async"), (RuntimeError,)
)  # fmt: skip


def guard_tensors(run: Computing, targets: list[str]) -> None:
    """Refuse tensor operations whose exceptions for some data code around them would catch."""
    for target in targets:
        name = target.split(".")[1]
        # An index that is a number was tested.
        if name == "index_select" and run.instr.op != "call":
            continue
        kinds = _RISKY_TENSOR_OPS.get(name)
        if kinds is not None and may_catch(run.state, *kinds):
            raise Unsupported(
                "DY304",
                f"`{target}` inside of `try`",
                f"it may raise {kinds[0].__name__} for some data, which the `except` would catch",
                "Move it out of the `try`, or catch only what is raised there on purpose.",
            )


def python_error(
    run: Computing,
    error: Exception,
    again: Callable[[], Any],
    problem: Unsupported,
) -> Exception:
    """What to raise for an exception of library code on tensors without contents.

    Parameters
    ----------
    again
        The same call on tensors with contents: that it raises, too, shows that the exception is
        not one of the tools for the capture.
    """
    if not may_catch(run.state, type(error)):
        return problem
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            again()
    except type(error) as real:
        if type(real) is type(error):
            return PythonError(type(real), real.args, problem)
    return problem


def _concerns(op: str, operands: tuple[Any, ...]) -> bool:
    """Whether operands of these types can make the operation raise."""
    if op in ("int", "round", "math.floor", "math.ceil", "math.trunc"):
        first = operands[0]
        return str(first.type) == "float" if isinstance(first, Value) else True
    if op == "pow":
        return not isinstance(operands[1], int) or operands[1] < 0 or _is_float(operands[0])
    return True


def _is_float(operand: Any) -> bool:
    return str(operand.type) == "float" if isinstance(operand, Value) else type(operand) is float


def _arguments(
    op: str, operands: tuple[Any, ...], kind: type[BaseException], sample: Any
) -> tuple[Any, ...]:
    """What Python says in the exception."""
    if op in _MESSAGES:
        return (_MESSAGES[op],)
    if len(operands) == 2:
        left = 1.0 if _is_float(operands[0]) else 1
        values = [left, float(sample) if _is_float(operands[1]) else sample]
    else:
        values = [sample]
    try:
        SCALAR_FUNCTIONS[op](*values)
    except kind as error:
        return error.args
    raise AssertionError(f"{op} does not raise {kind.__name__}")
