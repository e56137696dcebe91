"""Tensors as native code has them: storages, views of them, and writes through these views.

A tensor is a storage and a chain of views, which is replayed where its value is needed. A write
carries the result back through the chain to the storage, so that every alias sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dyncc.frontend.builder import BlockBuilder
from dyncc.frontend.contents import small
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import region_size
from dyncc.frontend.values import Ref, State, Storage, Sym, TensorObj, ViewStep, tensor_type
from dyncc.frontend.views import (
    RESHAPES,
    SCATTERS,
    apply_step,
    as_single_view,
    step_key,
    to_operand,
    write_by_size,
)
from dyncc.ir.hcfg import Operand, Value
from dyncc.ir.types import TensorType

aten = torch.ops.aten


class WriteToShared(Unsupported):
    """A change of a tensor that something else sees too, as far as is known."""


class Storages:
    """The tensors of a path, and what native code gets for them.

    Parameters
    ----------
    state
        The path's state; tensors made by a call go to its heap.
    builder
        The block that operations are recorded into.
    name_of
        Gives a tensor that existed before the capture its weight name, and tells whether it is
        module state (as opposed to a constant).
    fake_weight
        Gives the fake tensor for one that existed before the capture.
    """

    def __init__(
        self,
        state: State,
        builder: BlockBuilder,
        name_of: Callable[[torch.Tensor], tuple[str, bool]],
        fake_weight: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.state = state
        self.builder = builder
        self.name_of = name_of
        self._fake_weight = fake_weight
        #: Gives native code a number that is known at run time only; without it, it gets none.
        self.number: Callable[[Sym], Any] | None = None
        self.written: set[str] = set()
        self._refs: dict[int, Ref] = {}
        self._keep: list[torch.Tensor] = []
        self._handed_out: set[int] = set()

    # -- tensors in and out of native calls ----------------------------------------------------

    def fake_of(self, ref: Ref) -> torch.Tensor:
        """The fake tensor to hand to native code for a heap tensor."""
        fake: torch.Tensor = self.state.heap[ref].fake
        self._handed_out.add(id(fake))
        self._refs[id(fake)] = ref
        self._keep.append(fake)
        return fake

    def ref_of(self, tensor: torch.Tensor) -> Ref:
        """The heap tensor for a tensor that native code returned or used."""
        found = self._refs.get(id(tensor))
        if found is not None:
            return found
        if isinstance(tensor, FakeTensor):
            raise Unsupported(
                "DY214",
                "a tensor made outside of recorded operations",
                "its content is unknown to the compiler",
                "Make it with torch functions inside forward, or register it as a buffer.",
            )
        return self.external(tensor)

    def external(self, tensor: torch.Tensor) -> Ref:
        """The heap tensor for one that existed before the capture (a weight or constant)."""
        known = self.state.externals.get(id(tensor))
        if known is None:
            name, is_state = self.name_of(tensor)
            fake = self._fake_weight(tensor)
            known_content = None if is_state or not small(tensor) else tensor.detach()
            storage = self.state.new(
                Storage(name, fake, name if is_state else None, content=known_content)
            )
            known = self.state.new(TensorObj(storage, (), fake))
            self.state.externals[id(tensor)] = known
        self._refs[id(tensor)] = known
        self._keep.append(tensor)
        return known

    def adopt(
        self,
        value: Value,
        fake: torch.Tensor,
        known: torch.Tensor | None = None,
        relaid: bool = False,
    ) -> Ref:
        """A heap tensor with its own storage for an SSA value; see `Storage` for the rest."""
        storage = self.state.new(Storage(value, fake, content=known, relaid=relaid))
        ref = self.state.new(TensorObj(storage, (), fake))
        self._refs[id(fake)] = ref
        self._keep.append(fake)
        return ref

    def read(self, ref: Ref) -> Value:
        """SSA value of a heap tensor now, replaying its views."""
        tensor: TensorObj = self.state.heap[ref]
        return self._replay(tensor.storage, tensor.chain)

    def _replay(self, storage: Ref, chain: tuple[ViewStep, ...]) -> Value:
        base: Storage = self.state.heap[storage]
        source = base.source
        value = (
            self.builder.weight(source, tensor_type(base.fake))
            if isinstance(source, str)
            else source
        )
        fake = base.fake
        for depth, step in enumerate(chain):
            key = (value, step_key(chain[: depth + 1]))
            fake = apply_step(step, fake)
            cached = self.builder.views.get(key)
            if cached is None:
                cached = self._emit_step(step, value, fake)
                self.builder.views[key] = cached
            value = cached
        return value

    def _emit_step(self, step: ViewStep, value: Value, fake: torch.Tensor) -> Value:
        func, args = step.func, step.args
        if step.index is not None:
            func, args = as_single_view(step, value)
        (result,) = self.builder.tensor(
            str(func),
            (value, *(to_operand(arg) for arg in args)),
            tuple((name, to_operand(arg)) for name, arg in step.kwargs),
            (tensor_type(fake),),
        )
        assert result is not None
        return result

    def fake_argument(self, item: Any) -> Any:
        """An argument of an operation as fake tensors take it."""
        if not isinstance(item, torch.Tensor) or isinstance(item, FakeTensor):
            return item
        return self.state.heap[self.external(item)].fake

    def operand(self, item: Any) -> Operand:
        """An argument of an operation as a region takes it."""
        if isinstance(item, torch.Tensor):
            return self.read(self.ref_of(item))
        if isinstance(item, list | tuple):
            return tuple(self.operand(part) for part in item)
        if isinstance(item, torch.SymInt | torch.SymFloat):
            operand: Operand = region_size(self.builder, item)
            return operand
        return to_operand(item)

    # -- writes --------------------------------------------------------------------------------

    def _one(
        self,
        target: str,
        args: tuple[Operand, ...],
        kwargs: tuple[tuple[str, Operand], ...],
        kind: TensorType,
    ) -> Value:
        (value,) = self.builder.tensor(target, args, kwargs, (kind,))
        assert value is not None
        return value

    def assign(self, target: Ref, new: Value) -> None:
        """Give a heap tensor the value `new`, through its views to its storage."""
        tensor: TensorObj = self.state.heap[target]
        base: Storage = self.state.heap[tensor.storage]
        if base.listed:
            raise WriteToShared(
                "DY225",
                "an in-place change of a tensor that was passed on by value",
                "a list built in a loop, or an argument or parameter, would not change with it",
                "Use an operation that returns a new tensor, or clone() it first.",
            )
        fakes = [base.fake]
        for step in tensor.chain:
            fakes.append(apply_step(step, fakes[-1]))
        for depth in range(len(tensor.chain) - 1, -1, -1):
            outer = self._replay(tensor.storage, tensor.chain[:depth])
            new = self._inverse(tensor.chain[depth], outer, new, fakes[depth])
        if base.owner is not None:
            self.written.add(base.owner)
        relaid = base.relaid
        self.state.heap[tensor.storage] = Storage(new, base.fake, base.owner, relaid=relaid)

    def _inverse(self, step: ViewStep, outer: Value, new: Value, fake: torch.Tensor) -> Value:
        """`outer` with the part that `step` views replaced by `new`."""
        kind = tensor_type(fake)
        func, args = step.func, step.args
        if not kind.is_static and func in RESHAPES:
            raise write_by_size()
        if step.index is not None:
            func, args = as_single_view(step, outer)
        rank = fake.dim()
        if func in RESHAPES:
            return self._one("aten.reshape.default", (new, kind.shape), (), kind)
        if func is aten.permute.default:
            order = [dim % rank for dim in args[0]]
            inverse = tuple(order.index(dim) for dim in range(rank))
            return self._one("aten.permute.default", (new, inverse), (), kind)
        if func in (aten.transpose.int, aten.t.default):
            swap = args if args else ((0, 1) if rank == 2 else (0, 0))
            return self._one("aten.transpose.int", (new, *swap), (), kind)
        if func in SCATTERS:
            operands = tuple(to_operand(arg) for arg in args)
            keywords = tuple((name, to_operand(arg)) for name, arg in step.kwargs)
            return self._one(SCATTERS[func], (outer, new, *operands), keywords, kind)
        raise Unsupported(
            "DY226",
            f"a write through `{func}`",
            "it has no inverse here",
            "Write to the tensor itself by an index, or compute a new tensor.",
        )
