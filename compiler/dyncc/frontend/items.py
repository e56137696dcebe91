"""Handlers of instructions on items of tensors, containers and objects."""

from __future__ import annotations

import operator
from typing import Any

import torch

from dyncc.frontend.arrays import array, as_array, tensor_of
from dyncc.frontend.bridge import is_static
from dyncc.frontend.code import Instr
from dyncc.frontend.containers import static_key
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.instances import (
    is_output_class,
    output_entries,
    special_method,
)
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.library_containers import missing_item
from dyncc.frontend.lists import dynamic_get, dynamic_set, pack_list
from dyncc.frontend.objects import container_of, iterate
from dyncc.frontend.operations import evaluate, external, library_call, source_text
from dyncc.frontend.standing import context_of
from dyncc.frontend.templates import NoTemplate, template_of
from dyncc.frontend.values import (
    ArrayObj,
    DictObj,
    DynListObj,
    InstanceObj,
    ListObj,
    Ref,
    Sym,
)
from dyncc.ir.hcfg import Raise
from dyncc.ir.types import BOOL, INT


@handles("getitem")
def _getitem(run: Interpreter, instr: Instr) -> None:
    owner, index = run.uses()
    if run.is_tensor(owner):
        _take_numbers(run, index, instr.uses[1])
        run.done(tensor_item(run, owner, _index(run, index)))
        return
    numbers = array(run, owner)
    if numbers is not None:
        _take_numbers(run, index, instr.uses[1])
        found = tensor_item(run, numbers.tensor, _index(run, index))
        run.done(as_array(run, found))
        return
    special = special_method(run, owner, "__getitem__")
    if special is not None:
        from dyncc.frontend.calls import inline

        inline(run, special, (owner, index), {})
        return
    index = run.scalar(index)
    if not isinstance(index, Sym):
        missing_item(run, owner, index)
    owner, found = container_of(run, owner)
    if isinstance(found, DynListObj):
        run.done(dynamic_get(run, found, index))
        return
    if isinstance(found, DictObj):
        if isinstance(index, Sym):
            _split_key(run, found, index, instr.uses[1])
            return
        run.done(evaluate(run, found.get, static_key(run, index)))
        return
    if isinstance(found, InstanceObj):
        run.done(_output_item(run, found, _static_slice(run, run.static(index, "a key"))))
        return
    if isinstance(index, Sym):
        _split(run, owner, index, instr.uses[1])
        return
    if isinstance(found, ListObj) and (part := _dynamic_slice(run, found, index)) is not None:
        run.done(part)
        return
    index = _static_slice(run, index)
    if isinstance(found, ListObj):
        item = evaluate(run, operator.getitem, list(found.items), index)
        run.done(run.state.new(ListObj(tuple(item))) if isinstance(index, slice) else item)
        return
    run.done(external(run, evaluate(run, operator.getitem, found, index)))


def _output_item(run: Interpreter, found: InstanceObj, index: Any) -> Any:
    entries = output_entries(found)
    if isinstance(index, str):
        return evaluate(run, entries.get, index)
    return evaluate(run, operator.getitem, tuple(value for _, value in entries.items), index)


def _static_slice(run: Interpreter, index: Any) -> Any:
    """An index whose bounds, if it is a slice, are known when the network is compiled."""
    if not isinstance(index, slice):
        return index
    bounds = (run.scalar(part) for part in (index.start, index.stop, index.step))
    return slice(*(run.static(part, "a slice") for part in bounds))


def _dynamic_slice(run: Interpreter, found: ListObj, index: Any) -> Any:
    """A part of a list of known length whose bounds come out of tensor data: a list of its own.

    None where the bounds are known, or the items are not of one kind.
    """
    if not isinstance(index, slice):
        return None
    bounds = [run.scalar(part) for part in (index.start, index.stop, index.step)]
    dynamic = [part for part in bounds if isinstance(part, Sym)]
    if not dynamic or any(part.origins for part in dynamic):
        return None
    try:
        templates = {template_of(run.state, item) for item in found.items}
    except NoTemplate:
        return None
    if len(templates) != 1:
        return None
    (template,) = templates
    whole = DynListObj(template, pack_list(run, found, template))
    return dynamic_get(run, whole, slice(*bounds))


def _split(run: Interpreter, owner: Any, index: Sym, register: str) -> None:
    """Index a known sequence by a dynamic number: one path for each item."""
    if index.origins - run.decisions.rolled:
        run.static(index, "an index")
    count = len(iterate(run, owner))
    if index.tried == count:
        run.finish(Raise("IndexError", (f"index out of range in `{source_text(run.instr)}`",)))
    chosen = index
    if index.tried == 0:
        chosen = run.host("position", index, count, types=(INT,))
    _try(run, chosen, index.tried, index.tried, register)


def _split_key(run: Interpreter, found: DictObj, key: Sym, register: str) -> None:
    """Look up a number that is known at run time only: one path for each key."""
    if key.origins - run.decisions.rolled:
        run.static(key, "a dict key")
    keys = [known for known, _ in found.items if isinstance(known, bool | int | float)]
    if key.tried == len(keys):
        raise PythonError(KeyError, (f"no such key in `{source_text(run.instr)}`",))
    _try(run, key, keys[key.tried], key.tried, register)


def _try(run: Interpreter, sym: Sym, value: Any, tried: int, register: str) -> None:
    """Fork on whether a number is `value`, which it becomes on one of the paths."""
    condition = run.host("eq", sym, value, types=(BOOL,))
    run.decisions.choose(context_of(run.state), (len(run.state.frames) - 1, register))
    then, orelse = run.state.copy(), run.state.copy()
    run.expect_join()
    for state in (then, orelse):
        state.frames[-1].joins = run.frame.joins
    then.frames[-1].registers[register] = value
    orelse.frames[-1].registers[register] = Sym(sym.value, frozenset(), tried + 1)
    run.fork(condition.value, then, orelse, f"{source_text(run.instr)}: {value}")


def _index(run: Interpreter, index: Any) -> Any:
    """An index with its one-element integer lists and dynamic parts as they are."""
    if run.holds(index, ListObj):
        items = run.state.heap[index].items
        return list(items) if is_static(run.state, items) else index
    return index


def tensor_item(run: Interpreter, owner: Ref, index: Any) -> Any:
    """``owner[index]`` of a tensor."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, Sym) for part in parts):
        return library_call(run, operator.getitem, (owner, index), {}, "a slice")
    if any(part is Ellipsis or isinstance(part, Ref | list) for part in parts):
        view, places = owner, _places_in(run, owner, parts)
        rest = tuple(part for part in parts if not isinstance(part, Sym))
    else:
        view, places = _static_part(run, owner, parts)
        rest = ()
    for sym, dim in places:
        length = run.size(run.state.heap[view].fake.shape[dim])
        chosen = run.index_tensor(sym, length)
        view = run.native(lambda x, i, dim=dim: x.index_select(dim, i).squeeze(dim), (view, chosen))
    return library_call(run, operator.getitem, (view, rest), {}, "a slice") if rest else view


def _take_numbers(run: Interpreter, index: Any, register: str) -> None:
    """Let tensors that hold one integer be numbers in an index, from another block on."""

    def taken(part: Any) -> Any:
        if isinstance(part, slice):
            return slice(*map(taken, (part.start, part.stop, part.step)))
        return run.scalar(part) if _is_number(run, part) else part

    parts = index if isinstance(index, tuple) else (index,)
    bounds = [(p.start, p.stop, p.step) if isinstance(p, slice) else (p,) for p in parts]
    if any(_is_number(run, bound) for found in bounds for bound in found):
        numbers = tuple(map(taken, parts))
        run.frame.registers[register] = numbers if isinstance(index, tuple) else numbers[0]
        run.cut()


def _is_number(run: Interpreter, part: Any) -> bool:
    part = tensor_of(run, part)
    if not run.is_tensor(part):
        return False
    fake = run.state.heap[part].fake
    return fake.dim() == 0 and fake.dtype != torch.bool and not fake.is_floating_point()


def _places_in(run: Interpreter, owner: Ref, parts: tuple[Any, ...]) -> list[tuple[Sym, int]]:
    """The dimensions that dynamic numbers index, from the last to the first."""

    def width(part: Any) -> int:
        if run.is_tensor(part) and run.state.heap[part].fake.dtype == torch.bool:
            return int(run.state.heap[part].fake.dim())
        return 0 if part is None or isinstance(part, bool) else 1

    rank = run.state.heap[owner].fake.dim()
    others = sum(width(part) for part in parts if part is not Ellipsis)
    places: list[tuple[Sym, int]] = []
    dim = 0
    for part in parts:
        if isinstance(part, Sym):
            places.append((part, dim))
        dim += rank - others if part is Ellipsis else width(part)
    return places[::-1]


def _static_part(
    run: Interpreter, owner: Ref, parts: tuple[Any, ...]
) -> tuple[Ref, list[tuple[Sym, int]]]:
    """`owner` indexed by all but the dynamic numbers, and the dimensions they index there.

    The dimensions are listed from the last to the first, so that removing one moves no other.
    """
    if any(part is Ellipsis or isinstance(part, Ref | list) for part in parts):
        raise Unsupported(
            "DY209",
            "an index that mixes a number from tensor data with tensors or `...`",
            "its meaning depends on the number of dimensions",
            "Index step by step.",
        )
    rest = tuple(slice(None) if isinstance(part, Sym) else part for part in parts)
    view: Ref = library_call(run, operator.getitem, (owner, rest), {}, "a slice")
    places: list[tuple[Sym, int]] = []
    dim = 0
    for part in parts:
        if isinstance(part, Sym):
            places.append((part, dim))
        if not isinstance(part, int) or isinstance(part, bool):
            dim += 1
    return view, places[::-1]


@handles("setitem")
def _setitem(run: Interpreter, instr: Instr) -> None:
    owner, index, value = run.uses()
    if run.is_tensor(owner):
        _take_numbers(run, index, instr.uses[1])
        _set_tensor_item(run, owner, _index(run, index), value)
        run.done()
        return
    special = special_method(run, owner, "__setitem__")
    if special is not None:
        from dyncc.frontend.calls import inline

        inline(run, special, (owner, index, value), {})
        return
    owner, found = container_of(run, owner)
    index = run.scalar(index)
    if isinstance(found, DynListObj):
        run.state.heap[owner] = dynamic_set(run, found, index, value)
    elif isinstance(found, DictObj):
        run.state.heap[owner] = found.set(static_key(run, index), value)
    elif isinstance(found, InstanceObj) and is_output_class(found.kind):
        run.state.heap[owner] = found.set(run.static(index, "a key"), value)
    elif isinstance(found, ListObj):
        if isinstance(index, Sym):
            _split(run, owner, index, instr.uses[1])
        items = list(found.items)
        if isinstance(index, slice):
            value = iterate(run, value)
        evaluate(run, operator.setitem, items, _static_slice(run, index), value)
        run.state.heap[owner] = ListObj(tuple(items))
    elif isinstance(found, ArrayObj):
        raise Unsupported(
            "DY704",
            "assignment to items of an array",
            "the array and its tensor share memory, and both would change",
            "Assign to the items of the tensor, before .numpy().",
        )
    else:
        raise Unsupported(
            "DY603",
            "assignment to an item of a container that existed before the call",
            "the change would have to outlive the call",
            "Copy the container first, or keep such state in a buffer.",
        )
    run.done()


def _set_tensor_item(run: Interpreter, owner: Ref, index: Any, value: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if isinstance(value, Sym):
        from dyncc.frontend.values import short_dtype

        value = run.scalar_tensor(value, short_dtype(run.state.heap[owner].fake.dtype))
    if not any(isinstance(part, Sym) for part in parts):
        run.native(operator.setitem, (owner, index, value))
        return
    view, places = _static_part(run, owner, parts)
    shape = run.state.heap[view].fake.shape
    masks = [run.index_tensor(sym, run.size(shape[dim])) for sym, dim in places]
    dims = [dim for _, dim in places]

    def write(target: torch.Tensor, content: Any, *chosen: torch.Tensor) -> None:
        # A one-hot mask instead of index_put_: elementwise code, which every back end has.
        mask = torch.ones((), dtype=torch.bool)
        for dim, position in zip(dims, chosen, strict=True):
            hot = torch.arange(target.shape[dim]) == position
            mask = mask & hot.reshape([-1 if d == dim else 1 for d in range(target.dim())])
        source = torch.as_tensor(content, dtype=target.dtype)
        if source.dim():
            for dim in sorted(dims):
                source = source.unsqueeze(dim) if source.dim() >= dim else source
        target.copy_(torch.where(mask, source, target))

    run.native(write, (view, value, *masks))


@handles("delitem")
def _delitem(run: Interpreter, instr: Instr) -> None:
    owner, index = run.uses()
    owner, found = container_of(run, owner)
    run.static(index, "an index")
    if isinstance(found, ListObj):
        items = list(found.items)
        evaluate(run, operator.delitem, items, _static_slice(run, index))
        run.state.heap[owner] = ListObj(tuple(items))
    elif isinstance(found, DictObj):
        evaluate(run, found.get, index)
        run.state.heap[owner] = DictObj(tuple(kv for kv in found.items if kv[0] != index))
    else:
        raise Unsupported(
            "DY408", "`del`", "it is not compiled for this container", "Build a new one."
        )
    run.done()
