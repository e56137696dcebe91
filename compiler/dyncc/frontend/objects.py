"""Handlers of instructions on objects: attributes, items, iteration."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn

from dyncc.frontend.arrays import array, array_attribute, as_array, tensor_of
from dyncc.frontend.bridge import is_static
from dyncc.frontend.code import Instr
from dyncc.frontend.containers import static_key
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.extents import has_symbols
from dyncc.frontend.instances import (
    ENTERED,
    instance,
    is_output_class,
    output_entries,
    read_attribute,
    special_method,
    super_attribute,
    write_attribute,
)
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.lists import dynamic_get, dynamic_set
from dyncc.frontend.operations import evaluate, external, source_text
from dyncc.frontend.values import (
    Bound,
    DictObj,
    DynListObj,
    InstanceObj,
    IterObj,
    ListObj,
    Ref,
    SetObj,
    Super,
    Sym,
)
from dyncc.ir.hcfg import Raise
from dyncc.ir.types import BOOL, INT

#: Attributes of tensors that are known when the network is compiled.
_STATIC_TENSOR_ATTRIBUTES = {
    "shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "layout", "itemsize",
}  # fmt: skip
_TENSOR_VIEWS = {"T", "mT", "H", "mH", "data", "real", "imag"}


# --- attributes -------------------------------------------------------------------------------


@handles("getattr")
def _getattr(run: Interpreter, instr: Instr) -> None:
    owner, name = run.use(), instr.const
    if isinstance(owner, Super):
        _finish(run, super_attribute(run, owner, name))
    elif instance(run, owner) is not None:
        _finish(run, read_attribute(run, owner, name))
    elif isinstance(owner, Ref):
        run.done(heap_attribute(run, owner, name))
    elif isinstance(owner, nn.Module):
        module_attribute(run, owner, name)
    elif isinstance(owner, Sym) and name in ("bit_length", "is_integer", "item"):
        run.done(Bound(owner, name))
    elif isinstance(owner, Sym):
        raise Unsupported(
            f"`.{name}` of a number that comes out of tensor data",
            "numbers have no such attribute here",
            "Use an operator or a function of the math module.",
        )
    elif type(owner) is tuple or not is_static(run.state, owner):
        run.done(Bound(owner, name))
    else:
        run.done(external(run, evaluate(run, getattr, owner, name)))


def _finish(run: Interpreter, value: Any) -> None:
    if value is not ENTERED:
        run.done(value)


def heap_attribute(run: Interpreter, owner: Ref, name: str) -> Any:
    """Read an attribute of a tensor, list or dict."""
    if name == "__class__":
        from dyncc.frontend.builtin_calls import type_of

        return type_of(run, owner)
    numbers = array(run, owner)
    if numbers is not None:
        found = array_attribute(run, numbers, name)
        return Bound(owner, name) if found is NotImplemented else found
    if not run.is_tensor(owner):
        return Bound(owner, name)
    if name in _TENSOR_VIEWS:
        return run.native(operator.attrgetter(name), (owner,))
    fake = run.state.heap[owner].fake
    if name in _STATIC_TENSOR_ATTRIBUTES:
        read = getattr(fake, name)
        return tuple(map(run.size, read)) if has_symbols(read) and name == "shape" else read
    if not hasattr(torch.Tensor, name):
        why = f"'Tensor' object has no attribute '{name}'"
        problem = Unsupported(
            f"`.{name}` of a tensor", "tensors have no such attribute", "Correct it."
        )
        raise PythonError(AttributeError, (why,), problem)
    return Bound(owner, name)


def module_attribute(run: Interpreter, owner: nn.Module, name: str) -> None:
    """Read an attribute of a module (may enter a property written in Python)."""
    from dyncc.frontend.calls import inline

    label = run.machine.module_names.get(id(owner))
    if label is not None:
        written = run.state.attributes.get((label, name))
        if written is not None:
            run.done(written[0])
            return
        dotted = f"{label}.{name}" if label else name
        if dotted in run.decisions.state and name not in owner._buffers:
            raise Unsupported(
                f"reading `{dotted}`, which a call changes",
                "its first value is no number or tensor, so it cannot be kept between calls",
                "Start it with a number or a registered buffer, or write it before it is read.",
            )
    descriptor = getattr(type(owner), name, None)
    if isinstance(descriptor, property) and descriptor.fget is not None:
        inline(run, descriptor.fget, (owner,), {})
        return
    run.done(external(run, evaluate(run, getattr, owner, name)))


@handles("setattr")
def _setattr(run: Interpreter, instr: Instr) -> None:
    owner, value = run.uses()
    _finish(run, set_attribute(run, owner, instr.const, value))


def set_attribute(run: Interpreter, owner: Any, name: str, value: Any) -> Any:
    """Write an attribute; ENTERED if a setter is entered."""
    if instance(run, owner) is not None:
        return None if write_attribute(run, owner, name, value) else ENTERED
    label = run.machine.module_names.get(id(owner)) if isinstance(owner, nn.Module) else None
    if label is None:
        raise Unsupported(
            f"assignment to `.{name}`",
            "the object is not a module of this network, so the change cannot be kept",
            "Keep such state in a local variable or in an attribute of the module.",
        )
    descriptor = getattr(type(owner), name, None)
    if isinstance(descriptor, property) and descriptor.fset is not None:
        from dyncc.frontend.calls import inline

        inline(run, descriptor.fset, (owner, value), {})
        return ENTERED
    run.decisions.add_state(f"{label}.{name}" if label else name)
    # In a tuple, so that a stored None differs from an attribute that was never written.
    run.state.attributes[label, name] = (value,)
    return None


# --- items ------------------------------------------------------------------------------------


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
    owner, found = _container(run, owner)
    index = run.scalar(index)
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
    index = _static_slice(run, index)
    if isinstance(found, ListObj):
        item = evaluate(run, operator.getitem, list(found.items), index)
        run.done(run.state.new(ListObj(tuple(item))) if isinstance(index, slice) else item)
        return
    run.done(external(run, evaluate(run, operator.getitem, found, index)))


def _container(run: Interpreter, owner: Any) -> tuple[Any, Any]:
    """Where a container is, and what it is; an object is the container that it is made of."""
    found = run.state.heap[owner] if isinstance(owner, Ref) else owner
    if isinstance(found, InstanceObj):
        if isinstance(found.content, Ref):
            return _container(run, found.content)
        if is_output_class(found.kind):
            return owner, found
        if isinstance(found.content, tuple):
            return found.content, found.content
    return owner, found


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


def _split(run: Interpreter, owner: Any, index: Sym, register: str) -> None:
    """Index a known sequence by a dynamic number: one path for each item."""
    if index.origins:
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
    if key.origins:
        run.static(key, "a dict key")
    keys = [known for known, _ in found.items if isinstance(known, bool | int | float)]
    if key.tried == len(keys):
        raise PythonError(KeyError, (f"no such key in `{source_text(run.instr)}`",))
    _try(run, key, keys[key.tried], key.tried, register)


def _try(run: Interpreter, sym: Sym, value: Any, tried: int, register: str) -> None:
    """Fork on whether a number is `value`, which it becomes on one of the paths."""
    condition = run.host("eq", sym, value, types=(BOOL,))
    then, orelse = run.state.copy(), run.state.copy()
    run.expect_join()
    for state in (then, orelse):
        state.frames[-1].joins = run.frame.joins
    then.frames[-1].registers[register] = value
    orelse.frames[-1].registers[register] = Sym(sym.value, frozenset(), tried + 1)
    run.fork(condition.value, then, orelse, f"{source_text(run.instr)}: {value}")


def _index(run: Interpreter, index: Any) -> Any:
    """An index with its one-element integer lists and dynamic parts as they are."""
    if isinstance(index, Ref) and isinstance(run.state.heap[index], ListObj):
        items = run.state.heap[index].items
        return list(items) if is_static(run.state, items) else index
    return index


def tensor_item(run: Interpreter, owner: Ref, index: Any) -> Any:
    """``owner[index]`` of a tensor."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, Sym) for part in parts):
        return run.native(operator.getitem, (owner, index))
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
    return run.native(operator.getitem, (view, rest)) if rest else view


def _take_numbers(run: Interpreter, index: Any, register: str) -> None:
    """Let tensors that hold one integer be numbers in an index, from another block on."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(_is_number(run, part) for part in parts):
        return
    taken = tuple(run.scalar(part) if _is_number(run, part) else part for part in parts)
    run.frame.registers[register] = taken if isinstance(index, tuple) else taken[0]
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
            "an index that mixes a number from tensor data with tensors or `...`",
            "its meaning depends on the number of dimensions",
            "Index step by step.",
        )
    rest = tuple(slice(None) if isinstance(part, Sym) else part for part in parts)
    view: Ref = run.native(operator.getitem, (owner, rest))
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
    owner, found = _container(run, owner)
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
    else:
        raise Unsupported(
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
    masks = [run.index_tensor(sym, shape[dim]) for sym, dim in places]
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
    owner, found = _container(run, owner)
    run.static(index, "an index")
    if isinstance(found, ListObj):
        items = list(found.items)
        evaluate(run, operator.delitem, items, _static_slice(run, index))
        run.state.heap[owner] = ListObj(tuple(items))
    elif isinstance(found, DictObj):
        evaluate(run, found.get, index)
        run.state.heap[owner] = DictObj(tuple(kv for kv in found.items if kv[0] != index))
    else:
        raise Unsupported("`del`", "it is not compiled for this container", "Build a new one.")
    run.done()


# --- iteration --------------------------------------------------------------------------------


def iterate(run: Interpreter, value: Any) -> tuple[Any, ...]:
    """The items of something whose length is known."""
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, ListObj):
            return found.items
        if isinstance(found, DictObj):
            return tuple(key for key, _ in found.items)
        if isinstance(found, SetObj):
            return tuple(found.items)
        if isinstance(found, InstanceObj):
            return _items_of(run, value, found)
        if isinstance(found, IterObj):
            # Whoever takes the items at once leaves none.
            found = run.state.look(found)
            if found.owner is not None and not isinstance(run.state.heap[found.owner], ListObj):
                raise Unsupported(
                    "a sequence whose length depends on data",
                    "its length is needed when the network is compiled",
                    "Loop over it with for, or index it.",
                )
            start = run.static(found.position, "a position in a list")
            run.state.heap[value] = IterObj(found.items, len(found.items))
            return found.items[start:]
        if run.is_tensor(value):
            items: tuple[Any, ...] = run.native(lambda tensor: tensor.unbind(0), (value,))
            return items
        raise Unsupported(
            "a sequence whose length depends on data",
            "its length is needed when the network is compiled",
            "Loop over it with for, or index it.",
        )
    if isinstance(value, Sym):
        raise Unsupported("iteration over a number", "it is no sequence", "Use range().")
    if type(value) is tuple:
        return value
    return tuple(external(run, item) for item in evaluate(run, list, value))


def _items_of(run: Interpreter, value: Ref, found: InstanceObj) -> tuple[Any, ...]:
    owner, content = _container(run, value)
    if special_method(run, value, "__iter__") is None and content is not found:
        return iterate(run, owner)
    if is_output_class(found.kind):
        return tuple(key for key, _ in output_entries(found).items)
    raise Unsupported(
        f"iteration over a {found.kind.__name__}", "its iterator is not known here", "Use a list."
    )
