"""Lists of run-time length: of numbers tensors with one dimension, of tensors sequences."""

from __future__ import annotations

from typing import Any

from dyncc.export.literals import Unexportable
from dyncc.export.onnx.graphs import Graph, Kind, Val, kind_of
from dyncc.export.onnx.scalars import Reader, as_tensor, bounded, cast, checked, position
from dyncc.ir.hcfg import HostOp, Symbolic, Value
from dyncc.ir.types import BOOL, INT, ListType, TensorType
from dyncc.runtime.hostlist import MAX_STACK

#: Operations that fail for some lists and places.
_MAY_FAIL = {"list.get", "list.set", "list.pop", "list.min", "list.max", "list.stack", "list.cat"}
#: Bounds of a slice that are beyond all lists.
_FAR = 2**62


def emit_list(op: HostOp, graph: Graph, read: Reader) -> list[Val]:
    """Add the nodes of an operation on lists to a graph, and give its results.

    Raises
    ------
    Unexportable
        If there are none with the same meaning.
    """
    kinds = [kind_of(value.type) for value in op.results]
    if op.op == "tensor.list":
        return [cast(graph, read(op.args[0]), kinds[0].dtype)]
    source = op.args[0] if op.args else None
    declared = source.type if isinstance(source, Value) else None
    element = op.results[0].type if op.op == "list.of" else declared
    assert isinstance(element, ListType)
    kind = _Sequence if isinstance(element.element, TensorType) else _Row
    method = getattr(kind(op, graph, read, kinds), op.op.removeprefix("list.") + "_", None)
    if method is None:
        raise Unexportable(f"no ONNX is made of {op.op} on a list<{element.element}>")
    found = method()
    results = found if isinstance(found, list) else [found]
    if op.op in _MAY_FAIL:
        graph.check(*results)
    return results


class _List:
    """An operation on a list."""

    def __init__(self, op: HostOp, graph: Graph, read: Reader, kinds: list[Kind]) -> None:
        self.op = op
        self.graph = graph
        self.kinds = kinds
        self.read = read
        self.args = [read(arg) for arg in op.args if isinstance(arg, Value | bool | int | float)]

    def make(self, operator: str, *inputs: Val, kind: Kind | None = None, **attributes: Any) -> Val:
        """Add a node with one result, by default that of the operation."""
        result = self.graph.value(kind or self.kinds[0])
        self.graph.node(operator, inputs, [result], **attributes)
        return result

    def len_(self) -> Val:
        """How long the list is."""
        raise NotImplementedError

    def append_(self) -> Val:
        """A list with one element more."""
        raise NotImplementedError

    def push_(self) -> Val:
        """As `append_`, of a list that is a stack of calls."""
        full = self.graph.op(
            "GreaterOrEqual", self.len_(), self.graph.literal(MAX_STACK), dtype="bool"
        )
        checked(self.graph, self.graph.literal(0), full, "RecursionError")
        return self.append_()


class _Row(_List):
    """Lists of numbers."""

    def _rows(self, values: list[Val]) -> list[Val]:
        axis = self.graph.constant([0], "i64")
        return [
            self.graph.op("Unsqueeze", value, axis, dtype=value.kind.dtype, shape=(1,))
            for value in values
        ]

    def of_(self) -> Val:
        if not self.args:
            return self.graph.constant([], self.kinds[0].dtype)
        return self.make("Concat", *self._rows(self.args), axis=0)

    def append_(self) -> Val:
        items, item = self.args
        return self.make("Concat", items, *self._rows([item]), axis=0)

    def concat_(self) -> Val:
        return self.make("Concat", *self.args, axis=0)

    def len_(self) -> Val:
        return self.make("Size", self.args[0], kind=Kind("i64", ()))

    def get_(self) -> Val:
        return self.make("Gather", *self.args)  # from the back, too; fails out of range

    def set_(self) -> Val:
        items, index, item = self.args
        return self.make("ScatterElements", items, *self._rows([index, item]))

    def pop_(self) -> list[Val]:
        items, index = self.args
        taken = self.make("Gather", items, index, kind=self.kinds[1])
        place = position(self.graph, index, self.len_())
        behind = self.graph.op("Add", place, self.graph.literal(1), dtype="i64")
        parts = [
            self.make("Slice", items, *self._rows(ends))
            for ends in ([self.graph.literal(0), place], [behind, self.graph.literal(_FAR)])
        ]
        return [self.make("Concat", *parts, axis=0), taken]

    def reverse_(self) -> Val:
        ends = [self.graph.constant([end], "i64") for end in (_FAR, -_FAR, 0, -1)]
        return self.make("Slice", self.args[0], *ends)

    def slice_(self) -> Val:
        items, start, stop, step = self.op.args
        pace = 1 if step is None else step
        if isinstance(pace, Value) or not isinstance(pace, int) or pace == 0:
            raise Unexportable("the step of a slice has to be a constant")
        if pace < 0 and not (start is None or (isinstance(start, int) and start >= 0)):
            # ONNX takes one that is before the first element for the first.
            raise Unexportable("where a slice backwards starts has to be a constant")
        ends = [_FAR if pace < 0 else 0, -_FAR if pace < 0 else _FAR]
        bounds = [
            self.graph.literal(end) if bound is None else self.read(bound)
            for bound, end in zip((start, stop), ends, strict=True)
        ]
        rows = self._rows([*bounds, self.graph.literal(0), self.graph.literal(int(pace))])
        return self.make("Slice", self.read(items), *rows)

    def sum_(self) -> Val:
        numbers = self._whole("is summed")
        size = self.graph.op("Abs", cast(self.graph, numbers, "f64"), dtype="f64", shape=(None,))
        total = self.graph.op("ReduceSum", size, dtype="f64", keepdims=0)
        found = self.make("ReduceSum", numbers, kind=Kind("i64", ()), keepdims=0)
        return bounded(self.graph, found, total)

    def min_(self) -> Val:
        return self._extreme("ReduceMin")

    def max_(self) -> Val:
        return self._extreme("ReduceMax")

    def _extreme(self, operator: str) -> Val:
        numbers = self._whole("has an extreme")
        # The first element, which an empty list has not.
        first = self.graph.op("Gather", numbers, self.graph.literal(0), dtype="i64")
        full = self.graph.op(
            "Concat", numbers, *self._rows([first]), dtype="i64", shape=(None,), axis=0
        )
        return cast(
            self.graph, self.graph.op(operator, full, dtype="i64", keepdims=0), self.kinds[0].dtype
        )

    def contains_(self) -> Val:
        numbers, item = self._whole("is searched"), cast(self.graph, self.args[1], "i64")
        if self.args[1].kind.dtype == "f64":
            raise Unexportable("a list of ints is searched for a float")
        same = self.graph.op("Equal", numbers, item, dtype="bool", shape=(None,))
        count = self.graph.op("ReduceSum", cast(self.graph, same, "i64"), dtype="i64", keepdims=0)
        return self.graph.op("Greater", count, self.graph.literal(0), dtype="bool")

    def _whole(self, what: str) -> Val:
        """The list as ints."""
        source = self.op.args[0]
        assert isinstance(source, Value)
        assert isinstance(source.type, ListType)
        if source.type.element not in (INT, BOOL):
            raise Unexportable(f"a list of floats {what} by Python")
        return cast(self.graph, self.args[0], "i64")

    def tensor_(self) -> Val:
        source, symbol = self.op.args
        assert isinstance(source, Value)
        assert isinstance(source.type, ListType)
        assert isinstance(symbol, Symbolic)
        return as_tensor(self.graph, self.args[0], source.type.element, symbol.name)


class _Sequence(_List):
    """Lists of tensors."""

    def of_(self) -> Val:
        if not self.args:
            return self.make("SequenceEmpty", dtype=self.kinds[0].element)
        return self.make("SequenceConstruct", *self.args)

    def append_(self) -> Val:
        return self.make("SequenceInsert", *self.args)

    def len_(self) -> Val:
        return self.make("SequenceLength", self.args[0], kind=Kind("i64", ()))

    def get_(self) -> Val:
        return self.make("SequenceAt", *self.args)  # from the back, too; fails out of range

    def set_(self) -> Val:
        items, index, item = self.args
        place = position(self.graph, index, self.len_())
        return self.make("SequenceInsert", self.make("SequenceErase", items, place), item, place)

    def pop_(self) -> list[Val]:
        taken = self.make("SequenceAt", *self.args, kind=self.kinds[1])
        return [self.make("SequenceErase", *self.args), taken]

    def stack_(self) -> Val:
        return self._joined(new_axis=1)

    def cat_(self) -> Val:
        return self._joined(new_axis=0)

    def _joined(self, new_axis: int) -> Val:
        axis = self.op.args[1]
        if isinstance(axis, Value) or not isinstance(axis, int):
            raise Unexportable("which dimension is meant depends on data")
        return self.make("ConcatFromSequence", self.args[0], axis=axis, new_axis=new_axis)
