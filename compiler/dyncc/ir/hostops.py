"""The host operations: what a block computes on scalars and lists between regions.

A scalar operation is its Python counterpart, exceptions included. Lists are immutable values: an
operation that changes one returns a new one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from dyncc.ir.hcfg import Operand, Symbolic, Value
from dyncc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    SCALARS,
    STR,
    ListType,
    ScalarType,
    TensorType,
    Type,
    scalar_type_of,
)


def position(index: int, length: int) -> int:
    """Position of a possibly negative index in a sequence; raises IndexError."""
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range for length {length}")
    return index % length


def formatted(value: Any, conversion: str, spec: str) -> str:
    """A value as an f-string shows it, after the conversion ``r``, ``s``, ``a`` or none."""
    shown = {"": lambda v: v, "r": repr, "s": str, "a": ascii}
    convert: Any = shown[conversion]
    return format(convert(value), spec)


def percent(template: str, *values: Any) -> str:
    """What ``template % values`` is."""
    return template % values


def range_length(start: int, stop: int, step: int) -> int:
    """Length of a Python range; raises ValueError for step 0."""
    return len(range(start, stop, step))


#: Arithmetic whose result type is the type of the Python result.
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow,
    "lshift": operator.lshift, "rshift": operator.rshift, "and": operator.and_,
    "or": operator.or_, "xor": operator.xor, "neg": operator.neg, "pos": operator.pos,
    "invert": operator.invert, "abs": abs, "min": min, "max": max,
}  # fmt: skip

#: Functions of the math module, by the type of their results.
MATH_TO_BOOL = ("isnan", "isinf", "isfinite", "isclose")
MATH_TO_FLOAT = (
    "sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "atan2", "sinh", "cosh", "tanh", "pow", "hypot", "fabs", "fmod", "copysign", "erf",
    "degrees", "radians",
)  # fmt: skip

_TO_BOOL: dict[str, Callable[..., Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "not": operator.not_, "bool": bool,
    **{f"math.{name}": getattr(math, name) for name in MATH_TO_BOOL},
}  # fmt: skip
_TO_INT: dict[str, Callable[..., Any]] = {
    "int": int, "math.floor": math.floor, "math.ceil": math.ceil, "math.trunc": math.trunc,
    "position": position, "range.len": range_length, "int.bit_length": int.bit_length,
}  # fmt: skip
_TO_STR: dict[str, Callable[..., Any]] = {
    "str.concat": lambda *parts: "".join(parts), "str.percent": percent, "str": str, "repr": repr,
}  # fmt: skip
_TO_FLOAT: dict[str, Callable[..., Any]] = {
    "float": float, **{f"math.{name}": getattr(math, name) for name in MATH_TO_FLOAT},
}  # fmt: skip

#: Operations that take scalars and give one scalar.
SCALAR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "const": lambda value: value,
    "round": round,
    **ARITHMETIC,
    **_TO_BOOL,
    **_TO_INT,
    **_TO_FLOAT,
    **_TO_STR,
}

#: Operations that act on the world outside; they are carried out once, in the program's order.
EFFECTS = frozenset({"print", "log"})

#: Operations on tensors and lists, and those whose operands may be of any type.
STRUCTURAL = frozenset(
    {
        "item", "tensor", "dim", "list.of", "list.append", "list.push", "list.get", "list.set",
        "list.len",
        "list.concat", "list.slice", "list.pop", "list.insert", "list.reverse", "list.contains",
        "list.sum", "list.min", "list.max", "list.stack", "list.cat", "list.tensor", "format",
        "tensor.list",
        "print", "log",
    }
)  # fmt: skip


def operand_type(operand: Operand) -> Type | None:
    """Type of a value or of a scalar literal; None for other literals."""
    if isinstance(operand, Value):
        return operand.type
    return SCALARS.get(type(operand).__name__)


def result_types(op: str, args: tuple[Operand, ...]) -> tuple[Type, ...] | None:
    """Types of the results of a host operation.

    Returns
    -------
    tuple of Type, or None where only the declaration tells (an empty list, a symbolic extent).

    Raises
    ------
    ValueError
        If there is no such operation, or it does not take these operands.
    """
    kinds = [operand_type(arg) for arg in args]
    if op in SCALAR_FUNCTIONS:
        scalars = [kind for kind in kinds if isinstance(kind, ScalarType)]
        if len(scalars) != len(args) or not args:
            raise ValueError(f"{op} takes scalars")
        return (_scalar_result(op, scalars, args),)
    if op not in STRUCTURAL:
        raise ValueError(f"there is no host operation {op!r}")
    return _structural(op, args, kinds)


def _scalar_result(op: str, kinds: list[ScalarType], args: tuple[Operand, ...]) -> ScalarType:
    if op in _TO_BOOL:
        return BOOL
    if op in ("position", "range.len", "int.bit_length") and not set(kinds) <= {INT, BOOL}:
        raise ValueError(f"{op} takes integers")
    if op in _TO_INT:
        return INT
    if op in _TO_STR:
        if op == "str.concat" and set(kinds) != {STR}:
            raise ValueError("str.concat takes strings")
        return STR
    if op in _TO_FLOAT:
        return FLOAT
    if op == "const":
        return kinds[0]
    if op == "round":
        return FLOAT if len(kinds) == 2 and kinds[0] == FLOAT else INT
    if op in ("min", "max"):
        if len(set(kinds)) != 1:
            raise ValueError(f"{op} takes scalars of one type")
        return kinds[0]
    # What Python gives for the types, not for the values: an int to a negative power is a float.
    samples = {"bool": True, "int": 2, "float": 2.0, "complex": 2j, "str": "2"}
    try:
        result = ARITHMETIC[op](*(samples[kind.kind] for kind in kinds))
    except TypeError as error:
        raise ValueError(f"{op} does not take {', '.join(map(str, kinds))}") from error
    if op == "pow" and kinds[0] != FLOAT and kinds[1] != FLOAT:
        exponent = args[1]
        if isinstance(exponent, Value):
            raise ValueError("pow of integers needs a constant exponent")
        if isinstance(exponent, int) and exponent < 0:
            return FLOAT
    return SCALARS[type(result).__name__]


def _structural(
    op: str, args: tuple[Operand, ...], kinds: list[Type | None]
) -> tuple[Type, ...] | None:
    first = kinds[0] if kinds else None
    if op == "print" and kinds == [STR]:
        return ()
    if op == "log" and kinds == [STR, INT, STR]:
        return ()
    if op == "format" and kinds[1:] == [STR, STR] and isinstance(first, ScalarType | TensorType):
        return (STR,)
    if op == "item" and isinstance(first, TensorType):
        return (scalar_type_of(first.dtype),)
    if op == "tensor" and isinstance(first, ScalarType) and isinstance(args[1], Symbolic):
        return (TensorType(args[1].name, ()),)
    if op == "tensor.list" and isinstance(first, TensorType) and len(first.shape) == 1:
        return (ListType(scalar_type_of(first.dtype)),)
    if op == "dim" and isinstance(first, TensorType):
        return (INT,)
    if op == "list.of":
        if not args:
            return None
        if first is None or isinstance(first, ListType) or set(kinds) != {first}:
            raise ValueError("list.of takes scalars or tensors of one type")
        return (ListType(first),)
    if isinstance(first, ListType):
        element = first.element
        if op in ("list.append", "list.push", "list.set", "list.insert") and kinds[-1] != element:
            raise ValueError(f"{op} takes a {element}")
        if op == "list.concat" and kinds[1] != first:
            raise ValueError("list.concat takes lists of one type")
        if op in (
            "list.append", "list.push", "list.set", "list.insert", "list.concat", "list.slice",
            "list.reverse",
        ):  # fmt: skip
            return (first,)
        if op == "list.pop":
            return first, element
        if op == "list.get" or (
            op in ("list.min", "list.max", "list.sum") and isinstance(element, ScalarType)
        ):
            return (INT if op == "list.sum" and element == BOOL else element,)
        if op == "list.len":
            return (INT,)
        if op == "list.contains":
            return (BOOL,)
        if op in ("list.stack", "list.cat") and isinstance(element, TensorType):
            return None
        if op == "list.tensor" and isinstance(args[1], Symbolic):
            return None
    raise ValueError(f"{op} does not take {', '.join(map(str, kinds)) or 'no operands'}")
