"""A compiled network that is called like the module it came from."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy

from dyncc.core.errors import ConfigError, InputError
from dyncc.ir import sizes
from dyncc.ir.hcfg import ARGUMENT, DEFAULT_GENERATOR, Hcfg, Return
from dyncc.ir.places import Places
from dyncc.ir.types import ITEMSIZE, TensorType
from dyncc.runtime.argumentcode import SCALARS
from dyncc.runtime.arguments import Arguments
from dyncc.runtime.batches import Batches, Batching, Sample
from dyncc.runtime.executor import Executor, Observer, Regions, sharing
from dyncc.runtime.generators import default_state, is_generator, set_default_state, set_state
from dyncc.runtime.hostlist import HostList
from dyncc.runtime.stacks import Row

_SCALARS = tuple(SCALARS.values())


class Program:
    """A compiled network.

    Called like the module: with the arguments of ``forward``, positional or by name. Torch tensors
    give torch tensors, NumPy arrays give NumPy arrays. Calls from several threads run one after the
    other.

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
        batching: Batching | None = None,
    ) -> None:
        self.hcfg = hcfg
        self.manifest = dict(manifest)
        self.places = places or Places()
        self.sizes = sizes.from_json(self.manifest.get("sizes", {}))
        self._regions = regions
        # The regions have theirs; only what `reset_state` starts from stays.
        self._initial = {
            slot.name: numpy.array(weights[slot.name])
            if isinstance(slot.value.type, TensorType)
            else slot.initial
            for slot in hcfg.state
            if slot.value is not None
        }
        self._executor = Executor(hcfg, regions, weights)
        self._batching = batching
        self._batches: Batches | None = None
        self._arguments = Arguments(hcfg, self.sizes, regions)
        self._share = sharing(regions, numpy.zeros(1))
        self._lock = threading.RLock()
        self.changes_arguments = any(
            name.startswith(ARGUMENT)
            for block in hcfg.blocks.values()
            if isinstance(block.terminator, Return)
            for name, _ in block.terminator.state
        )
        self._is_function = not hcfg.state and not self.changes_arguments
        self._counts: dict[tuple[str, int], int] | None = None
        self._observer: Observer | None = None
        self._state: dict[str, Any] = {}
        self.reset_state()

    def reset_state(self) -> None:
        """Give buffers and attributes that calls change their initial values."""
        with self._lock:
            self._state = {
                name: self._regions.from_external(numpy.array(value))
                if isinstance(value, numpy.ndarray)
                else value
                for name, value in self._initial.items()
            }

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

    @property
    def regions(self) -> Regions:
        """What runs its regions."""
        return self._regions

    @property
    def host(self) -> str:
        """The host program, as Python source."""
        return self._executor.code.text

    def to_numpy(self, value: Any) -> Any:
        """A value of a block, its tensors as NumPy arrays that share their memory."""
        if isinstance(value, list | tuple | HostList):
            return [self.to_numpy(part) for part in value]
        if value is None or isinstance(value, bool | int | float | complex | str | numpy.ndarray):
            return value
        if isinstance(value, Row):
            return value.seen(self._regions.to_numpy)
        return self._regions.to_numpy(value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises
        ------
        InputError
            If the arguments do not fit; names the argument and what was expected.
        """
        with self._lock:
            given, arguments, out = self._arguments.take(args, kwargs)
            if self._is_function:
                if self._counts is None and self._observer is None:
                    return self._executor.function(*arguments, out)[0]
                return self._executor.run(arguments, out, self._counts, self._observer)[0]
            if DEFAULT_GENERATOR in self._state:
                self._state[DEFAULT_GENERATOR] = self._regions.from_external(default_state())
            # What a caller can reach must not be what the next call starts from.
            reachable = set(map(id, arguments))
            outputs, state, tensors = self._executor.run(
                [*arguments, *self._state.values()], out, self._counts, self._observer
            )
            reachable.update(map(id, tensors))
            for name, value in state.items():
                if name in self._state:
                    self._state[name] = self._copy(value) if id(value) in reachable else value
            if DEFAULT_GENERATOR in state:
                set_default_state(self.to_numpy(state[DEFAULT_GENERATOR]))
            if self.changes_arguments:
                self._change_arguments(state, dict(zip(self._arguments.places, given, strict=True)))
            return outputs

    @property
    def batch_limit(self) -> int:
        """The most samples that a region takes at once; 1 if it was not compiled for batches."""
        return 1 if self._batching is None else self._batching.limit

    def batch(
        self,
        samples: Sequence[Sequence[Any] | Mapping[str, Any]],
        observers: Sequence[Observer | None] | None = None,
    ) -> list[Any]:
        """Run the network on several samples, each of which goes its own way.

        Parameters
        ----------
        samples
            The arguments of a call for each of them: positional ones, or a mapping with all by
            name. Any number; regions take up to `batch_limit` of them at once.
        observers
            For each of them, an observer of its run, or None.

        Returns
        -------
        list
            What a call gives, for each of them in their order. Results may be parts of one
            larger array.

        Raises
        ------
        ConfigError
            If the network was not compiled for batches.
        InputError
            If arguments do not fit; names the sample, the argument, and what was expected.
        Exception
            What the first of the samples raises that raise anything; no result is given then.
        """
        with self._lock:
            if self._batching is None:
                raise ConfigError(
                    f"{self.hcfg.name} was not compiled for batches",
                    hint="Compile it with --batch N, or dyncc.compile(..., batch=N).",
                )
            if self._batches is None:
                self._batches = self._batching.bind(self.hcfg)
            taken = [
                self._sample(number, sample, None if observers is None else observers[number])
                for number, sample in enumerate(samples)
            ]
            return self._batches.run(taken, self._counts)

    def _sample(self, number: int, sample: Any, observer: Observer | None) -> Sample:
        """The arguments of a sample, checked."""
        if isinstance(sample, Mapping):
            args, kwargs = (), sample
        elif isinstance(sample, tuple | list):
            args, kwargs = tuple(sample), {}
        else:
            raise InputError(
                f"expected a tuple of arguments, or a dict of them by name, got a "
                f"{type(sample).__name__}",
                where=f"sample {number}",
            )
        try:
            _, arguments, out = self._arguments.take(args, kwargs)
        except InputError as error:
            where = f"sample {number}" + (f", {error.where}" if error.where else "")
            raise InputError(error.message, hint=error.hint, where=where) from error
        return Sample(arguments, out, observer)

    def _change_arguments(self, state: Mapping[str, Any], places: Mapping[str, Any]) -> None:
        for name, value in state.items():
            if name.startswith(ARGUMENT):
                target = places[name.removeprefix(ARGUMENT)]
                if is_generator(target):
                    set_state(target, self._regions.to_numpy(value))
                    continue
                if not isinstance(target, numpy.ndarray):
                    target = target.detach().numpy()  # shares the memory of the torch tensor
                if not target.flags.writeable:
                    raise InputError(
                        "the network changes this argument in place, and it is read-only",
                        where=name.removeprefix(ARGUMENT),
                    )
                numpy.copyto(target, self._regions.to_numpy(value))

    def _copy(self, value: Any) -> Any:
        if value is None or isinstance(value, _SCALARS):
            return value
        # Not `aligned`, though one of the libraries copies it again for that: in all it is slower.
        return self._share(numpy.array(self._regions.to_numpy(value), order="C"))


def tensor_bytes(kind: TensorType) -> int:
    """Size of a tensor of static shape."""
    return ITEMSIZE[kind.dtype] * math.prod(int(extent) for extent in kind.shape)
