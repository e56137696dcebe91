"""Types of HCFG values: tensors, host scalars and lists of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

#: Short dtype names, with the numpy (and torch) name of each.
DTYPES: dict[str, str] = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
    "bool": "bool",
    "c64": "complex64",
    "c128": "complex128",
}
SHORT_DTYPES: dict[str, str] = {long: short for short, long in DTYPES.items()}

#: Bytes of one element.
ITEMSIZE: dict[str, int] = {
    "f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u8": 1,
    "bool": 1, "c64": 8, "c128": 16,
}  # fmt: skip

#: A dimension: a known extent, or the name of a symbol such as ``s0`` that is known at run time.
Dim: TypeAlias = int | str


@dataclass(frozen=True)
class TensorType:
    """A tensor; a string in `shape` names an extent that is only known at run time.

    Within one block or region equal names are equal extents.
    """

    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def is_static(self) -> bool:
        """Whether every extent is known."""
        return all(isinstance(extent, int) for extent in self.shape)


@dataclass(frozen=True)
class ScalarType:
    """A Python ``bool``, ``int``, ``float``, ``complex`` or ``str`` that the host computes with."""

    kind: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class ListType:
    """A list whose length is only known at run time; all elements have one type."""

    element: TensorType | ScalarType

    def __str__(self) -> str:
        return f"list<{self.element}>"


Type: TypeAlias = TensorType | ScalarType | ListType

BOOL = ScalarType("bool")
INT = ScalarType("int")
FLOAT = ScalarType("float")
COMPLEX = ScalarType("complex")
STR = ScalarType("str")
SCALARS: dict[str, ScalarType] = {t.kind: t for t in (BOOL, INT, FLOAT, COMPLEX, STR)}


def scalar_type_of(dtype: str) -> ScalarType:
    """Type of ``tensor.item()`` for a tensor of short dtype name `dtype`."""
    if dtype == "bool":
        return BOOL
    if dtype.startswith("c"):
        return COMPLEX
    return FLOAT if dtype.startswith(("f", "b")) else INT
