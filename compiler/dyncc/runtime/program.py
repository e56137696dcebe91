"""A compiled network that is called like the module it came from."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy

from dyncc.core.errors import InputError
from dyncc.ir import sizes
from dyncc.ir.hcfg import ARGUMENT, Hcfg, Leaf, Literal, Record, Return, Series, Struct, Tree
from dyncc.ir.places import Places
from dyncc.ir.types import DTYPES, ITEMSIZE, ScalarType, TensorType
from dyncc.runtime.executor import Executor, Observer, Regions
from dyncc.runtime.hostlist import HostList
from dyncc.runtime.structs import is_container, map_parts, parts_of


class Program:
    """A compiled network.

    Called like the module: with the arguments of ``forward``, positional or by name. Torch tensors
    give torch tensors, NumPy arrays give NumPy arrays. Not safe for several threads at once when
    the network keeps state.

    Attributes
    ----------
    hcfg
        The program.
    manifest
        What the artifact says of itself: versions, back end, hashes.
    places
        Where in the source its blocks and values come from.
    changes_arguments
        Whether a call may change tensors that it is given.
    sizes
        Sizes of arguments that are known when it is called, by name.
    """

    def __init__(
        self,
        hcfg: Hcfg,
        regions: Regions,
        weights: Mapping[str, numpy.ndarray],
        manifest: Mapping[str, Any],
        places: Places | None = None,
    ) -> None:
        self.hcfg = hcfg
        self.manifest = dict(manifest)
        self.places = places or Places()
        self.sizes = sizes.from_json(self.manifest.get("sizes", {}))
        self._regions = regions
        self._weights = weights
        self._executor = Executor(hcfg, regions, weights)
        self._signature = dict(hcfg.signature)
        self._parameters = _parameters(hcfg)
        self._has_rest = any(name.startswith("*") for name in self._signature)
        self.changes_arguments = any(
            name.startswith(ARGUMENT)
            for block in hcfg.blocks.values()
            if isinstance(block.terminator, Return)
            for name, _ in block.terminator.state
        )
        self._counts: dict[tuple[str, int], int] | None = None
        self._observer: Observer | None = None
        self._state: dict[str, Any] = {}
        self._extents: dict[str, tuple[int, str]] = {}
        self.reset_state()

    def reset_state(self) -> None:
        """Give buffers and attributes that calls change their initial values."""
        self._state = {
            slot.name: numpy.array(self._weights[slot.name])
            if isinstance(slot.value.type, TensorType)
            else slot.initial
            for slot in self.hcfg.state
            if slot.value is not None
        }
        for name, value in self._state.items():
            if isinstance(value, numpy.ndarray):
                self._state[name] = self._regions.from_external(value)

    @contextmanager
    def trace(self) -> Iterator[dict[tuple[str, int], int]]:
        """Count how often each edge (block, index in its terminator) is taken."""
        self._counts = {}
        try:
            yield self._counts
        finally:
            self._counts = None

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Let `observer` see each block of the calls within, and decide each branch."""
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    def state(self) -> dict[str, Any]:
        """The module state as it is now, by name, in NumPy arrays and scalars."""
        return {name: self.to_numpy(value) for name, value in self._state.items()}

    def to_numpy(self, value: Any) -> Any:
        """A value of a block, its tensors as NumPy arrays that share their memory."""
        if isinstance(value, list | tuple | HostList):
            return [self.to_numpy(part) for part in value]
        if value is None or isinstance(value, bool | int | float | complex | str | numpy.ndarray):
            return value
        return self._regions.to_numpy(value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises
        ------
        InputError
            If the arguments do not fit; names the argument and what was expected.
        """
        arguments: list[Any] = []
        places: dict[str, Any] = {}
        self._extents = {}
        for name, value in self._bind(args, kwargs).items():
            self._flatten(self._signature[name], value, name, arguments, places)
        torch = sys.modules.get("torch")
        use_torch = torch is not None and any(
            _has_torch(torch, value) for value in (*args, *kwargs.values())
        )
        inputs = {id(value) for value in arguments}
        arguments += [self._state[slot.name] for slot in self.hcfg.state if slot.value is not None]
        result, state = self._executor.run(arguments, self._counts, self._observer)
        kept = {slot.name for slot in self.hcfg.state if slot.value is not None}
        # What a caller can reach must not be what the next call starts from.
        reachable = inputs | set(_identities(result))
        fresh = {
            name: self._copy(value) if id(value) in reachable else value
            for name, value in state.items()
            if name in kept
        }
        outputs = self._convert(result, torch if use_torch else None)
        self._state.update(fresh)
        if self.changes_arguments:
            self._change_arguments(state, places)
        return outputs

    # -- inputs --------------------------------------------------------------------------------

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not kwargs and len(args) == len(self._signature) and not self._has_rest:
            return dict(zip(self._signature, args, strict=True))
        try:
            bound = self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(
                f"{self.hcfg.name}: {error}",
                hint=f"Its arguments are {', '.join(self._signature) or 'none'}.",
            ) from error
        bound.apply_defaults()
        return dict(zip(self._signature, bound.arguments.values(), strict=True))

    def _flatten(
        self, tree: Tree, value: Any, where: str, leaves: list[Any], places: dict[str, Any]
    ) -> None:
        match tree:
            case Leaf(leaf):
                places[where] = value
                if isinstance(leaf.type, TensorType):
                    leaves.append(self._tensor(leaf.type, value, where))
                else:
                    assert isinstance(leaf.type, ScalarType)
                    leaves.append(_number(leaf.type, value, where))
            case Literal(literal):
                if type(value) is not type(literal) or value != literal:
                    raise InputError(
                        f"expected {literal!r}, which the network was compiled for, got {value!r}",
                        where=where,
                        hint="Compile it again with an example of the new value.",
                    )
            case Series(kind, items):
                if not isinstance(value, tuple | list) or len(value) != len(items):
                    raise InputError(f"expected a {kind} of {len(items)}", where=where)
                for i, (item, part) in enumerate(zip(items, value, strict=True)):
                    self._flatten(item, part, f"{where}[{i}]", leaves, places)
            case Record(pairs):
                if not isinstance(value, dict) or set(value) != {key for key, _ in pairs}:
                    raise InputError(
                        f"expected a dict with the keys {[key for key, _ in pairs]}", where=where
                    )
                for key, item in pairs:
                    self._flatten(item, value[key], f"{where}[{key!r}]", leaves, places)
            case Struct(kind, name, fields):
                for key, item in fields:
                    if not hasattr(value, key):
                        raise InputError(f"expected a {kind} like {name} with {key!r}", where=where)
                    self._flatten(item, getattr(value, key), f"{where}.{key}", leaves, places)

    def _tensor(self, kind: TensorType, value: Any, where: str) -> Any:
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        shape = tuple(getattr(value, "shape", ()))
        expected = f"{DTYPES[kind.dtype]}[{','.join(map(str, kind.shape))}]"
        if not dtype:
            raise InputError(f"expected {expected}, got a {type(value).__name__}", where=where)
        same = len(shape) == len(kind.shape) and all(
            isinstance(wanted, str) or wanted == extent
            for wanted, extent in zip(kind.shape, shape, strict=True)
        )
        if dtype != DTYPES[kind.dtype] or not same:
            found = f"{dtype}[{','.join(map(str, shape))}]"
            raise InputError(f"expected {expected}, got {found}", where=where)
        for wanted, extent in zip(kind.shape, shape, strict=True):
            if isinstance(wanted, str):
                sizes.bind(wanted, extent, where, self._extents, self.sizes)
        return self._regions.from_external(value)

    def _change_arguments(self, state: Mapping[str, Any], places: Mapping[str, Any]) -> None:
        for name, value in state.items():
            if name.startswith(ARGUMENT):
                target = places[name.removeprefix(ARGUMENT)]
                if not isinstance(target, numpy.ndarray):
                    target = target.detach().numpy()  # shares the memory of the torch tensor
                if not target.flags.writeable:
                    raise InputError(
                        "the network changes this argument in place, and it is read-only",
                        where=name.removeprefix(ARGUMENT),
                    )
                numpy.copyto(target, self._regions.to_numpy(value))

    # -- outputs -------------------------------------------------------------------------------

    def _copy(self, value: Any) -> Any:
        if isinstance(value, bool | int | float | complex | str | None):
            return value
        return self._regions.from_external(numpy.array(self._regions.to_numpy(value)))

    def _convert(self, value: Any, torch: Any) -> Any:
        if is_container(value):
            return map_parts(value, lambda part: self._convert(part, torch))
        if value is None or isinstance(value, bool | int | float | complex | str):
            return value
        return torch.from_dlpack(value) if torch is not None else self._regions.to_numpy(value)


def _parameters(program: Hcfg) -> inspect.Signature:
    """The arguments of a program, to bind those of a call to them."""
    kinds = inspect.Parameter
    found: list[inspect.Parameter] = []
    kind: Any = kinds.POSITIONAL_OR_KEYWORD
    optional = False
    for name, tree in program.signature:
        if name.startswith("**"):
            found.append(kinds(name.removeprefix("**"), kinds.VAR_KEYWORD))
        elif name.startswith("*"):
            found.append(kinds(name.removeprefix("*"), kinds.VAR_POSITIONAL))
            kind = kinds.KEYWORD_ONLY
        else:
            has_default = name in program.optional and isinstance(tree, Literal)
            default = tree.value if has_default and isinstance(tree, Literal) else kinds.empty
            # Only keyword-only arguments without a default can follow one that has a default.
            if optional and not has_default:
                kind = kinds.KEYWORD_ONLY
            optional = optional or has_default
            found.append(kinds(name, kind, default=default))
    return inspect.Signature(found)


def _has_torch(torch: Any, value: Any) -> bool:
    if is_container(value):
        return any(_has_torch(torch, part) for part in parts_of(value))
    return isinstance(value, torch.Tensor)


def _identities(value: Any) -> Iterator[int]:
    if is_container(value):
        for part in parts_of(value):
            yield from _identities(part)
    else:
        yield id(value)


def _number(kind: ScalarType, value: Any, where: str) -> Any:
    expected = {"bool": bool, "int": int, "float": float, "complex": complex}[kind.kind]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise InputError(f"expected {kind}, got a {type(value).__name__}", where=where)
    return value


def tensor_bytes(kind: TensorType) -> int:
    """Size of a tensor of static shape."""
    return ITEMSIZE[kind.dtype] * math.prod(int(extent) for extent in kind.shape)
