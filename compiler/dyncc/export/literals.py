"""Types and constants of programs, written in C++."""

from __future__ import annotations

import math
import re

from dyncc.ir.hcfg import Operand, Value
from dyncc.ir.types import ListType, ScalarType, TensorType, Type

#: DLPack's type code, and the C++ type of an element, by short dtype name. Those without a C++ type
#: are passed from kernel to kernel, and the host does not look into them.
DTYPES: dict[str, tuple[str, int, str | None]] = {
    "f64": ("kDLFloat", 64, "double"),
    "f32": ("kDLFloat", 32, "float"),
    "f16": ("kDLFloat", 16, None),
    "bf16": ("kDLBfloat", 16, None),
    "i64": ("kDLInt", 64, "int64_t"),
    "i32": ("kDLInt", 32, "int32_t"),
    "i16": ("kDLInt", 16, "int16_t"),
    "i8": ("kDLInt", 8, "int8_t"),
    "u8": ("kDLUInt", 8, "uint8_t"),
    "bool": ("kDLBool", 8, "bool"),
    "c64": ("kDLComplex", 64, None),
    "c128": ("kDLComplex", 128, None),
}

_SCALARS = {"bool": "bool", "int": "int64_t", "float": "double", "str": "std::string"}


class Unexportable(Exception):
    """Something that no C++ is made of; `why` says so in a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def type_name(kind: Type) -> str:
    """The C++ type of values of a type; raises Unexportable."""
    match kind:
        case TensorType():
            return "Tensor"
        case ScalarType(name):
            if name not in _SCALARS:
                raise Unexportable(f"the host of an exported library has no {name} numbers")
            return _SCALARS[name]
        case ListType(element):
            return f"List<{type_name(element)}>"


def element_type(dtype: str) -> str:
    """The C++ type of a tensor's elements; raises Unexportable."""
    found = DTYPES[dtype][2]
    if found is None:
        raise Unexportable(f"the host of an exported library does not look into {dtype} tensors")
    return found


def dtype(name: str) -> str:
    """A DLDataType."""
    code, bits, _ = DTYPES[name]
    return f"DLDataType{{{code}, {bits}, 1}}"


def variable(value: Value) -> str:
    """The C++ variable of a value."""
    return "v_" + re.sub(r"\W", "_", value.name)


def text(content: str) -> str:
    """A string literal in UTF-8."""
    # Octal, since no digit that follows can belong to it; `?` may begin a trigraph.
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in content.encode("utf-8", "surrogatepass")
    )
    return f'"{escaped}"'


def literal(value: Operand) -> str:
    """A constant; raises Unexportable."""
    match value:
        case None:
            return "std::nullopt"
        case bool():
            return "true" if value else "false"
        case int():
            if not -(2**63) <= value < 2**63:
                raise Unexportable(f"the number {value} has more than 64 bits")
            # The least one cannot be written as a number with a sign before it.
            return f"int64_t{{{value}}}" if value > -(2**63) else "INT64_MIN"
        case float():
            if math.isnan(value):
                return "std::numeric_limits<double>::quiet_NaN()"
            if math.isinf(value):
                sign = "-" if value < 0 else ""
                return f"{sign}std::numeric_limits<double>::infinity()"
            return value.hex()
        case str():
            return f"std::string({text(value)}, {len(value.encode('utf-8', 'surrogatepass'))})"
        case _:
            raise Unexportable(f"no C++ is made of the constant {value!r}")
