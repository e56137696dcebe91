"""Records the ATen operations that native code runs on fake tensors, in functional form.

Library code runs as it is, on FakeTensors; a dispatch mode sees each ATen operation below it. Views
are not recorded, but kept with the tensor (`storages.py`). A write computes the functional form of
the operation and carries the result back to the storage. The regions are therefore free of
mutation, also where an alias is written in a later block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from dyncc.frontend.builder import BlockBuilder
from dyncc.frontend.contents import DEFINED, computed, content
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.extents import has_symbols, with_plain_sizes
from dyncc.frontend.sampling import Generators, draw, draws
from dyncc.frontend.storages import Storages
from dyncc.frontend.values import (
    Ref,
    State,
    Storage,
    TensorObj,
    ViewStep,
    short_dtype,
    tensor_type,
)
from dyncc.frontend.views import (
    IDENTITY,
    ORDERED,
    PURE_VIEWS,
    apply_step,
    functional_form,
    is_view,
    is_whole,
    write_by_size,
)
from dyncc.ir.hcfg import Operand, Symbolic, Value
from dyncc.ir.types import TensorType

aten = torch.ops.aten


class DataDependent(Exception):
    """Native code asked for the content of a tensor; it must be interpreted instead."""


class Recorder(Storages, TorchDispatchMode):
    """The dispatch mode under which one instruction's native call runs.

    Parameters
    ----------
    state
        The path's state; tensors made by the call go to its heap.
    builder
        The block that operations are recorded into.
    fakes
        The FakeTensorMode that all fake tensors of this capture belong to.
    name_of
        Gives a tensor that existed before the capture its weight name, and tells whether it is
        module state (as opposed to a constant).
    fake_weight
        Gives the fake tensor for one that existed before the capture.
    generators
        The generators of random numbers that are known.
    """

    def __init__(
        self,
        state: State,
        builder: BlockBuilder,
        fakes: FakeTensorMode,
        name_of: Callable[[torch.Tensor], tuple[str, bool]],
        fake_weight: Callable[[torch.Tensor], torch.Tensor],
        generators: Generators,
    ) -> None:
        TorchDispatchMode.__init__(self)
        Storages.__init__(self, state, builder, name_of, fake_weight)
        self.fakes = fakes
        self.generators = generators

    # -- dispatch ------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default or func is aten.is_nonzero.default:
            known = content(self.state, self.state.heap[self.ref_of(args[0])])
            if known is None:
                raise DataDependent
            return func(known)
        if func in IDENTITY:
            return args[0]
        if func is aten.cat.default:
            args = (_joined(args[0]), *args[1:])
        if func in DEFINED and kwargs.get("memory_format") is None:
            func = DEFINED[func]
            kwargs = {name: item for name, item in kwargs.items() if name != "memory_format"}
        if draws(func, args, kwargs):
            return draw(self, func, args, kwargs)
        if torch.Tag.inplace_view in func.tags:
            return self._view_in_place(func, args, kwargs)
        fake_args = torch.utils._pytree.tree_map(self.fake_argument, (args, kwargs))
        if func is aten.squeeze.default and has_symbols(args):
            raise Unsupported(
                "DY207",
                "`squeeze()` of a tensor whose size depends on data",
                "the number of its dimensions would depend on data too",
                "Give the dimension to be removed.",
            )
        with self.fakes:
            try:
                out = func(*fake_args[0], **fake_args[1])
            except torch._subclasses.fake_tensor.DynamicOutputShapeException as error:
                raise Unsupported(
                    "DY207",
                    f"`{func}`",
                    "the shape of its result depends on the data",
                    "Use a mask with torch.where, or a loop over elements, instead.",
                ) from error
        sized = has_symbols((args, kwargs, out))
        self.builder.separate(sized)
        writes = [
            (position, argument)
            for position, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if writes:
            return self._write(func, args, kwargs, writes, out)
        plain = with_plain_sizes(self.fakes, out) if sized else out
        if is_view(func):
            if plain is not out or has_symbols((args[1:], kwargs)):
                return self._opaque_view(func, args, kwargs, plain)
            return self._view(func, args, kwargs, out)
        return self._compute(func, args, kwargs, plain)

    def _compute(self, func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> Any:
        operands = tuple(self.operand(arg) for arg in args)
        named = tuple((name, self.operand(arg)) for name, arg in kwargs.items())
        if not func._schema.returns:
            self.builder.tensor(str(func), operands, named, ())
            return None
        results = list(out) if isinstance(out, tuple | list) else [out]
        values = self.builder.tensor(
            str(func),
            operands,
            named,
            [tensor_type(item) if isinstance(item, torch.Tensor) else None for item in results],
        )
        contents = self._contents(func, args, kwargs, out)
        relaid = self.generators.used and func not in ORDERED and self.is_relaid((args, kwargs))
        for item, value, known in zip(results, values, contents, strict=True):
            if value is not None:
                self.adopt(value, item, known, relaid)
        return out

    def is_relaid(self, arguments: Any) -> bool:
        """Whether one of the tensors in `arguments` may be stored in another order; `Storage`."""
        return any(
            self.state.heap[self.state.heap[self.ref_of(item)].storage].relaid
            for item in torch.utils._pytree.tree_leaves(arguments)
            if isinstance(item, torch.Tensor)
        )

    def _contents(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, out: Any
    ) -> list[torch.Tensor | None]:
        """What the results of an operation hold, as far as that is known."""
        leaves, spec = torch.utils._pytree.tree_flatten((args, kwargs))
        for place, item in enumerate(leaves):
            if isinstance(item, torch.Tensor):
                leaves[place] = content(self.state, self.state.heap[self.ref_of(item)])
                if leaves[place] is None:
                    return [None] * (len(out) if isinstance(out, tuple | list) else 1)
        known_args, known_kwargs = torch.utils._pytree.tree_unflatten(leaves, spec)
        return computed(func, known_args, known_kwargs, out)

    def _opaque_view(self, func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> Any:
        """A view by sizes that depend on data: a tensor of its own, to which nobody writes."""
        base = self.state.heap[self.ref_of(args[0])].storage
        out = self._compute(func, args, kwargs, out)
        made = out if isinstance(out, tuple | list) else [out]
        for storage in (base, *(self.state.heap[self.ref_of(item)].storage for item in made)):
            self.state.heap[storage] = replace(self.state.heap[storage], listed=True)
        return out

    def _view(self, func: Any, args: tuple[Any, ...], kwargs: Any, out: Any) -> Any:
        owner: TensorObj = self.state.heap[self.ref_of(args[0])]
        rest = tuple(tuple(arg) if isinstance(arg, list) else arg for arg in args[1:])
        many = isinstance(out, tuple | list)
        for index, item in enumerate(out if many else [out]):
            step = ViewStep(func, rest, tuple(kwargs.items()), index if many else None)
            chain = owner.chain if is_whole(func, args, kwargs, out) else (*owner.chain, step)
            ref = self.state.new(TensorObj(owner.storage, chain, item))
            self._refs[id(item)] = ref
            self._keep.append(item)
        return out

    def _view_in_place(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """A change of a tensor's shape in place, as library code makes it to its own tensors."""
        pure = PURE_VIEWS.get(func)
        if pure is None or id(args[0]) in self._handed_out:
            raise Unsupported(
                "DY220",
                f"`{func}`",
                "it changes the shape of a tensor in place",
                "Use the out-of-place method of the same name.",
            )
        ref = self.ref_of(args[0])
        tensor: TensorObj = self.state.heap[ref]
        base: Storage = self.state.heap[tensor.storage]
        with self.fakes:
            if base.fake is args[0]:
                fake = torch.empty_strided(args[0].shape, args[0].stride(), dtype=args[0].dtype)
                self.state.heap[tensor.storage] = replace(base, fake=fake)
            func(*args, **kwargs)
        step = ViewStep(pure, tuple(args[1:]), tuple(kwargs.items()), None)
        self.state.heap[ref] = TensorObj(tensor.storage, (*tensor.chain, step), args[0])
        return args[0]

    # -- writes --------------------------------------------------------------------------------

    def _write(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, writes: list[Any], out: Any
    ) -> Any:
        if len(writes) != 1 or writes[0][0] != 0:
            raise Unsupported(
                "DY221",
                f"`{func}`",
                "it writes to several tensors or to an `out` argument",
                "Use the form that returns its result; call eval() on batch normalisation.",
            )
        self._check_overlap(func, args, kwargs)
        target = self.ref_of(args[0])
        old: torch.Tensor = self.state.heap[target].fake
        new = self._functional(func, args, kwargs, old)
        self.assign(target, new)
        return args[0]

    def _check_overlap(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        """Refuse a write to elements that it reads through another view: torch raises there."""
        storages = [
            self.state.heap[self.ref_of(item)].storage
            for item in torch.utils._pytree.tree_leaves((args, kwargs))
            if isinstance(item, torch.Tensor)
        ]
        if storages.count(storages[0]) < 2:
            return
        bases: dict[Ref, torch.Tensor] = {}

        def real(item: Any) -> Any:
            if not isinstance(item, torch.Tensor):
                return item
            tensor: TensorObj = self.state.heap[self.ref_of(item)]
            fake = self.state.heap[tensor.storage].fake
            # Whether views overlap is the same for all sizes that leave room.
            shape = [extent if isinstance(extent, int) else 3 for extent in fake.shape]
            found = bases.setdefault(tensor.storage, torch.zeros(shape, dtype=fake.dtype))
            for step in tensor.chain:
                found = apply_step(step, found)
            return found

        real_args, real_kwargs = torch.utils._pytree.tree_map(real, (args, kwargs))
        try:
            func(*real_args, **real_kwargs)
        except RuntimeError as error:
            if "memory location" in str(error):
                raise Unsupported(
                    "DY222",
                    f"`{func}`",
                    "it writes to elements that it also reads through another view, which raises "
                    "RuntimeError",
                    "clone() what it reads first.",
                ) from error

    def _functional(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, old: torch.Tensor
    ) -> Value:
        """SSA value that the written tensor has after `func`."""
        kind = tensor_type(old)
        if func is aten.copy_.default:
            source = args[1]
            value = self.read(self.ref_of(source))
            return self._cast_and_expand(value, source, kind)
        if func in (aten.zero_.default, aten.fill_.Scalar):
            content = 0 if func is aten.zero_.default else self.operand(args[1])
            arguments: tuple[Operand, ...] = (self.operand(args[0]), content)
            return self._one("aten.full_like.default", arguments, (), kind)
        pure = functional_form(func)
        if pure is None:
            raise Unsupported(
                "DY223",
                f"`{func}`",
                "it has no functional form",
                "Use an operation that returns its result.",
            )
        # The result of the functional form may be of a wider dtype; in place it is cast back.
        fake_args = torch.utils._pytree.tree_map(self.fake_argument, (args, kwargs))
        with self.fakes:
            computed = pure(*fake_args[0], **fake_args[1])
        result = self._one(
            str(pure),
            tuple(self.operand(arg) for arg in args),
            tuple((key, self.operand(arg)) for key, arg in kwargs.items()),
            tensor_type(computed),
        )
        return self._cast_and_expand(result, computed, kind)

    def _cast_and_expand(self, value: Value, like: torch.Tensor, kind: TensorType) -> Value:
        if short_dtype(like.dtype) != kind.dtype:
            dtype = Symbolic("dtype", kind.dtype)
            shape = tensor_type(like).shape
            value = self._one(
                "aten._to_copy.default",
                (value,),
                (("dtype", dtype),),
                TensorType(kind.dtype, shape),
            )
        if tensor_type(like).shape != kind.shape:
            if not kind.is_static:
                raise write_by_size()
            value = self._one("aten.expand.default", (value, kind.shape), (), kind)
        return value


def _joined(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """What ``cat`` joins: beside tensors of more dimensions, torch skips vectors of no elements."""
    rest = [part for part in parts if part.dim() > 1]
    skipped = [part for part in parts if part.dim() == 1]
    known = not has_symbols(skipped) and all(part.shape[0] == 0 for part in skipped)
    return rest if rest and known and len({part.dtype for part in parts}) == 1 else parts
