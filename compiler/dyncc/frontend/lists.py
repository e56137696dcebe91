"""Lists: of known length on the symbolic heap, and of run-time length as host values."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

from dyncc.frontend.bridge import element
from dyncc.frontend.decisions import Restart, Unsupported
from dyncc.frontend.guards import guard
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.templates import is_like
from dyncc.frontend.values import DynListObj, ListObj, Ref, Sym
from dyncc.frontend.widening import element_leaves, mark_listed, pack
from dyncc.ir.hcfg import Symbolic, Value
from dyncc.ir.types import TensorType


def dynamic_get(run: Interpreter, found: DynListObj, index: Any) -> Any:
    """Element of a list of run-time length."""
    if isinstance(index, slice):
        bounds = [
            part.value if isinstance(part, Sym) else part
            for part in (index.start, index.stop, index.step)
        ]
        values = tuple(
            run.builder.host("list.slice", (value, *bounds), (value.type,), run.loc)[0]
            for value in found.values
        )
        return run.state.new(DynListObj(found.element, values))
    position = index.value if isinstance(index, Sym) else index
    guard(run, "list.get", (found.values[0], position))
    leaves = [
        _leaf(run, run.builder.host("list.get", (value, position), (kind,), run.loc)[0])
        for value, kind in zip(found.values, found.element.leaves(), strict=True)
    ]
    return element(run.state, found.element, leaves)


def _leaf(run: Interpreter, value: Value) -> Any:
    return run.adopt(value, listed=True) if isinstance(value.type, TensorType) else Sym(value)


def dynamic_set(run: Interpreter, found: DynListObj, index: Any, value: Any) -> DynListObj:
    """A list of run-time length with one element replaced."""
    position = index.value if isinstance(index, Sym) else index
    guard(run, "list.set", (found.values[0], position))
    return _with_element(run, found, "list.set", value, (position,))


def _with_element(
    run: Interpreter, found: DynListObj, op: str, value: Any, position: tuple[Any, ...] = ()
) -> DynListObj:
    alike = is_like(run.state, value, found.element)
    if not alike and run.decisions.unroll(found.origins):
        raise Restart  # a loop that adds elements of several kinds is unrolled
    mark_listed(run.state, value)
    leaves = element_leaves(
        value, found.element, run.state, run.builder, lambda state, ref: run.value_in(state, ref)
    )
    values = tuple(
        run.builder.host(op, (column, *position, leaf), (column.type,), run.loc)[0]  # type: ignore[arg-type]
        for column, leaf in zip(found.values, leaves, strict=True)
    )
    return replace(found, values=values)


def dynamic_method(run: Interpreter, owner: Ref, name: str, args: tuple[Any, ...]) -> Any:
    """A method of a list of run-time length."""
    found: DynListObj = run.state.heap[owner]
    heap = run.state.heap
    if name == "append":
        heap[owner] = _with_element(run, found, "list.append", args[0])
        return None
    if name == "insert":
        heap[owner] = _with_element(run, found, "list.insert", args[1], (_operand(args[0]),))
        return None
    if name == "pop":
        index = _operand(args[0]) if args else -1
        guard(run, "list.pop", (found.values[0], index))
        pairs = [
            run.builder.host("list.pop", (value, index), (value.type, kind), run.loc)
            for value, kind in zip(found.values, found.element.leaves(), strict=True)
        ]
        heap[owner] = replace(found, values=tuple(rest for rest, _ in pairs))
        leaves = [_leaf(run, taken) for _, taken in pairs]
        return element(run.state, found.element, leaves)
    if name == "copy":
        return run.state.new(found)
    if name == "reverse":
        values = tuple(
            run.builder.host("list.reverse", (value,), (value.type,), run.loc)[0]
            for value in found.values
        )
        heap[owner] = replace(found, values=values)
        return None
    if name == "extend":
        heap[owner] = concatenate(run, found, args[0])
        return None
    raise Unsupported(
        "DY403",
        f"`.{name}()` of a list whose length depends on data",
        "it is not compiled yet",
        "Use append, extend, insert, pop, reverse, an index or a loop.",
    )


def concatenate(run: Interpreter, left: DynListObj, right: Any) -> DynListObj:
    """``left + right``."""
    other = run.state.heap[right] if isinstance(right, Ref) else None
    if not isinstance(other, DynListObj | ListObj):
        from dyncc.frontend.operations import sequence

        other = ListObj(sequence(run, right))
    if isinstance(other, DynListObj) and other.element == left.element:
        values = tuple(
            run.builder.host("list.concat", pair, (pair[0].type,), run.loc)[0]
            for pair in zip(left.values, other.values, strict=True)
        )
        return replace(left, values=values)
    if isinstance(other, ListObj):
        for item in other.items:
            left = _with_element(run, left, "list.append", item)
        return left
    raise Unsupported(
        "DY404",
        "joining lists whose length depends on data",
        "their elements differ in shape, dtype or structure",
        "Give both lists elements of one kind.",
    )


def dynamic_display(run: Interpreter, values: list[Any], stars: tuple[bool, ...]) -> DynListObj:
    """A list display in which a list of run-time length is starred."""
    parts = (run.state.heap.get(value) for value, star in zip(values, stars, strict=True) if star)
    template = next(part.element for part in parts if isinstance(part, DynListObj))
    result = DynListObj(template, pack_list(run, ListObj(()), template))
    for value, star in zip(values, stars, strict=True):
        result = concatenate(run, result, value if star else run.state.new(ListObj((value,))))
    return result


def pack_list(run: Interpreter, found: ListObj, template: Any) -> tuple[Value, ...]:
    """The SSA lists that hold the items of a list."""
    mark_listed(run.state, found)
    return pack(found, template, run.state, run.builder, run.value_in)


def _operand(value: Any) -> Any:
    return value.value if isinstance(value, Sym) else value


_STATIC_METHODS = {
    "append", "extend", "insert", "pop", "reverse", "clear", "copy", "remove", "index", "count",
    "sort",
}  # fmt: skip


def static_method(run: Interpreter, owner: Ref, name: str, args: tuple[Any, ...]) -> Any:
    """A method of a list of known length."""
    from dyncc.frontend.bridge import is_static
    from dyncc.frontend.operations import evaluate, sequence

    items = list(run.state.heap[owner].items)
    if name not in _STATIC_METHODS:
        raise Unsupported(
            "DY408", f"`.{name}()` of a list", "it is not compiled", "Use another method."
        )
    if name in ("remove", "index", "count", "sort") and not is_static(run.state, tuple(items)):
        raise Unsupported(
            "DY406",
            f"`.{name}()` of a list of tensors or run-time numbers",
            "it compares elements",
            "Compare them in a loop.",
        )
    if name == "extend":
        if isinstance(args[0], Ref) and isinstance(run.state.heap[args[0]], DynListObj):
            template: DynListObj = run.state.heap[args[0]]
            if items:
                raise Unsupported(
                    "DY404",
                    "extending a list by one whose length depends on data",
                    "the list has elements already",
                    "Start from the list of run-time length and append to it.",
                )
            run.state.heap[owner] = template
            return None
        args = (sequence(run, args[0]),)
    elif name == "insert" or (name == "pop" and args):
        args = (run.static(args[0], "a position in a list"), *args[1:])
    result = evaluate(run, operator.methodcaller(name, *args), items)
    run.state.heap[owner] = ListObj(tuple(items))
    return run.state.new(ListObj(tuple(result))) if isinstance(result, list) else result


def join_tensors(run: Interpreter, name: str, found: DynListObj, dim: int) -> Ref:
    """``torch.stack`` or ``torch.cat`` of a list of run-time length."""
    kind = found.element.type
    if found.element.kind != "tensor" or not isinstance(kind, TensorType):
        raise Unsupported(
            "DY403",
            f"`torch.{name}` of a list whose length depends on data",
            "its elements are no tensors",
            "Use torch.tensor for numbers.",
        )
    rank = len(kind.shape) + (name == "stack")
    dim %= rank
    after = kind.shape[dim if name == "stack" else dim + 1 :]
    shape: tuple[Any, ...] = (*kind.shape[:dim], None, *after)
    return run.adopt_sized(f"list.{name}", (found.values[0], dim), kind.dtype, shape)


def number_tensor(run: Interpreter, found: DynListObj, dtype: str) -> Ref:
    """``torch.tensor`` of a list of run-time length."""
    args = (found.values[0], Symbolic("dtype", dtype))
    return run.adopt_sized("list.tensor", args, dtype, (None,))
