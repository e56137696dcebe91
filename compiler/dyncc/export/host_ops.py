"""Host operations in C++: one expression or a few statements for each, with Python's meaning."""

from __future__ import annotations

import re

from dyncc.export.literals import (
    Unexportable,
    dtype,
    element_type,
    literal,
    type_name,
    variable,
)
from dyncc.ir.hcfg import HostOp, Operand, Symbolic, Value
from dyncc.ir.hostops import operand_type
from dyncc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    STR,
    ListType,
    ScalarType,
    TensorType,
)

_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_EXTREMES = {"min": "least", "max": "greatest"}
_BITS = {"and": "&", "or": "|", "xor": "^"}
#: Functions of support/python.hpp on one or two numbers, which are floats if one of them is.
_ARITHMETIC = frozenset({"add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "pos", "abs"})
_INTEGERS = {
    "lshift": "lshift", "rshift": "rshift", "invert": "invert", "position": "position",
    "range.len": "range_length", "int.bit_length": "bit_length",
}  # fmt: skip
#: Functions of C++ that have the names and the results of Python's math module. They fail outside
#: of their domain; those here also by results that are too large.
_MATH_OVERFLOWING = frozenset({"exp", "expm1", "cosh", "sinh"})
_MATH = frozenset(
    {
        "sqrt", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan",
        "atan2", "tanh", "fabs", "fmod", "copysign", "erf", *_MATH_OVERFLOWING,
    }
)  # fmt: skip
_PREDICATES = frozenset({"isnan", "isinf", "isfinite"})
_ROUNDING = {"int": "to_int", "math.trunc": "to_int", "math.floor": "floor", "math.ceil": "ceil"}
_FIXED = re.compile(r"\.(\d{1,3})([fe%])$")
#: List functions of support/list.hpp that take the list and the other operands as they are.
_LISTS = {
    "list.get": "list_get", "list.set": "list_set", "list.concat": "list_concat",
    "list.slice": "list_slice", "list.insert": "list_insert", "list.reverse": "list_reverse",
    "list.push": "list_push",
}  # fmt: skip


def statements(op: HostOp) -> list[str]:
    """C++ that carries out an operation and defines its results.

    Raises
    ------
    Unexportable
        If there is none with the same meaning.
    """
    if op.op == "print":
        return [f"print({_read(op.args[0])});"]
    if op.op == "log":
        raise Unexportable("messages go to Python's logging")
    if op.op == "list.pop":
        names = ", ".join(variable(value) for value in op.results)
        return [f"auto [{names}] = list_pop({', '.join(_read(arg) for arg in op.args)});"]
    (result,) = op.results
    kind = type_name(result.type)
    return [f"{kind} {variable(result)} = {_expression(op)};"]


def _expression(op: HostOp) -> str:
    name, args = op.op, op.args
    if name.startswith("list.") or name == "tensor.list":
        return _list(op)
    kinds = [operand_type(arg) for arg in args]
    if name == "item":
        tensor = _tensor_type(kinds[0])
        kind = type_name(op.results[0].type)
        return f"static_cast<{kind}>(item<{element_type(tensor.dtype)}>({_read(args[0])}))"
    if name == "dim":
        rank = len(_tensor_type(kinds[0]).shape)
        return f"{_read(args[0])}->shape[{_axis(args[1], rank)}]"
    if name == "tensor":
        return _made_tensor("scalar_tensor", op)
    if name in ("format", "str", "repr"):
        return _shown(name, args)
    if not all(isinstance(kind, ScalarType) for kind in kinds):
        raise Unexportable(f"no C++ is made of {name}")
    scalars = [found for found in kinds if isinstance(found, ScalarType)]
    for found in scalars:
        type_name(found)
    return _scalar(op, scalars)


def _scalar(op: HostOp, kinds: list[ScalarType]) -> str:
    name, args, result = op.op, op.args, op.results[0].type
    reads = [_read(arg) for arg in args]
    if name == "const":
        return reads[0]
    if name in _COMPARISONS:
        return f"({_compared(args, kinds, _COMPARISONS[name])})"
    if STR in kinds:
        if name == "str.concat" or (name == "add" and set(kinds) == {STR}):
            return " + ".join(reads)
        if name in ("bool", "not"):
            return f"{'!' if name == 'bool' else ''}{reads[0]}.empty()"
        if name in _EXTREMES:
            return _called(_EXTREMES[name], "std::string", reads)
        raise Unexportable(f"no C++ is made of {name} on strings")
    if name in ("bool", "not"):
        return f"({reads[0]} {'!=' if name == 'bool' else '=='} 0)"
    if name in _EXTREMES:
        return _called(_EXTREMES[name], type_name(result), reads)
    if name in _BITS:
        return f"static_cast<{type_name(result)}>({f' {_BITS[name]} '.join(reads)})"
    if name in _INTEGERS:
        return _called(_INTEGERS[name], "int64_t", reads)
    if name in _ARITHMETIC:
        return _called(name, "double" if FLOAT in kinds else "int64_t", reads)
    if name == "pow":
        return _called("pow", "double" if result == FLOAT else "int64_t", reads)
    if name == "float":
        return f"static_cast<double>({reads[0]})"
    if name in _ROUNDING:
        return reads[0] if kinds[0] == INT else _rounded(name, kinds[0], reads[0])
    if name == "round":
        return _round(args, kinds, reads)
    if name.startswith("math."):
        return _math(name.removeprefix("math."), reads)
    raise Unexportable(f"no C++ is made of {name}")


def _rounded(name: str, kind: ScalarType, read: str) -> str:
    return _called(_ROUNDING[name], "double" if kind == FLOAT else "int64_t", [read])


def _round(args: tuple[Operand, ...], kinds: list[ScalarType], reads: list[str]) -> str:
    if len(args) == 1:
        return f"round({reads[0]})" if kinds[0] == FLOAT else f"static_cast<int64_t>({reads[0]})"
    digits = args[1]
    if isinstance(digits, Value) or not isinstance(digits, int) or digits < 0:
        raise Unexportable("decimals to round to have to be a constant that is not negative")
    return f"round({reads[0]}, {reads[1]})" if kinds[0] == FLOAT else reads[0]


def _math(name: str, reads: list[str]) -> str:
    doubles = [f"static_cast<double>({read})" for read in reads]
    if name in _PREDICATES:
        return f"std::{name}({doubles[0]})"
    if name == "isclose" and len(reads) == 2:
        return f"is_close({', '.join(doubles)})"
    if name == "pow":
        return f"math_pow({', '.join(doubles)})"
    if name in ("degrees", "radians"):
        return f"({doubles[0]} * ({'180.0 / pi()' if name == 'degrees' else 'pi() / 180.0'}))"
    if name not in _MATH or (name == "log" and len(reads) == 2):
        raise Unexportable(f"math.{name} in C++ may round otherwise than in Python")
    parameters = ", ".join(f"double x{i}" for i in range(len(reads)))
    names = ", ".join(f"x{i}" for i in range(len(reads)))
    function = f"[]({parameters}) {{ return std::{name}({names}); }}"
    overflows = "true" if name in _MATH_OVERFLOWING else "false"
    return f"domain_checked({overflows}, {function}, {', '.join(doubles)})"


def _compared(args: tuple[Operand, ...], kinds: list[ScalarType], sign: str) -> str:
    """A comparison; an int and a float are compared exactly, as no double can hold every int."""
    reads = [_read(arg) for arg in args]
    if STR in kinds:
        if set(kinds) != {STR}:
            raise Unexportable("a string is compared with a number")
        return f" {sign} ".join(reads)
    if FLOAT not in kinds:
        return f" {sign} ".join(f"static_cast<int64_t>({read})" for read in reads)
    kind = "double" if set(kinds) == {FLOAT} else "long double"
    return f" {sign} ".join(f"static_cast<{kind}>({read})" for read in reads)


def _list(op: HostOp) -> str:
    name, args = op.op, op.args
    result = op.results[0].type
    reads = [_read(arg) for arg in args if not isinstance(arg, Symbolic)]
    if name == "tensor.list":
        tensor = _tensor_type(operand_type(args[0]))
        assert isinstance(result, ListType)
        element = element_type(tensor.dtype)
        return f"tensor_list<{element}, {type_name(result.element)}>({reads[0]})"
    if name == "list.of":
        return f"{type_name(result)}{{{', '.join(reads)}}}"
    source = operand_type(args[0])
    assert isinstance(source, ListType)
    element = type_name(source.element)
    if name == "list.append":
        return f"{reads[0]}.append({reads[1]})"
    if name in _LISTS:
        # The element type is given, so that operands are converted to it.
        return f"{_LISTS[name]}<{element}>({', '.join(reads)})"
    if name == "list.len":
        return f"static_cast<int64_t>({reads[0]}.size())"
    if name in ("list.stack", "list.cat"):
        return _joined(name, source, args, reads)
    if isinstance(source.element, TensorType):
        raise Unexportable(f"no C++ is made of {name} on tensors")
    if name == "list.contains":
        if operand_type(args[1]) != source.element:
            raise Unexportable(f"a list of {source.element} is searched for another type")
        return f"list_contains<{element}>({', '.join(reads)})"
    if name in ("list.min", "list.max"):
        return f"list_extreme({reads[0]}, {'true' if name == 'list.max' else 'false'})"
    if name == "list.tensor":
        return _made_tensor("list_tensor", op)
    if name == "list.sum" and source.element in (INT, BOOL):
        return f"list_sum({reads[0]})"
    if name == "list.sum":
        raise Unexportable("versions of Python differ in how they round sums of floats")
    raise Unexportable(f"no C++ is made of {name}")


def _joined(name: str, source: ListType, args: tuple[Operand, ...], reads: list[str]) -> str:
    rank = len(_tensor_type(source.element).shape) + (name == "list.stack")
    return f"{name.replace('.', '_')}({reads[0]}, {_axis(args[1], rank)})"


def _axis(axis: Operand, rank: int) -> int:
    """A dimension, counted from the front."""
    if not isinstance(axis, int):
        raise Unexportable("which dimension is meant depends on data")
    return axis % rank


def _made_tensor(function: str, op: HostOp) -> str:
    symbol = next(arg for arg in op.args if isinstance(arg, Symbolic))
    arguments = f"({_read(op.args[0])}, {dtype(symbol.name)})"
    return f"{function}<{element_type(symbol.name)}>{arguments}"


def _shown(name: str, args: tuple[Operand, ...]) -> str:
    kind, read = operand_type(args[0]), _read(args[0])
    if isinstance(kind, TensorType):
        raise Unexportable("the text of a tensor is made by PyTorch")
    if not isinstance(kind, ScalarType):
        raise Unexportable("the text of a list is made by Python")
    type_name(kind)
    conversion: Operand = name[0]
    spec: Operand = ""
    if name == "format":
        _, conversion, spec = args
    if not isinstance(spec, str) or not isinstance(conversion, str):
        raise Unexportable("a format that is not constant is carried out by Python")
    if kind == STR and conversion in ("r", "a"):
        raise Unexportable("the representation of a string is made by Python")
    if not spec or (spec == "s" and (kind == STR or conversion)):
        return f"text({read})"
    match = _FIXED.match(spec)
    if match and kind != STR and not conversion:
        return f"fixed(static_cast<double>({read}), {match[1]}, '{match[2]}')"
    if spec == "d" and kind in (INT, BOOL) and not conversion:
        return f"text(static_cast<int64_t>({read}))"
    raise Unexportable(f"the format {spec!r} is carried out by Python")


def message(args: tuple[Operand, ...]) -> str:
    """The text of an exception with these arguments, as C++; raises Unexportable."""
    if not args:
        return "std::string()"
    if len(args) == 1:
        return _shown("str", args)
    # In a tuple, arguments are shown by their representations.
    parts = [literal(repr(arg)) if isinstance(arg, str) else _shown("repr", (arg,)) for arg in args]
    return " + ".join(['std::string("(")', ' + ", " + '.join(parts), '")"'])


def _called(function: str, kind: str, reads: list[str]) -> str:
    return f"{function}({', '.join(f'static_cast<{kind}>({read})' for read in reads)})"


def _read(operand: Operand) -> str:
    return variable(operand) if isinstance(operand, Value) else literal(operand)


def _tensor_type(kind: object) -> TensorType:
    assert isinstance(kind, TensorType)
    return kind
