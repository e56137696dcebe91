"""Builtins on sequences, of known or run-time length."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from typing import Any

from dyncc.frontend import library
from dyncc.frontend.bridge import is_static
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.instances import ENTERED
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.lists import dynamic_get, pack_list
from dyncc.frontend.templates import NoTemplate, template_of
from dyncc.frontend.values import (
    RANGE,
    TAKEN,
    DynIterObj,
    DynListObj,
    GeneratorObj,
    IterObj,
    ListObj,
    Ref,
    SetObj,
    Sym,
    TensorObj,
)
from dyncc.ir.types import INT, ScalarType

#: How each turn of an iterator of run-time length gets its item, from the number of the turn:
#: ("count", start, step), ("item", list, start, step), ("row", tensor, start, step), or
#: ("tuple", column, column, ...).
Column = tuple[Any, ...]


def items_of(run: Interpreter, value: Any) -> tuple[Any, ...]:
    """The items of something whose length is known."""
    from dyncc.frontend.objects import iterate

    return iterate(run, value)


def enter_library(run: Interpreter, function: Callable[..., Any], *args: Any) -> Any:
    """Enter a function of `dyncc.frontend.library`."""
    from dyncc.frontend.calls import inline

    inline(run, function, args, {})
    return ENTERED


def dynamic(run: Interpreter, value: Any) -> bool:
    """Whether the number of items is only known at run time."""
    if run.is_tensor(value):
        fake = run.state.heap[value].fake
        return fake.dim() > 0 and not isinstance(fake.shape[0], int)
    return run.holds(value, DynListObj, DynIterObj)


def iterator(run: Interpreter, value: Any) -> Any:
    """``iter``."""
    if run.holds(value, DynIterObj, IterObj):
        found = run.state.heap[value]
        if isinstance(found, DynIterObj) and found.source == RANGE:
            return run.state.new(replace(found, source=None))
        return value
    if run.is_tensor(value) and dynamic(run, value):
        column, length = column_of(run, value)
        return run.state.new(DynIterObj(column, 0, length, 1))
    if dynamic(run, value):
        length = run.host("list.len", Sym(run.state.heap[value].values[0]))
        return run.state.new(DynIterObj(value, 0, length, 1))
    if run.holds(value, ListObj):
        return run.state.new(IterObj(run.state.heap[value].items, 0, value))
    return run.state.new(IterObj(items_of(run, value)))


# --- iterators of run-time length -------------------------------------------------------------


def column_of(run: Interpreter, value: Any) -> tuple[Column, Any]:
    """How to get the items of a sequence one by one, and how many there are."""
    if isinstance(value, range):
        return ("count", value.start, value.step), len(value)
    if not isinstance(value, Ref) or not dynamic(run, value):
        return _packed(run, items_of(run, value))
    found = run.state.heap[value]
    if isinstance(found, TensorObj):
        return ("row", value, 0, 1), run.size(found.fake.shape[0])
    refuse_taken(found)
    if found.source != RANGE:
        # What it is given to steps lazily through the same items.
        run.state.heap[value] = replace(found, source=TAKEN)
    bounds = (found.position, found.stop, found.step)
    length: Any
    if any(isinstance(bound, Sym) for bound in bounds):
        length = run.host("range.len", *bounds, types=(INT,))
    else:
        length = len(range(*bounds))
    if found.source in (None, RANGE):
        return ("count", found.position, found.step), length
    if isinstance(found.source, Ref):
        return ("item", found.source, found.position, found.step), length
    if found.position != 0:
        raise Unsupported(
            "DY405",
            "an iterator that was begun before",
            "where it stands is known at run time only",
            "Iterate over the lists themselves.",
        )
    return found.source, length


def refuse_taken(found: DynIterObj) -> None:
    """Refuse an iterator that went into another one: each would have to step both."""
    if found.source == TAKEN:
        raise Unsupported(
            "DY405",
            "an iterator that another one goes through",
            "how far it was stepped is known at run time only",
            "Make a list of it first, or step it with next().",
        )


def _packed(run: Interpreter, items: tuple[Any, ...]) -> tuple[Column, Any]:
    """A sequence of known length beside one of run-time length."""
    try:
        templates = {template_of(run.state, item) for item in items}
    except NoTemplate:
        templates = set()
    if len(templates) != 1:
        raise Unsupported(
            "DY404",
            "a list of known length beside one whose length depends on data",
            "its items differ in shape, dtype or structure",
            "Loop over the positions with range(), and index both lists.",
        )
    template = templates.pop()
    values = pack_list(run, ListObj(items), template)
    return ("item", run.state.new(DynListObj(template, values)), 0, 1), len(items)


def item_at(run: Interpreter, column: Column, turn: Any) -> Any:
    """The item of a turn."""
    from dyncc.frontend.operations import binary

    kind, *rest = column
    if kind == "tuple":
        return tuple(item_at(run, part, turn) for part in rest)
    start, step = rest[-2:]
    scaled = turn if step == 1 else binary(run, operator.mul, "mul", turn, step)
    place = scaled if start == 0 else binary(run, operator.add, "add", scaled, start)
    if kind == "row":
        from dyncc.frontend.items import tensor_item

        return tensor_item(run, rest[0], place)
    return place if kind == "count" else dynamic_get(run, run.state.heap[rest[0]], place)


def _iterator(run: Interpreter, columns: list[tuple[Column, Any]]) -> Ref:
    lengths = [length for _, length in columns]
    stop = lengths[0] if len(lengths) == 1 else run.host("min", *lengths)
    source = ("tuple", *(column for column, _ in columns))
    return run.state.new(DynIterObj(source, 0, stop, 1))


def _may_grow(run: Interpreter, value: Any) -> bool:
    """Whether a loop may add to what it goes through."""
    return run.holds(value, ListObj, DynListObj)


def enumerated(run: Interpreter, iterable: Any, start: Any = 0) -> Any:
    """``enumerate``."""
    if _may_grow(run, iterable):
        return enter_library(run, library.enumerated_lazily, iterable, start)
    if not dynamic(run, iterable):
        items = items_of(run, iterable)
        if isinstance(start, Sym):
            return run.state.new(
                IterObj(tuple((run.host("add", start, i), x) for i, x in enumerate(items)))
            )
        return run.state.new(IterObj(tuple((start + i, item) for i, item in enumerate(items))))
    column, length = column_of(run, iterable)
    source = ("tuple", ("count", start, 1), column)
    return run.state.new(DynIterObj(source, 0, length, 1))


def zipped(run: Interpreter, *sequences: Any, strict: bool = False) -> Any:
    """``zip``."""
    objects = [values for values in sequences if isinstance(values, Ref)]
    # One iterator given several times takes turns.
    shared = len(set(objects)) < len(objects)
    late = any(dynamic(run, values) for values in sequences)
    if (strict and (late or shared)) or any(_may_grow(run, values) for values in sequences):
        lazily = library.zipped_strictly if strict else library.zipped_lazily
        return enter_library(run, lazily, *sequences)
    if late:
        return _iterator(run, [column_of(run, values) for values in sequences])
    if shared:
        return run.state.new(IterObj(_in_turns(run, sequences)))
    columns = [items_of(run, values) for values in sequences]
    if strict and len({len(column) for column in columns}) > 1:
        problem = Unsupported(
            "DY107", "zip(strict=True)", "the lengths differ", "Correct the arguments."
        )
        raise PythonError(ValueError, ("zip() arguments have different lengths",), problem)
    return run.state.new(IterObj(tuple(zip(*columns, strict=False))))


def _in_turns(run: Interpreter, sequences: tuple[Any, ...]) -> tuple[Any, ...]:
    cursors: dict[Any, Any] = {}
    for place, value in enumerate(sequences):
        taken = run.holds(value, IterObj)
        if not taken or value not in cursors:
            cursors[value if taken else place] = iter(items_of(run, value))
    order = [
        cursors.get(value, cursors.get(place)) if isinstance(value, Ref) else cursors[place]
        for place, value in enumerate(sequences)
    ]
    return tuple(zip(*order, strict=False))


def backwards(run: Interpreter, values: Any) -> Any:
    """``reversed``."""
    found = run.state.heap[values] if isinstance(values, Ref) else None
    if isinstance(found, DynListObj):
        last = run.host("sub", run.host("list.len", Sym(found.values[0])), 1)
        return run.state.new(DynIterObj(values, last, -1, -1))
    if isinstance(found, DynIterObj):
        if found.source != RANGE:
            raise _irreversible()
        if found.step not in (1, -1):
            raise Unsupported(
                "DY405",
                "`reversed` of a range whose length depends on data",
                "its last number is not computed here where its step is not 1 or -1",
                "Reverse range(n), and compute the numbers from its.",
            )
        ends = (
            run.host("sub", found.stop, found.step),
            run.host("sub", found.position, found.step),
        )
        return run.state.new(DynIterObj(None, *ends, -found.step))
    # Python can reverse what has a length and an order.
    if isinstance(found, IterObj | GeneratorObj | SetObj):
        raise _irreversible()
    if not isinstance(values, Ref) and isinstance(values, Iterator | Set):
        raise _irreversible()
    return run.state.new(IterObj(items_of(run, values)[::-1]))


def _irreversible() -> Unsupported:
    return Unsupported(
        "DY405",
        "`reversed` of an iterator or a set",
        "it takes a sequence; Python raises TypeError",
        "Make a list of it first.",
    )


def listed(run: Interpreter, values: Any = ()) -> Any:
    """``list``."""
    found = run.state.heap[values] if isinstance(values, Ref) else None
    if isinstance(found, DynListObj):
        return run.state.new(found)
    if isinstance(found, DynIterObj) or dynamic(run, values):
        return enter_library(run, library.as_list, values)
    return run.state.new(ListObj(items_of(run, values)))


def mapped(run: Interpreter, function: Any, *sequences: Any) -> Any:
    """``map``."""
    return enter_library(run, library.mapped_lazily, function, *sequences)


def filtered(run: Interpreter, function: Any, values: Any) -> Any:
    """``filter``."""
    return enter_library(run, library.filtered_lazily, function, values)


# --- order ------------------------------------------------------------------------------------


def ordered(run: Interpreter, values: Any, *, key: Any = None, reverse: Any = False) -> Any:
    """``sorted``."""
    reverse = run.static(reverse, "the direction of a sort")
    if dynamic(run, values):
        raise Unsupported(
            "DY403",
            "`sorted` of a list whose length depends on data",
            "it is not compiled",
            "Use torch.sort on a tensor.",
        )
    items = items_of(run, values)
    if is_static(run.state, (items, key)):
        from dyncc.frontend.calls import is_library

        if not hasattr(key, "__code__") or is_library(key):
            from dyncc.frontend.operations import evaluate

            made = evaluate(run, lambda: sorted(items, key=key, reverse=reverse))
            return run.state.new(ListObj(tuple(made)))
    exchanges = tuple((i, i + 1) for end in range(len(items) - 1, 0, -1) for i in range(end))
    listing = run.state.new(ListObj(items))
    return enter_library(run, library.ordered, listing, key, reverse, exchanges)


_NOTHING = object()


def extreme(op: str) -> Callable[..., Any]:
    """``min`` or ``max``."""
    python = {"min": library.smallest, "max": library.largest}[op]

    def function(run: Interpreter, *args: Any, key: Any = None, default: Any = _NOTHING) -> Any:
        found = run.state.heap[args[0]] if len(args) == 1 and isinstance(args[0], Ref) else None
        if isinstance(found, DynListObj):
            if key is not None or not isinstance(found.element.type, ScalarType):
                raise Unsupported(
                    "DY403",
                    f"`{op}` of a list whose length depends on data",
                    "its items are no numbers, or there is a key",
                    "Write a loop.",
                )
            return run.host(f"list.{op}", Sym(found.values[0]))
        values = args if len(args) > 1 else items_of(run, args[0])
        if not values:
            return NotImplemented if default is _NOTHING else default
        if is_static(run.state, (values, key)) and not hasattr(key, "__code__"):
            return NotImplemented
        kinds = {str(v.value.type) if isinstance(v, Sym) else type(v).__name__ for v in values}
        if key is None and len(kinds) == 1 and kinds <= {"bool", "int", "float"}:
            return run.host(op, *values)
        return enter_library(run, python, run.state.new(ListObj(values)), key)

    return function


def summed(run: Interpreter, values: Any, start: Any = 0) -> Any:
    """``sum``."""
    from dyncc.frontend.operations import binary

    found = run.state.heap[values] if isinstance(values, Ref) else None
    if isinstance(found, DynListObj) and isinstance(found.element.type, ScalarType):
        total = run.host("list.sum", Sym(found.values[0]))
        return total if start == 0 else binary(run, operator.add, "add", start, total)
    if dynamic(run, values):
        return enter_library(run, library.total, values, start)
    total = start
    for item in items_of(run, values):
        total = binary(run, operator.add, "add", total, item)
    return total


def product(run: Interpreter, values: Any, *, start: Any = 1) -> Any:
    """``math.prod``."""
    from dyncc.frontend.operations import binary

    for item in items_of(run, values):
        start = binary(run, operator.mul, "mul", start, item)
    return start


def quantifier(op: str, stop: bool) -> Callable[..., Any]:
    """``any`` or ``all``."""

    def function(run: Interpreter, values: Any) -> Any:
        if dynamic(run, values):
            return enter_library(run, library.any_true if stop else library.all_true, values)
        answer: Any = not stop
        for item in items_of(run, values):
            truth = run.truth(item)
            if isinstance(truth, Sym) or isinstance(answer, Sym):
                answer = run.host(op, answer, truth)
            else:
                answer = (answer or truth) if stop else (answer and truth)
        return answer

    return function
