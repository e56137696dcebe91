"""Host operations in ONNX, with Python's meaning.

An int is an int64 scalar, a float a float64 scalar. Where Python raises, and where an int would
need more than 64 bits, a node fails: it reads a place that is not there.
"""

from __future__ import annotations

from dyncc.export.literals import Unexportable
from dyncc.export.onnx.graphs import SCALARS, Graph, Val, kind_of
from dyncc.export.onnx.lists import emit_list
from dyncc.export.onnx.scalars import (
    LARGE,
    LONG,
    Reader,
    as_tensor,
    bounded,
    cast,
    checked,
    chosen,
    position,
)
from dyncc.ir.hcfg import HostOp, Symbolic, Value
from dyncc.ir.hostops import EFFECTS, operand_type
from dyncc.ir.types import BOOL, FLOAT, STR, ScalarType, TensorType

_COMPARISONS = {
    "eq": "Equal", "ne": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
    "ge": "GreaterOrEqual",
}  # fmt: skip
_ARITHMETIC = {"add": "Add", "sub": "Sub", "mul": "Mul"}
_BITS = {"and": "And", "or": "Or", "xor": "Xor"}
_ROUNDING = {"math.floor": "Floor", "math.ceil": "Ceil", "round": "Round"}
#: Why there are no operations that act on the world outside.
NO_EFFECTS = "a graph does nothing but compute"
#: An int that is less than this, a float holds exactly.
_EXACT = 2**53


def emit_host(op: HostOp, graph: Graph, read: Reader) -> list[Val]:
    """Add the nodes of an operation to a graph, and give its results.

    Raises
    ------
    Unexportable
        If there are none with the same meaning.
    """
    if op.op.startswith("list.") or op.op == "tensor.list":
        return emit_list(op, graph, read)
    for value in op.results:
        kind_of(value.type)
    return [_Scalar(op, graph, read).emit()]


class _Scalar:
    """One operation with one result."""

    def __init__(self, op: HostOp, graph: Graph, read: Reader) -> None:
        self._op = op
        self._graph = graph
        self._read = read
        self._kinds = [operand_type(arg) for arg in op.args]

    def emit(self) -> Val:
        name, args = self._op.op, self._op.args
        if name in EFFECTS:
            raise Unexportable(NO_EFFECTS)
        if name == "item":
            return self._item()
        if name == "dim":
            return self._dim()
        if name == "tensor":
            return self._tensor()
        if name in ("format", "str", "repr") or STR in self._kinds:
            raise Unexportable("ONNX Runtime computes with no strings")
        if not all(isinstance(kind, ScalarType) and kind in SCALARS for kind in self._kinds):
            raise Unexportable(f"no ONNX is made of {name}")
        values = [self._read(arg) for arg in args]
        return self._scalar(name, values)

    def _scalar(self, name: str, values: list[Val]) -> Val:
        graph, result = self._graph, self._op.results[0].type
        match name:
            case "const":
                return values[0]
            case "not" | "bool":
                return self._truth(values[0], positive=name == "bool")
            case "float":
                return self._to(values[0], "f64")
            case "int" | "math.trunc" | "math.floor" | "math.ceil" | "round":
                return self._whole(name, values)
            case "min" | "max":
                return self._extreme(values)
            case "neg" | "pos" | "abs":
                return self._signed(name, values[0])
            case "truediv":
                return self._quotient(*values)
            case "floordiv" | "mod":
                return self._floored(name, *values)
            case "position":
                return self._position(*values)
            case "range.len":
                return self._range_length(*values)
        if name in _COMPARISONS:
            return self._compared(name, *values)
        if name in _BITS:
            kind = "bool" if result == BOOL else "i64"
            operator = _BITS[name] if result == BOOL else f"Bitwise{_BITS[name]}"
            return graph.op(operator, *(self._to(v, kind) for v in values), dtype=kind)
        if name in _ARITHMETIC:
            kind = "f64" if result == FLOAT else "i64"
            return self._computed(_ARITHMETIC[name], [self._to(v, kind) for v in values])
        if name in ("math.isnan", "math.isinf"):
            operator = "IsNaN" if name == "math.isnan" else "IsInf"
            return graph.op(operator, self._to(values[0], "f64"), dtype="bool")
        if name == "math.isfinite":
            return self._is_finite(self._to(values[0], "f64"))
        if name == "math.sqrt":
            number = self._to(values[0], "f64")
            bad = graph.op("Less", number, graph.literal(0.0), dtype="bool")
            return graph.op("Sqrt", checked(graph, number, bad, "ValueError"), dtype="f64")
        if name == "math.fabs":
            return graph.op("Abs", self._to(values[0], "f64"), dtype="f64")
        raise Unexportable(f"{name} in ONNX Runtime may give another number than in Python")

    # -- tensors -------------------------------------------------------------------------------

    def _item(self) -> Val:
        tensor = self._read(self._op.args[0])
        kind = self._op.results[0].type
        assert isinstance(kind, ScalarType)
        graph = self._graph
        if tensor.kind.shape != ():
            tensor = graph.op("Reshape", tensor, graph.constant([], "i64"), dtype=tensor.kind.dtype)
        return self._to(tensor, SCALARS[kind])

    def _dim(self) -> Val:
        tensor, axis = self._op.args
        kind = self._kinds[0]
        assert isinstance(kind, TensorType)
        if not isinstance(axis, int):
            raise Unexportable("which dimension is meant depends on data")
        place = axis % len(kind.shape)
        graph = self._graph
        shape = graph.op(
            "Shape", self._read(tensor), dtype="i64", shape=(1,), start=place, end=place + 1
        )
        return graph.op("Squeeze", shape, dtype="i64")

    def _tensor(self) -> Val:
        number, symbol = self._op.args
        assert isinstance(symbol, Symbolic)
        return as_tensor(self._graph, self._read(number), self._kinds[0], symbol.name)

    # -- numbers -------------------------------------------------------------------------------

    def _to(self, value: Val, dtype: str) -> Val:
        return cast(self._graph, value, dtype)

    def _truth(self, value: Val, *, positive: bool) -> Val:
        graph = self._graph
        if value.kind.dtype == "bool":
            return value if positive else graph.op("Not", value, dtype="bool")
        zero = graph.constant(0, value.kind.dtype)
        opposite = graph.op("Equal", value, zero, dtype="bool")
        return graph.op("Not", opposite, dtype="bool") if positive else opposite

    def _is_finite(self, value: Val) -> Val:
        graph = self._graph
        size = graph.op("Abs", value, dtype="f64")
        return graph.op("Less", size, graph.literal(float("inf")), dtype="bool")

    def _compared(self, name: str, left: Val, right: Val) -> Val:
        graph = self._graph
        dtype = "f64" if FLOAT in self._kinds else "i64"
        if len({kind for kind in self._kinds if kind != BOOL}) == 2:
            # An int and a float: a constant that a float holds keeps the order of all others.
            exact = any(
                not isinstance(arg, Value) and isinstance(arg, int | float) and abs(arg) < _EXACT
                for arg in self._op.args
            )
            left, right = (v if exact else self._exact(v) for v in (left, right))
        found = graph.op(
            _COMPARISONS[name], self._to(left, dtype), self._to(right, dtype), dtype="bool"
        )
        return graph.op("Not", found, dtype="bool") if name == "ne" else found

    def _exact(self, value: Val) -> Val:
        """A number as a float; one that is an int has to be a float without rounding."""
        number = self._to(value, "f64")
        if value.kind.dtype != "i64":
            return number
        graph = self._graph
        size = graph.op("Abs", number, dtype="f64")
        bad = graph.op("GreaterOrEqual", size, graph.literal(float(_EXACT)), dtype="bool")
        return checked(graph, number, bad, "OverflowError: an int of more than 53 bits")

    def _computed(self, operator: str, values: list[Val]) -> Val:
        """A result of arithmetic; an int has to fit into 64 bits."""
        graph, dtype = self._graph, values[0].kind.dtype
        found = graph.op(operator, *values, dtype=dtype)
        if dtype != "i64":
            return found
        floats = [self._to(value, "f64") for value in values]
        size = graph.op("Abs", graph.op(operator, *floats, dtype="f64"), dtype="f64")
        return bounded(graph, found, size)

    def _signed(self, name: str, value: Val) -> Val:
        value = self._to(value, "f64" if self._op.results[0].type == FLOAT else "i64")
        if name == "pos":
            return value
        return self._computed("Neg" if name == "neg" else "Abs", [value])

    def _extreme(self, values: list[Val]) -> Val:
        graph, found = self._graph, values[0]
        if found.kind.dtype == "bool":
            raise Unexportable("no ONNX is made of an extreme of bools")
        operator = "Less" if self._op.op == "min" else "Greater"
        for value in values[1:]:
            # Of equal ones the first, as in Python; what is no number is never less.
            takes = graph.op(operator, value, found, dtype="bool")
            found = chosen(graph, takes, value, found)
        return found

    def _whole(self, name: str, values: list[Val]) -> Val:
        if len(values) > 1:
            raise Unexportable("decimals are rounded by Python")
        value, graph = values[0], self._graph
        if value.kind.dtype != "f64":
            return self._to(value, "i64")
        if name in _ROUNDING:
            value = graph.op(_ROUNDING[name], value, dtype="f64")
        size = graph.op("Abs", value, dtype="f64")
        fits = graph.op("Less", size, graph.literal(LARGE), dtype="bool")
        bad = graph.op("Not", fits, dtype="bool")
        text = "OverflowError: a float that is no int of 64 bits"
        return self._to(checked(graph, value, bad, text), "i64")

    def _divisor(self, value: Val) -> Val:
        graph = self._graph
        bad = graph.op("Equal", value, graph.constant(0, value.kind.dtype), dtype="bool")
        return checked(graph, value, bad, "ZeroDivisionError")

    def _quotient(self, left: Val, right: Val) -> Val:
        if FLOAT in self._kinds:
            left, right = self._to(left, "f64"), self._to(right, "f64")
        else:
            left, right = self._exact(left), self._exact(right)
        return self._graph.op("Div", left, self._divisor(right), dtype="f64")

    def _floored(self, name: str, left: Val, right: Val) -> Val:
        if FLOAT in self._kinds:
            raise Unexportable(f"no ONNX is made of {name} of floats")
        graph = self._graph
        left, right = self._to(left, "i64"), self._divisor(self._to(right, "i64"))
        rest = graph.op("Mod", left, right, dtype="i64")
        if name == "mod":
            return rest
        even = self._computed("Sub", [left, rest])
        bad = graph.op("Equal", even, graph.literal(-(2**63)), dtype="bool")
        even = checked(graph, even, bad, LONG)
        return graph.op("Div", even, right, dtype="i64")

    def _position(self, index: Val, length: Val) -> Val:
        return position(self._graph, self._to(index, "i64"), self._to(length, "i64"))

    def _range_length(self, start: Val, stop: Val, step: Val) -> Val:
        pace = self._op.args[2]
        if isinstance(pace, Value) or not isinstance(pace, int) or pace == 0:
            raise Unexportable("the step of a range has to be a constant")
        del step
        graph = self._graph
        ends = [self._to(start, "i64"), self._to(stop, "i64")]
        if pace > 0:
            ends.reverse()
        # ceil(way / |step|), of a way that is not negative
        way = self._computed("Sub", ends)
        way = graph.op("Max", way, graph.literal(0), dtype="i64")
        if abs(pace) == 1:
            return way
        more = self._computed("Add", [way, graph.literal(abs(pace) - 1)])
        return graph.op("Div", more, graph.literal(abs(pace)), dtype="i64")
