"""The arguments of a call: bound to names, checked, taken apart into the leaves of a signature.

Those that are like the arguments of the call before are taken by a function written for the program
(`dyncc.runtime.argumentcode`). All others come here.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dyncc.core.errors import InputError
from dyncc.ir import sizes
from dyncc.ir.hcfg import Hcfg, Leaf, Literal, Record, Series, Struct, Tree, argument_leaves
from dyncc.ir.types import DTYPES, ScalarType, TensorType
from dyncc.runtime.argumentcode import SCALARS, ExactArguments, Taken
from dyncc.runtime.executor import Regions, sharing
from dyncc.runtime.generators import is_generator

#: Sizes of one call that have names: the extent, and where it was met.
Extents = dict[str, tuple[int, str]]

#: Takes a value apart: appends what was given for each leaf, and what a program runs on.
_Taker = Callable[[Any, list[Any], list[Any], Extents], None]


class Arguments:
    """Takes the arguments of calls.

    Parameters
    ----------
    program
        The program.
    known
        The sizes that it was compiled for, by name.
    regions
        The back end, whose tensors the given ones become.

    Attributes
    ----------
    places
        The place of each leaf, as in ``batch['x'][0]``.
    """

    def __init__(self, program: Hcfg, known: sizes.Sizes, regions: Regions) -> None:
        self.places = tuple(place for place, _ in argument_leaves(program.signature))
        self._title = program.name
        self._known = known
        self._from_external = regions.from_external
        self._to_numpy = regions.to_numpy
        self._sharing = functools.partial(sharing, regions)
        self._names = tuple(name for name, _ in program.signature)
        self._takers = [self._taker(tree, name) for name, tree in program.signature]
        self._parameters = _parameters(program)
        self._defaults = {
            name: parameter.default
            for name, parameter in self._parameters.parameters.items()
            if parameter.default is not parameter.empty
        }
        self._has_rest = any(name.startswith("*") for name in self._names)
        #: How many positional arguments need not be bound.
        self._count = -1 if self._has_rest else len(self._names)
        self._exact = ExactArguments(program, known, regions.to_numpy)

    def take(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Taken:
        """Check the arguments of a call.

        Returns
        -------
        given, taken, out
            What was given for each leaf; the back-end tensors and scalars that these become; and
            what makes of a back-end tensor what the caller gets: torch tensors for a torch tensor.

        Raises
        ------
        InputError
            If they do not fit; names the argument and what was expected.
        """
        if kwargs or len(args) != self._count:
            args = self._bind(args, kwargs)
        found = self._exact.take(args)
        if found is not None:
            return found
        given: list[Any] = []
        taken: list[Any] = []
        extents: Extents = {}
        for take, value in zip(self._takers, args, strict=True):
            take(value, given, taken, extents)
        self._exact.learn(given, self._sharing, self._out)
        return given, taken, self._out(given)

    def _out(self, given: Sequence[Any]) -> Callable[[Any], Any]:
        """Makes what a caller that gave this gets of a back-end tensor."""
        torch = sys.modules.get("torch")
        if torch is not None and any(
            isinstance(value, torch.Tensor | torch.Generator) for value in given
        ):
            return _to_torch(torch)
        return self._to_numpy

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
        """The arguments in the order of the signature."""
        if not self._has_rest and len(args) <= len(self._names):
            values, named = list(args), 0
            for name in self._names[len(args) :]:
                if name in kwargs:
                    values.append(kwargs[name])
                    named += 1
                elif name in self._defaults:
                    values.append(self._defaults[name])
            if named == len(kwargs) and len(values) == len(self._names):
                return values
        try:
            bound = self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(
                f"{self._title}: {error}",
                hint=f"Its arguments are {', '.join(self._names) or 'none'}.",
            ) from error
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    # -- what takes one argument ---------------------------------------------------------------

    def _taker(self, tree: Tree, where: str) -> _Taker:
        match tree:
            case Leaf(leaf) if isinstance(leaf.type, TensorType):
                return self._tensor(leaf.type, where)
            case Leaf(leaf):
                assert isinstance(leaf.type, ScalarType)
                return _number(leaf.type, where)
            case Literal(literal):
                return _literal(literal, where)
            case Series(kind, items):
                parts = [self._taker(item, f"{where}[{i}]") for i, item in enumerate(items)]
                return _series(kind, parts, where)
            case Record(pairs):
                entries = {key: self._taker(item, f"{where}[{key!r}]") for key, item in pairs}
                return _record(entries, where)
            case Struct(kind, name, pairs):
                fields = {key: self._taker(item, f"{where}.{key}") for key, item in pairs}
                return _struct(kind, name, fields, where)
        raise TypeError(f"{where}: an argument is no list of run-time length")

    def _tensor(self, kind: TensorType, where: str) -> _Taker:
        wanted = DTYPES[kind.dtype]
        expected = f"{wanted}[{','.join(map(str, kind.shape))}]"
        from_external, known = self._from_external, self._known

        def check(value: Any, extents: Extents) -> None:
            dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
            shape = tuple(getattr(value, "shape", ()))
            if not dtype:
                raise InputError(f"expected {expected}, got a {type(value).__name__}", where=where)
            same = len(shape) == len(kind.shape) and all(
                isinstance(size, str) or size == extent
                for size, extent in zip(kind.shape, shape, strict=True)
            )
            if dtype != wanted or not same:
                found = f"{dtype}[{','.join(map(str, shape))}]"
                raise InputError(f"expected {expected}, got {found}", where=where)
            for size, extent in zip(kind.shape, shape, strict=True):
                if isinstance(size, str):
                    sizes.bind(size, extent, where, extents, known)

        def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
            given.append(value)
            if is_generator(value):
                value = value.get_state()
            check(value, extents)
            taken.append(from_external(value))

        return take


def _number(kind: ScalarType, where: str) -> _Taker:
    expected = SCALARS[kind.kind]

    def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
        given.append(value)
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        if expected is float and type(value) is int:
            value = float(value)
        if type(value) is not expected:
            raise InputError(f"expected {kind}, got a {type(value).__name__}", where=where)
        taken.append(value)

    return take


def _literal(literal: Any, where: str) -> _Taker:
    def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
        if type(value) is not type(literal) or value != literal:
            raise InputError(
                f"expected {literal!r}, which the network was compiled for, got {value!r}",
                where=where,
                hint="Compile it again with an example of the new value.",
            )

    return take


def _series(kind: str, parts: Sequence[_Taker], where: str) -> _Taker:
    def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            raise InputError(f"expected a {kind} of {len(parts)}", where=where)
        for part, item in zip(parts, value, strict=True):
            part(item, given, taken, extents)

    return take


def _record(entries: Mapping[Any, _Taker], where: str) -> _Taker:
    def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
        if not isinstance(value, dict) or value.keys() != entries.keys():
            raise InputError(f"expected a dict with the keys {list(entries)}", where=where)
        for key, part in entries.items():
            part(value[key], given, taken, extents)

    return take


def _struct(kind: str, name: str, fields: Mapping[str, _Taker], where: str) -> _Taker:
    def take(value: Any, given: list[Any], taken: list[Any], extents: Extents) -> None:
        for key, part in fields.items():
            if not hasattr(value, key):
                raise InputError(f"expected a {kind} like {name} with {key!r}", where=where)
            part(getattr(value, key), given, taken, extents)

    return take


@functools.cache
def _to_torch(torch: Any) -> Callable[[Any], Any]:
    """Makes torch tensors; a capsule saves torch questions that only other devices answer."""
    # What `torch.from_dlpack` calls for a capsule, after 0.2 µs of Python.
    from_dlpack = getattr(torch._C, "_from_dlpack", torch.from_dlpack)
    return lambda tensor: from_dlpack(tensor.__dlpack__())


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
