"""Builtins and functions of ``math`` on numbers that are known at run time only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import Sym
from dyncc.ir.hostops import MATH_TO_BOOL, MATH_TO_FLOAT

NUMBERS: dict[Any, Callable[..., Any]] = {}


def _conversion(kind: type) -> Callable[..., Any]:
    def convert(run: Interpreter, value: Any) -> Any:
        if kind is bool:
            return run.truth(value)
        value = run.scalar(value)
        if not isinstance(value, Sym):
            return NotImplemented
        return value if str(value.value.type) == kind.__name__ else run.host(kind.__name__, value)

    return convert


for _kind in (bool, int, float):
    NUMBERS[_kind] = _conversion(_kind)


def _scalar_function(op: str) -> Callable[..., Any]:
    def function(run: Interpreter, *args: Any) -> Any:
        values = [run.scalar(arg) for arg in args]
        if not any(isinstance(value, Sym) for value in values):
            return NotImplemented
        return run.host(op, *values)

    return function


for _name in ("floor", "ceil", "trunc", *MATH_TO_BOOL, *MATH_TO_FLOAT):
    NUMBERS[getattr(math, _name)] = _scalar_function(f"math.{_name}")


def _round(run: Interpreter, number: Any, ndigits: Any = None) -> Any:
    if run.is_tensor(number):
        named = {} if ndigits is None else {"decimals": run.static(ndigits, "a number of digits")}
        return run.native(torch.round, (number,), named)
    if not isinstance(number, Sym) and not isinstance(ndigits, Sym):
        return NotImplemented
    return run.host("round", number) if ndigits is None else run.host("round", number, ndigits)


def _divmod(run: Interpreter, left: Any, right: Any) -> Any:
    if isinstance(left, Sym) or isinstance(right, Sym):
        return run.host("floordiv", left, right), run.host("mod", left, right)
    return NotImplemented


def _abs(run: Interpreter, value: Any) -> Any:
    if run.is_tensor(value):
        return run.native(torch.abs, (value,))
    return run.host("abs", value) if isinstance(value, Sym) else NotImplemented


def _power(run: Interpreter, base: Any, exponent: Any) -> Any:
    from dyncc.frontend.operations import binary

    return binary(run, pow, "pow", base, exponent)


NUMBERS |= {round: _round, divmod: _divmod, abs: _abs, pow: _power}


def number_method(run: Interpreter, number: Sym, name: str, args: tuple[Any, ...]) -> Any:
    """A method of a number that is known at run time only, or NotImplemented."""
    kind = str(number.value.type)
    if kind == "float" and name == "is_integer" and not args:
        return run.host("eq", run.host("math.floor", number), number)
    if kind == "int" and name == "bit_length" and not args:
        return run.host("int.bit_length", number)
    if name == "item" and not args:
        return number
    return NotImplemented
