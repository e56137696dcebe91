"""Handlers of instructions on objects: attributes, items, iteration."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn

from dyncc.frontend.arrays import array, array_attribute
from dyncc.frontend.bridge import is_static
from dyncc.frontend.code import Instr
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
from dyncc.frontend.operations import evaluate, external
from dyncc.frontend.values import (
    MADE,
    Bound,
    DictObj,
    InstanceObj,
    IterObj,
    ListObj,
    Ref,
    SetObj,
    Super,
    Sym,
)

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
            "DY211",
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
            "DY104", f"`.{name}` of a tensor", "tensors have no such attribute", "Correct it."
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
                "DY605",
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
            "DY603",
            f"assignment to `.{name}`",
            "the object is not a module of this network, so the change cannot be kept",
            "Keep such state in a local variable or in an attribute of the module.",
        )
    descriptor = getattr(type(owner), name, None)
    if isinstance(descriptor, property) and descriptor.fset is not None:
        from dyncc.frontend.calls import inline

        inline(run, descriptor.fset, (owner, value), {})
        return ENTERED
    if not label.startswith(MADE):
        run.decisions.add_state(f"{label}.{name}" if label else name)
    # In a tuple, so that a stored None differs from an attribute that was never written.
    run.state.attributes[label, name] = (value,)
    return None


# --- iteration --------------------------------------------------------------------------------


def container_of(run: Interpreter, owner: Any) -> tuple[Any, Any]:
    """Where a container is, and what it is; an object is the container that it is made of."""
    found = run.state.heap[owner] if isinstance(owner, Ref) else owner
    if isinstance(found, InstanceObj):
        if isinstance(found.content, Ref):
            return container_of(run, found.content)
        if is_output_class(found.kind):
            return owner, found
        if isinstance(found.content, tuple):
            return found.content, found.content
    return owner, found


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
                    "DY402",
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
            "DY402",
            "a sequence whose length depends on data",
            "its length is needed when the network is compiled",
            "Loop over it with for, or index it.",
        )
    if isinstance(value, Sym):
        raise Unsupported("DY110", "iteration over a number", "it is no sequence", "Use range().")
    if type(value) is tuple:
        return value
    return tuple(external(run, item) for item in evaluate(run, list, value))


def _items_of(run: Interpreter, value: Ref, found: InstanceObj) -> tuple[Any, ...]:
    owner, content = container_of(run, value)
    if special_method(run, value, "__iter__") is None and content is not found:
        return iterate(run, owner)
    if is_output_class(found.kind):
        return tuple(key for key, _ in output_entries(found).items)
    raise Unsupported(
        "DY506",
        f"iteration over a {found.kind.__name__}",
        "its iterator is not known here",
        "Use a list.",
    )
