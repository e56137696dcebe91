"""How long regions take in each back end, on what they are given in a run of the network."""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch

from dyncc.backends.eager import EagerRegions
from dyncc.ir.hcfg import Hcfg, Region, RegionCall
from dyncc.ir.types import DTYPES, TensorType
from dyncc.runtime.mixed import Home
from dyncc.runtime.program import Program

#: Calls of a region in one back end before the turn of the next: the first finds caches and threads
#: as the other left them.
_BURST = 3

#: Turns that each back end gets at least, however long a region takes, and at most.
_ROUNDS = (3, 200)


@dataclass
class Sample:
    """A call of a region as the network makes it.

    Attributes
    ----------
    arguments
        Its activations, NumPy arrays.
    weights
        Names of its weights.
    calls
        How often the network called the region; 0 if it did not, and `arguments` are made up.
    """

    arguments: list[numpy.ndarray]
    weights: tuple[str, ...]
    calls: int


class Recording(EagerRegions):
    """The reference back end, which notes the first arguments of each region."""

    def __init__(self, program: Hcfg) -> None:
        super().__init__(program)
        self.samples: dict[str, Sample] = {}

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A region with the weights of one call site, whose calls are noted."""
        function = super().bind(region, weights, names)

        def call(*params: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if region not in self.samples:
                arguments = [param.numpy().copy() for param in params]
                self.samples[region] = Sample(arguments, tuple(names), 0)
            self.samples[region].calls += 1
            return function(*params)

        return call


def samples(
    program: Hcfg,
    weights: Mapping[str, numpy.ndarray],
    runs: Iterable[Any],
    sizes: Mapping[str, Any],
) -> dict[str, Sample]:
    """A call of each region of static sizes, taken from runs of the network in PyTorch.

    Parameters
    ----------
    program, weights
        The network.
    runs
        Arguments of each run, as of `dyncc.compile`; they are not changed.
    sizes
        Of the manifest.

    Returns
    -------
    dict
        By region; calls are those of all runs. Those that no run reaches get arguments that no
        operation refuses: normally distributed numbers, and zeros of other types, which are indices
        of anything.
    """
    recording = Recording(program)
    network = Program(program, recording, weights, {"sizes": dict(sizes)})
    for example in runs:
        args, kwargs = call_of(example)
        with unseen(), contextlib.suppress(Exception):
            network(*args, **kwargs)
    return samples_of(program, recording)


def call_of(example: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Positional and named arguments of a call, copied: a network may change them."""
    given = copy.deepcopy(example)
    return ((), given) if isinstance(given, Mapping) else (given, {})


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Let networks run without a trace, though they may print and draw random numbers."""
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
        yield


def samples_of(program: Hcfg, recording: Recording) -> dict[str, Sample]:
    """What `samples` gives, after runs that have been recorded."""
    named = {
        op.region: op.weights
        for block in program.blocks.values()
        for op in block.ops
        if isinstance(op, RegionCall)
    }
    random = numpy.random.default_rng(0)
    return {
        name: recording.samples.get(name) or Sample(_made_up(region, random), named[name], 0)
        for name, region in program.regions.items()
        if name in named
    }


def _made_up(region: Region, random: numpy.random.Generator) -> list[numpy.ndarray]:
    found = []
    for value in region.params:
        kind = value.type
        assert isinstance(kind, TensorType)
        shape = [extent if isinstance(extent, int) else 1 for extent in kind.shape]
        array = random.normal(size=shape) if kind.dtype in ("f32", "f64") else numpy.zeros(shape)
        found.append(array.astype(DTYPES[kind.dtype]))
    return found


def call_times(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The least time of each call.

    Parameters
    ----------
    calls
        What is compared; they take turns.
    seconds
        How long the comparison may take; longer only if three turns of each do.

    Returns
    -------
    dict
        Seconds, by name.
    """
    best = dict.fromkeys(calls, float("inf"))
    end = time.perf_counter() + seconds
    least, most = _ROUNDS
    for turn in range(most):
        if turn >= least and time.perf_counter() > end:
            break
        for name, call in calls.items():
            for _ in range(_BURST):
                started = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def region_times(
    region: str,
    sample: Sample,
    homes: Mapping[str, Home],
    weights: Mapping[str, numpy.ndarray],
    seconds: float,
) -> dict[str, float]:
    """The least time of a call of a region in each back end, in seconds; see `call_times`."""
    calls = {
        name: bound_call(region, home, sample, sample.arguments, weights)
        for name, home in homes.items()
    }
    return call_times(calls, seconds)


def bound_call(
    region: str,
    home: Home,
    sample: Sample,
    arguments: Sequence[numpy.ndarray],
    weights: Mapping[str, numpy.ndarray],
) -> Callable[[], Any]:
    """A call of a region in a back end, with the weights of a sample, and with arguments."""
    arrays = [weights[name] for name in sample.weights]
    function = home.bind(region, arrays, sample.weights)
    return partial(function, *map(home.from_external, arguments))
