"""Canonical form of a state, by which paths are compared and joined.

A walk from the live registers numbers heap objects in the order met. Its key holds everything
static; what varies at run time (tensor storages, scalars, lists) are leaves, which become block
parameters. Two states with equal keys can share a block. States whose keys differ only in static
scalars, list lengths or weights can share one after *widening* those places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._prims_common import is_contiguous_or_false
from torch._subclasses.fake_tensor import FakeTensorMode

from dyncc.frontend.builder import Late
from dyncc.frontend.decisions import Extent
from dyncc.frontend.fakes import contiguous, is_fresh, plain_key
from dyncc.frontend.labels import Labels
from dyncc.frontend.reached import Reached
from dyncc.frontend.templates import Template
from dyncc.frontend.values import (
    Bound,
    Composite,
    DictObj,
    DynIterObj,
    DynListObj,
    Frame,
    InstanceObj,
    IterObj,
    ListObj,
    PartialObj,
    Ref,
    SetObj,
    State,
    Storage,
    Super,
    Sym,
    TensorObj,
    short_dtype,
    tensor_type,
)
from dyncc.frontend.views import step_key
from dyncc.ir.hcfg import Value
from dyncc.ir.types import SCALARS, ListType, ScalarType, TensorType, Type

#: A place in a state: a path of registers, indices and field names.
Path = tuple[Any, ...]


@dataclass
class Canonical:
    """The canonical form of a state.

    Attributes
    ----------
    key
        Nested tuples; equal keys may share a block.
    leaves
        What varies, in the order met: values or literals of the old state, or the name and type
        of a weight.
    state
        The state at the start of a block whose parameters are `params`.
    params
        Fresh values for the leaves.
    places
        Path of each leaf.
    positive
        For each label of a size in the key, whether the size is at least 1.
    aliases
        Path of each storage that several places lead to: the other places.
    """

    key: Any
    leaves: list[Any]
    state: State
    params: list[Value]
    places: list[Path]
    positive: list[bool]
    aliases: dict[Path, set[Path]]


class Canonicaliser:
    """Walks one state.

    Parameters
    ----------
    widen
        Places that are leaves although they are static in this state: path to `Template` for a
        list, to `Extent` for a size, or to None.
    fresh
        Makes a value with a new name.
    packed
        SSA lists (one for each leaf of the template) for the lists to be widened.
    read
        Gives the value of a tensor; used to drop a base of which only one view is still live.
    origin
        What scalars and sizes that are widened here name as their origin, with their path.
    mode
        Of fake tensors; only needed to widen.
    empty
        Labels of sizes that may be 0 in another state with the same key.
    relaid
        Places of tensors that another state with the same key may hold in another order of
        dimensions; see `dyncc.frontend.values.Storage`. Added to; None if no order matters.
    """

    def __init__(
        self,
        state: State,
        widen: Mapping[Path, Template | Extent | None],
        fresh: Callable[[Type], Value],
        packed: Mapping[Path, tuple[Value, ...]],
        read: Callable[[State, Ref], Value],
        origin: Any = None,
        mode: FakeTensorMode | None = None,
        empty: Collection[str] = (),
        relaid: set[Path] | None = None,
    ) -> None:
        self._relaid = relaid
        self._old = state
        self._widen = widen
        self._fresh = fresh
        self._packed = packed
        self._read = read
        self._reached = Reached(state)
        self._labels = Labels(widen, origin, mode, empty)
        self._origin = origin
        self._numbers: dict[Ref, Ref] = {}
        self._met: dict[Ref, Path] = {}
        self._again: list[tuple[Ref, Path]] = []
        self._leaves: list[Any] = []
        self._params: list[Value] = []
        self._places: list[Path] = []
        self._new = State([], forks=state.forks)

    def run(self) -> Canonical:
        """Key, leaves and the new state."""
        for depth, name in self._registers():
            self._reached.add(self._old.frames[depth].registers[name])
        for value in self._old.attributes.values():
            self._reached.add(value)
        self._new.frames = [
            replace(
                frame,
                registers={},
                visits=dict(frame.visits),
                cleared=frame.cleared if frame.cleared[0] == frame.pc else (-1, ()),
            )
            for frame in self._old.frames
        ]
        entries: list[tuple[Path, Any]] = []
        for depth, name in self._registers():
            path: Path = (depth, name)
            key, item = self._walk(self._old.frames[depth].registers[name], path)
            self._new.frames[depth].registers[name] = item
            entries.append((path, key))
        for (owner, name), value in sorted(self._old.attributes.items(), key=lambda kv: kv[0]):
            path = ("attribute", owner, name)
            key, self._new.attributes[owner, name] = self._walk(value, path)
            entries.append((path, key))
        # A changed buffer belongs to the state even where no register leads to it.
        changed = {
            storage.owner: (identity, ref)
            for identity, ref in self._old.externals.items()
            for storage in (self._old.heap[self._old.heap[ref].storage],)
            if storage.owner and storage.source != storage.owner
        }
        for owner, (identity, ref) in sorted(changed.items()):
            path = ("external", owner)
            key, self._new.externals[identity] = self._walk(self._owned(ref), path)
            entries.append((path, key))
        for identity, ref in self._old.externals.items():
            if ref in self._numbers and identity not in self._new.externals:
                self._new.externals[identity] = self._numbers[ref]
        # Where paths are expected to join decides the cut into blocks, never the meaning.
        points = tuple(
            (frame.code.serial, frame.pc, frame.result, frame.cleared, frame.exhausted)
            for frame in self._new.frames
        )
        frame = self._new.frames[-1]
        if frame.pc not in frame.code.loop_heads and frame.code.instrs[frame.pc].op != "next":
            # Not at the head of a loop, where turns that know it must meet those that do not.
            entries.append((("masks",), ("constant", self._labels.masks())))
        key = (points, tuple(entries))
        return Canonical(
            key, self._leaves, self._new, self._params, self._places, self._labels.positive,
            self._aliases(),
        )  # fmt: skip

    def _owned(self, ref: Ref) -> Ref:
        """A changed buffer, with a storage of its own where its value goes on without its owner."""
        tensor = self._old.heap[ref]
        known = self._numbers.get(tensor.storage)
        if known is None or self._new.heap[known].owner is not None:
            return ref
        # Neither of the two may be written to from here on: the other would have to change.
        apart = self._old.new(replace(self._old.heap[tensor.storage], listed=True))
        return self._old.new(replace(tensor, storage=apart))

    def _aliases(self) -> dict[Path, set[Path]]:
        found: dict[Path, set[Path]] = {}
        for ref, path in self._again:
            item = self._old.heap[ref]
            if isinstance(item, TensorObj):
                # A view that was met as a tensor of its own has a storage of its own.
                first = self._met.get(item.storage, (*self._met[ref], "storage"))
                found.setdefault(first, set()).add((*path, "storage"))
            elif isinstance(item, Storage):
                found.setdefault(self._met[ref], set()).add(path)
        return found

    def _registers(self) -> list[tuple[int, str]]:
        """Depth and name of the live registers, lists last.

        So a tensor that also is in a list is met outside of it first, and keeps its key when the
        list is widened.
        """
        found = []
        frames = self._old.frames
        for depth, frame in enumerate(frames):
            if frame is frames[-1]:
                live = frame.code.live[frame.pc]
            else:  # the result that it waits for is not there yet
                live = frame.code.live_while_waiting(frame.pc) - {frames[depth + 1].result}
            for name in live & frame.registers.keys():
                item = frame.registers[name]
                is_list = isinstance(item, Ref) and isinstance(
                    self._old.heap[item], ListObj | DynListObj | IterObj
                )
                found.append((is_list, depth, name))
        return [(depth, name) for _, depth, name in sorted(found)]

    def _fresh_like(
        self, fake: torch.Tensor, kind: TensorType, path: Path
    ) -> tuple[Any, torch.Tensor]:
        """A contiguous tensor for the new state, and its type in the key."""
        if not self._labels.widens:
            known = plain_key(fake, kind)
            if known is not None:
                return known, fake
        labels, sizes = self._labels.tensor(fake, kind.shape, path)
        if is_fresh(fake, sizes):
            return (short_dtype(fake.dtype), labels), fake
        mode = fake.fake_mode  # type: ignore[attr-defined]
        with mode:
            new = torch.empty(sizes, dtype=fake.dtype)
        return (short_dtype(fake.dtype), labels), new

    def _leaf(self, item: Any, kind: Type, path: Path) -> Value:
        value = self._fresh(kind)
        self._leaves.append(item)
        self._params.append(value)
        self._places.append(path)
        return value

    def _walk(self, item: Any, path: Path) -> tuple[Any, Any]:
        if isinstance(item, Sym):
            origins = item.origins
            if path in self._widen:
                origins |= {(self._origin, path)}
            label, extent = self._labels.number(item, path)
            return ("dynamic", str(item.value.type), item.tried, label), Sym(
                self._leaf(item.value, item.value.type, path), origins, item.tried, extent
            )
        if isinstance(item, bool | int | float):
            kind: ScalarType = SCALARS[type(item).__name__]
            if path in self._widen:
                label, extent = "", None
                if isinstance(self._widen[path], Extent) and isinstance(item, int) and item >= 0:
                    label, extent = self._labels.size(item, item, path)
                origin = frozenset({(self._origin, path)})
                value = self._leaf(item, kind, path)
                return ("dynamic", str(kind), 0, label), Sym(value, origin, extent=extent)
            return ("static", str(kind), repr(item)), item
        if isinstance(item, str | complex | None):
            return ("constant", repr(item)), item
        if isinstance(item, tuple) and type(item) is tuple:
            pairs = [self._walk(part, (*path, index)) for index, part in enumerate(item)]
            return ("tuple", *(key for key, _ in pairs)), tuple(new for _, new in pairs)
        if isinstance(item, slice):
            key, parts = self._walk((item.start, item.stop, item.step), path)
            return ("slice", key), slice(*parts)
        if isinstance(item, Bound):
            key, owner = self._walk(item.owner, (*path, "self"))
            return ("bound", item.name, key), Bound(owner, item.name)
        if isinstance(item, Super):
            key, owner = self._walk(item.owner, (*path, "self"))
            return ("super", item.kind, key), Super(item.kind, owner)
        if isinstance(item, Ref):
            return self._reference(item, path)
        try:
            hash(item)
        except TypeError:
            return ("object", id(item)), item
        return ("object", item), item

    def _reference(self, ref: Ref, path: Path) -> tuple[Any, Ref]:
        known = self._numbers.get(ref)
        if known is not None:
            self._again.append((ref, path))
            return ("again", known.number), known
        self._met[ref] = path
        new = self._new.new(None)
        self._numbers[ref] = new
        key, item = self._object(self._flat(ref), path)
        self._new.heap[new] = item
        return (key[0], new.number, *key[1:]), new

    def _flat(self, ref: Ref) -> Any:
        """The object of `ref`; a view that nothing aliases becomes a tensor of its own."""
        found = self._old.heap[ref]
        if not isinstance(found, TensorObj) or not found.chain:
            return found
        base: Storage = self._old.heap[found.storage]
        alone = self._reached.views.get(found.storage) == {ref}
        if not alone or base.owner is not None or isinstance(base.source, str):
            return found
        try:
            value = self._read(self._old, ref)
        except Late:
            return found
        fake = contiguous(found.fake)
        relaid = self._relaid is not None and (
            base.relaid or not is_contiguous_or_false(found.fake)
        )
        storage = self._old.new(Storage(value, fake, None, base.listed, relaid=relaid))
        return TensorObj(storage, (), fake)

    def _object(self, item: Any, path: Path) -> tuple[tuple[Any, ...], Any]:
        if isinstance(item, Storage):
            return self._storage(item, path)
        if isinstance(item, TensorObj):
            return self._tensor(item, path)
        if isinstance(item, ListObj):
            if isinstance(template := self._widen.get(path), Template):
                origins = frozenset({(self._origin, path)})
                return self._object(DynListObj(template, self._packed[path], origins), path)
            key, items = self._walk(item.items, path)
            return ("list", *key[1:]), ListObj(items)
        if isinstance(item, DictObj):
            names = tuple(name for name, _ in item.items)
            key, values = self._walk(tuple(value for _, value in item.items), path)
            return ("dict", names, *key[1:]), DictObj(tuple(zip(names, values, strict=True)))
        if isinstance(item, InstanceObj):
            names = tuple(name for name, _ in item.fields)
            values = (*(value for _, value in item.fields), item.content)
            key, new = self._walk(values, path)
            fields = tuple(zip(names, new[:-1], strict=True))
            return ("instance", (item.kind, names), *key[1:]), InstanceObj(
                item.kind, fields, new[-1]
            )
        if isinstance(item, SetObj):
            return ("set", item.items), item
        if isinstance(item, PartialObj):
            names = tuple(name for name, _ in item.keywords)
            parts = (item.function, item.args, tuple(value for _, value in item.keywords))
            key, (function, args, values) = self._walk(parts, path)
            keywords = tuple(zip(names, values, strict=True))
            return ("partial", names, *key[1:]), PartialObj(function, args, keywords)
        if isinstance(item, Composite):
            key, parts = self._walk(item.parts, path)
            return ("composite", item.label, *key[1:]), item.rebuilt(parts)
        if isinstance(item, IterObj) and item.owner is not None:
            # A list of run-time length is needed even if its iterator alone is left.
            grown = isinstance(self._old.heap[item.owner], DynListObj)
            if grown or item.owner in self._reached.refs:
                return self._live_iterator(item, path)
        if isinstance(item, IterObj):
            item = self._old.look(item)
            key, rest = self._walk(item.items[item.position :], path)
            return ("iterator", *key[1:]), IterObj(rest)
        if isinstance(item, DynListObj):
            types = [ListType(kind) for kind in item.element.leaves()]
            params = tuple(
                self._leaf(value, kind, (*path, "column", index))
                for index, (value, kind) in enumerate(zip(item.values, types, strict=True))
            )
            origins = item.origins
            if path in self._widen:
                origins |= {(self._origin, path)}
            return ("dynamic list", item.element), DynListObj(item.element, params, origins)
        if isinstance(item, DynIterObj):
            key, parts = self._walk((item.source, item.position, item.stop, item.step), path)
            return ("dynamic iterator", key), DynIterObj(*parts)
        raise TypeError(type(item).__name__)

    def _live_iterator(self, item: IterObj, path: Path) -> tuple[tuple[Any, ...], IterObj]:
        """An iterator over a list that others hold, too, and may change."""
        assert item.owner is not None
        item = self._old.look(item)
        owner_key, owner = self._walk(item.owner, (*path, 1))
        # A list that stays as it is needs no number for the position: its loop is unrolled.
        if item.changed or isinstance(item.position, Sym):
            key, position = self._walk(item.position, (*path, 0))
        else:
            key, position = ("constant", repr(item.position)), item.position
        items = getattr(self._new.heap[owner], "items", ())
        new = IterObj(items, position, owner, item.changed)
        return ("live iterator", key, owner_key, item.changed), new

    def _storage(self, item: Storage, path: Path) -> tuple[tuple[Any, ...], Storage]:
        if isinstance(item.source, str) and path not in self._widen:
            return ("weight", item.source), item
        before = item.source.type if isinstance(item.source, Value) else tensor_type(item.fake)
        assert isinstance(before, TensorType)
        label, fake = self._fresh_like(item.fake, before, path)
        self._labels.add_mask(item.fake, fake, len(self._leaves))
        kind = before if fake is item.fake else tensor_type(fake)
        # A weight that other tensors stand beside here is passed by value; a later write to it
        # would not reach the module, so it is forbidden like a write to what a list holds.
        by_value = path in self._widen
        source = (item.source, before) if isinstance(item.source, str) else item.source
        owner = None if by_value else item.owner
        listed = item.listed or by_value
        relaid = self._notes_order(item.fake, item.relaid, path)
        new = Storage(self._leaf(source, kind, path), fake, owner, listed, relaid=relaid)
        return ("tensor", label, new.owner, new.listed), new

    def _notes_order(self, fake: torch.Tensor, relaid: bool, path: Path) -> bool:
        """Whether a tensor at this place may be stored in another order than it has here."""
        if self._relaid is None:
            return False
        if relaid or not is_contiguous_or_false(fake):
            self._relaid.add(path)
        return path in self._relaid

    def _tensor(self, item: TensorObj, path: Path) -> tuple[tuple[Any, ...], TensorObj]:
        before = len(self._places)
        key, storage = self._reference(item.storage, (*path, "storage"))
        if item.chain and len(self._places) > before:
            self._places[before] = (*path, "storage", "base")
        base: torch.Tensor = self._new.heap[storage].fake
        fake = base
        for step in item.chain:
            out = step.func(fake, *step.args, **dict(step.kwargs))
            fake = out if step.index is None else out[step.index]
        if not item.chain:
            return ("of", key, ()), TensorObj(storage, (), base)
        return ("of", key, step_key(item.chain)), TensorObj(storage, item.chain, fake)


def _unread(_: State, __: Ref) -> Value:
    raise Late


def known_part(state: State, frame: Frame, mode: FakeTensorMode) -> Any:
    """All that is static about a frame, and about what can be reached from it; to be compared."""
    alone = State([frame.copy()], dict(state.heap), state.attributes, {}, serial=state.serial)
    found = Canonicaliser(alone, {}, lambda kind: Value("", kind), {}, _unread, mode=mode).run()
    return found.key[1]
