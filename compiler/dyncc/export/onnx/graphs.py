"""Graphs under construction: nodes, names, constants, and the graphs within If and Loop."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import onnx
from onnx import helper, numpy_helper

from dyncc.export.literals import Unexportable
from dyncc.ir.types import (
    BOOL,
    DTYPES,
    FLOAT,
    INT,
    STR,
    Dim,
    ListType,
    ScalarType,
    TensorType,
    Type,
)

#: Short dtypes of tensors for host scalars.
SCALARS = {INT: "i64", FLOAT: "f64", BOOL: "bool"}

#: ONNX element types by short dtype.
ELEMENTS: dict[str, int] = {
    short: getattr(onnx.TensorProto, {"bf16": "BFLOAT16", "f16": "FLOAT16", "f32": "FLOAT",
    "f64": "DOUBLE", "c64": "COMPLEX64", "c128": "COMPLEX128"}.get(short, long.upper()))
    for short, long in DTYPES.items()
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What ONNX says of a value.

    Attributes
    ----------
    dtype
        Short name of the element type.
    shape
        None: unknown. A size may be unknown, or have a name.
    sequence
        Whether it is a sequence of such tensors.
    """

    dtype: str
    shape: tuple[Dim | None, ...] | None = None
    sequence: bool = False

    @property
    def element(self) -> int:
        """ONNX's number of the element type."""
        return ELEMENTS[self.dtype]

    def proto(self) -> onnx.TypeProto:
        """As ONNX has it; names of sizes are those of the whole model."""
        tensor = helper.make_tensor_type_proto(self.element, self.shape)
        return helper.make_sequence_type_proto(tensor) if self.sequence else tensor

    def joined(self, other: Kind | None) -> Kind:
        """The kind of what may be of either kind."""
        if other is None or other.shape is None or self.shape is None:
            return Kind(self.dtype, None, self.sequence)
        if len(self.shape) != len(other.shape):
            return Kind(self.dtype, None, self.sequence)
        pairs = zip(self.shape, other.shape, strict=True)
        return Kind(self.dtype, tuple(a if a == b else None for a, b in pairs), self.sequence)


def kind_of(declared: Type | None) -> Kind:
    """The kind of values of a type; raises Unexportable.

    Lists of numbers are tensors with one dimension, lists of tensors are sequences.
    """
    match declared:
        case TensorType(dtype, shape):
            # Symbols of one block are none of another's.
            return Kind(dtype, tuple(e if isinstance(e, int) else None for e in shape))
        case ScalarType() if declared in SCALARS:
            return Kind(SCALARS[declared], ())
        case ListType(TensorType() as element):
            inner = kind_of(element)
            return Kind(inner.dtype, inner.shape, sequence=True)
        case ListType(ScalarType() as element) if element in SCALARS:
            return Kind(SCALARS[element], (None,))
    why = "ONNX Runtime computes with no strings" if declared == STR else "ONNX has no such values"
    raise Unexportable(f"it is of type {declared}, and {why}")


@dataclass(frozen=True)
class Val:
    """A value of a graph: its name, what is known of it, and the graph that makes it."""

    name: str
    kind: Kind
    graph: Graph = field(compare=False, repr=False)


class Names:
    """Names that are new in the whole model."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = itertools.count()
        self._taken: set[str] = set()
        self._labels: Counter[str] = Counter()

    def label(self, text: str) -> str:
        """A name for a node, which no other has."""
        self._labels[text] += 1
        return text if self._labels[text] == 1 else f"{text} ({self._labels[text]})"

    def new(self, stem: str) -> str:
        """A name that begins with `stem`."""
        name = f"{stem}_{next(self._numbers)}"
        return name if self.exactly(name) else self.new(stem)

    def exactly(self, name: str) -> bool:
        """Take a name as it is; False if it is taken."""
        free = name not in self._taken
        self._taken.add(name)
        return free


class Graph:
    """A graph under construction.

    Parameters
    ----------
    outer
        The graph around, whose values it sees; None for the whole model's.
    """

    def __init__(self, names: Names | None = None, outer: Graph | None = None) -> None:
        self.outer = outer
        self.names: Names = outer.names if outer is not None else names or Names()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.root: Graph = self if outer is None else outer.root
        #: Values of which one of each group has to be computed, since that may fail.
        self._checks: list[Sequence[Val]] = []
        self._constants: dict[tuple[Any, ...], Val] = {}

    @property
    def checks(self) -> bool:
        """Whether something in here fails where Python raises."""
        return bool(self._checks)

    def check(self, *values: Val) -> None:
        """Have the node that makes these values run, though nobody may read them."""
        self._checks.append(values)

    def inner(self) -> Graph:
        """A graph within this one."""
        return Graph(outer=self)

    def sees(self, value: Val) -> bool:
        """Whether nodes here may use a value."""
        place: Graph | None = self
        while place is not None and place is not value.graph:
            place = place.outer
        return place is not None

    def value(self, kind: Kind, name: str | None = None, stem: str = "v") -> Val:
        """A new value, which a node or an input is to make."""
        return Val(self.names.new(stem) if name is None else name, kind, self)

    def node(
        self, op: str, inputs: Sequence[Val | str], outputs: Sequence[Val], *,
        label: str = "", **attributes: Any,
    ) -> None:  # fmt: skip
        """Add a node."""
        taken = [item.name if isinstance(item, Val) else item for item in inputs]
        made = [item.name for item in outputs]
        name = self.names.label(label) if label else None
        self.nodes.append(helper.make_node(op, taken, made, name, **attributes))

    def op(
        self, op: str, *inputs: Val, dtype: str, shape: tuple[Dim | None, ...] | None = (),
        label: str = "", **attributes: Any,
    ) -> Val:  # fmt: skip
        """Add a node with one result, by default a scalar."""
        result = self.value(Kind(dtype, shape))
        self.node(op, inputs, [result], label=label, **attributes)
        return result

    def constant(self, content: Any, dtype: str) -> Val:
        """A constant of the model, each once."""
        if self.outer is not None:
            return self.root.constant(content, dtype)
        array = numpy.asarray(content, DTYPES[dtype])
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            value = self.value(Kind(dtype, array.shape), stem="constant")
            self.initializers.append(numpy_helper.from_array(array, value.name))
            self._constants[key] = value
        return self._constants[key]

    def initializer(self, tensor: onnx.TensorProto) -> str:
        """The name of a constant that is given as ONNX has it."""
        name = self.names.new("constant")
        self.initializers.append(onnx.TensorProto())
        self.initializers[-1].CopyFrom(tensor)
        self.initializers[-1].name = name
        return name

    def literal(self, content: bool | int | float) -> Val:
        """A number of Python's."""
        if isinstance(content, bool):
            return self.constant(content, "bool")
        if isinstance(content, int):
            if not -(2**63) <= content < 2**63:
                raise Unexportable(f"the number {content} has more than 64 bits")
            return self.constant(content, "i64")
        return self.constant(content, "f64")

    def build(self, name: str, inputs: Sequence[Val], outputs: Sequence[Val]) -> onnx.GraphProto:
        """The graph; each of its outputs gets a value of its own, made here."""
        outputs = self._tied(outputs)
        made = {item for node in self.nodes for item in node.output}
        results: list[Val] = []
        for value in outputs:
            if value.name not in made or value in results:
                copy = self.value(value.kind)
                self.node("Identity", [value], [copy])
                value = copy
            results.append(value)
        takes, gives = map(_info, inputs), map(_info, results)
        return helper.make_graph(self.nodes, name, list(takes), list(gives), self.initializers)

    def _tied(self, outputs: Sequence[Val]) -> list[Val]:
        """The outputs, one of which rests on the checks that no output rests on yet.

        ONNX Runtime leaves out nodes that nobody reads.
        """
        makers = {name: node for node in self.nodes for name in node.output}
        live: set[str] = set()

        def mark(names: Iterable[str]) -> None:
            pending = list(names)
            while pending:
                name = pending.pop()
                if name not in live:
                    live.add(name)
                    pending += _reads(makers[name]) if name in makers else ()

        mark(value.name for value in outputs)
        results = list(outputs)
        for group in reversed(self._checks):
            if any(value.name in live for value in group):
                continue
            value = min(group, key=_size)
            mark([value.name])
            place = min(range(len(results)), key=lambda index: _size(results[index]))
            results[place] = self._after(value, results[place])
        return results

    def _after(self, check: Val, value: Val) -> Val:
        """A value as it is, computed after another one."""
        if check.kind.sequence:
            check = self.op("SequenceLength", check, dtype="i64")
        elif check.kind.shape != ():
            check = self.op("Size", check, dtype="i64")
        bool_ = Kind("bool", ())
        some = self.op("Cast", check, dtype="bool", to=bool_.element)
        never = self.op("And", some, self.op("Not", some, dtype="bool"), dtype="bool")
        if value.kind == bool_:
            return self.op("Or", value, never, dtype="bool")
        row = self.value(Kind(value.kind.dtype))
        self.node("Unsqueeze", [value, self.constant([0], "i64")], [row])
        place = self.op("Cast", never, dtype="i64", to=Kind("i64").element)
        result = self.value(value.kind)
        self.node("Gather", [row, place], [result])
        return result


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, also in the graphs within."""
    yield from node.input
    for inner in inner_graphs(node):
        for item in inner.node:
            yield from _reads(item)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs within a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _size(value: Val) -> tuple[bool, bool, int, str]:
    """Orders values by how much there may be to copy."""
    kind = value.kind
    shape = kind.shape or ()
    return kind.sequence, kind.shape is None, len(shape), "" if kind.dtype == "bool" else kind.dtype


def _info(value: Val) -> onnx.ValueInfoProto:
    return helper.make_value_info(value.name, value.kind.proto())
