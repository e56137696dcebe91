"""Runs several samples at once, each along its own path.

Every sample has its own run of the host program, which stops at each region call (a generator, see
`dyncc.runtime.hostcode`). Those that wait at the same call go through its region together, and go
on from there. Of the calls at which samples wait, the first in reverse postorder is next: no way
but one around a loop leads from the others to it, so that all samples that can still come to a
call have done so before it is carried out. Samples that an early exit or a skipped layer took
apart meet again where their ways do; turns of a loop are shared by all samples that are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.ir.hcfg import Hcfg, RegionCall
from dyncc.ir.order import reverse_postorder
from dyncc.ir.types import TensorType
from dyncc.runtime.executor import Executor, Observer, Regions
from dyncc.runtime.stacks import Memory, Row, Stack, alone, gather, is_joined, single


class _Site:
    """A region call.

    Parameters
    ----------
    params, results
        Whether samples are stacked along the first dimension, for each of them.
    functions
        By number of samples, what runs the region for so many.
    memory
        The back end's tensors.
    """

    def __init__(
        self,
        params: Sequence[bool],
        results: Sequence[bool],
        functions: Mapping[int, Callable[..., Sequence[Any]]],
        memory: Memory,
    ) -> None:
        self.place = 0
        self._params = params
        self._results = results
        self._functions = functions
        self._memory = memory
        self._sizes = sorted(functions, reverse=True)

    def run(self, group: Sequence[Sequence[Row]]) -> list[list[Row]]:
        """The results for each sample of a group, given its arguments."""
        found: list[list[Row]] = []
        for size in self._sizes:
            while len(group) - len(found) >= size:
                part = group[len(found) : len(found) + size]
                found += self._one(part[0]) if size == 1 else self._several(part)
        return found

    def _one(self, arguments: Sequence[Row]) -> list[list[Row]]:
        tensors = [single(row, self._memory) for row in arguments]
        return [[alone(result) for result in self._functions[1](*tensors)]]

    def _several(self, part: Sequence[Sequence[Row]]) -> list[list[Row]]:
        size = len(part)
        columns = zip(self._params, zip(*part, strict=True), strict=True)
        tensors = [gather(rows, joined, self._memory) for joined, rows in columns]
        results = self._functions[size](*tensors)
        stacks = [
            Stack(tensor, size, joined)
            for tensor, joined in zip(results, self._results, strict=True)
        ]
        return [[Row(stack, index) for stack in stacks] for index in range(size)]


class _Rows:
    """Rows as the tensors of a host program; region calls become `_Site`."""

    def __init__(
        self, program: Hcfg, regions: Regions, variants: Mapping[str, Mapping[int, str]]
    ) -> None:
        self._program = program
        self._regions = regions
        self._variants = variants

    def bind(self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]) -> Any:
        """The call of a region with the weights of one call site."""
        body = self._program.regions[region]
        params = [_joined(value.type) for value in body.params]
        variants = {1: region, **self._variants.get(region, {})}
        functions = {
            size: self._regions.bind(name, weights, names) for size, name in variants.items()
        }
        results = [_joined(value.type) for value in body.results]
        return _Site(params, results, functions, self._regions)

    def from_external(self, array: Any) -> Row:
        """A row for what one sample has."""
        return alone(self._regions.from_external(array))

    def to_numpy(self, row: Row) -> numpy.ndarray:
        """A NumPy view of a row."""
        view: numpy.ndarray = row.seen(self._regions.to_numpy)
        return view


def _joined(kind: Any) -> bool:
    return isinstance(kind, TensorType) and is_joined(kind.shape)


@dataclass(frozen=True)
class Sample:
    """What one sample of a batch starts from.

    Attributes
    ----------
    arguments
        Back-end tensors and scalars, one for each parameter of the entry block.
    out
        Makes what the caller gets of a back-end tensor.
    observer
        If given, it is told of each of the sample's blocks, and decides its branches.
    """

    arguments: Sequence[Any]
    out: Callable[[Any], Any]
    observer: Observer | None = None


class Batches:
    """A program bound to regions for several samples.

    Parameters
    ----------
    program
        The program; it keeps no state, draws no random numbers, and acts on nothing outside.
    regions
        Its regions, and their variants for several samples.
    variants
        By region and number of samples, the name of the variant.
    weights
        Every weight; regions keep what they need.
    """

    def __init__(
        self,
        program: Hcfg,
        regions: Regions,
        variants: Mapping[str, Mapping[int, str]],
        weights: Mapping[str, numpy.ndarray],
    ) -> None:
        self._executor = Executor(program, _Rows(program, regions, variants), weights)
        for place, name in enumerate(reverse_postorder(program.blocks)):
            for op in program.blocks[name].ops:
                if isinstance(op, RegionCall):
                    self._executor.region(op).place = place
        self._tensors = [isinstance(p.type, TensorType) for p in program.entry.params]

    def run(
        self, samples: Sequence[Sample], counts: dict[tuple[str, int], int] | None = None
    ) -> list[Any]:
        """Run a batch.

        Parameters
        ----------
        samples
            The samples.
        counts
            If given, the number of times that samples took each edge is added here.

        Returns
        -------
        list
            The result of each sample, in their order.

        Raises
        ------
        Exception
            What the first of the samples that fail raises.
        """
        results: dict[int, Any] = {}
        failures: dict[int, Exception] = {}
        waiting: dict[_Site, list[tuple[int, _Steps, Sequence[Row]]]] = {}

        def resume(number: int, steps: _Steps, given: Sequence[Row] | None) -> None:
            try:
                site, arguments = steps.send(given)
            except StopIteration as end:
                results[number] = end.value[0]
            except Exception as error:  # noqa: BLE001 - the sample's own; raised in its turn
                failures[number] = error
            else:
                waiting.setdefault(site, []).append((number, steps, arguments))

        for number, sample in enumerate(samples):
            resume(number, self._start(sample, counts), None)
        while waiting:
            site = min(waiting, key=_place_of)
            # In the order of the batch, in which the rows of stacks are: copies are fewer.
            group = sorted(waiting.pop(site), key=_number_of)
            found = site.run([arguments for _, _, arguments in group])
            for (number, steps, _), given in zip(group, found, strict=True):
                resume(number, steps, given)
        if failures:
            raise failures[min(failures)]
        return [results[number] for number in range(len(samples))]

    def _start(self, sample: Sample, counts: dict[tuple[str, int], int] | None) -> _Steps:
        rows = [
            alone(value) if tensor else value
            for tensor, value in zip(self._tensors, sample.arguments, strict=True)
        ]
        out = sample.out
        return self._executor.steps(rows, lambda row: row.seen(out), counts, sample.observer)


#: A sample's run: gives region calls with their arguments, and takes the results.
_Steps = Generator[tuple[_Site, Sequence[Row]], "Sequence[Row] | None", tuple[Any, ...]]


def _place_of(site: _Site) -> int:
    return site.place


def _number_of(member: tuple[int, _Steps, Sequence[Row]]) -> int:
    return member[0]


class Batching:
    """What a program needs to run batches.

    Parameters
    ----------
    report
        What `dyncc.backends.variants.build` returned, as the manifest has it.
    regions
        The regions and their variants.
    weights
        Every weight of the program.
    """

    def __init__(
        self, report: Mapping[str, Any], regions: Regions, weights: Mapping[str, numpy.ndarray]
    ) -> None:
        #: The most samples that a region takes at once.
        self.limit: int = report["limit"]
        self._variants = {
            region: {int(size): name for size, name in table.items()}
            for region, table in report["regions"].items()
        }
        self._regions = regions
        self._weights = weights

    def bind(self, program: Hcfg) -> Batches:
        """The program, ready for batches; only once, since regions keep what they need of weights.

        They are bound when the first batch is run: each may pack its weights in a form of its own.
        """
        weights, self._weights = self._weights, {}
        return Batches(program, self._regions, self._variants, weights)
