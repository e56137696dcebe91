"""Batches against single calls: every sample of a batch has to be what it is alone.

Samples of a batch go different ways: some as they come, others led at random. Each is run alone
first, which notes its decisions and what enters each of its blocks. In the batch it is led along
the same decisions, and everything that enters a block is compared, and the result.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from dyncc.core.errors import MismatchError
from dyncc.runtime.program import Program
from dyncc.verification import ATOL, RTOL, difference

#: A sample that is led at random is led so far; then it goes its own way.
_LED = 60

#: Blocks after which a sample that was led at random is given up: it may turn for ever.
_MOST = 2000


@dataclass
class BatchRuns:
    """What a comparison of batches with single calls found.

    Attributes
    ----------
    samples, batches
        How many there were.
    forced
        How many samples were led at random.
    raised
        Samples that raise alone, or do not come to an end: they were in no batch.
    elements
        Number of tensor elements and scalars compared.
    worst
        Largest absolute difference.
    ties
        Predicates that were decided otherwise in the batch, on values that were found equal.
    """

    samples: int = 0
    batches: int = 0
    forced: int = 0
    raised: int = 0
    elements: int = 0
    worst: float = 0.0
    ties: int = 0


class _GivenUp(Exception):
    """A run does not come to an end."""


class _Alone:
    """Notes a run, and leads it at random if it is given a source of chance."""

    def __init__(self, program: Program, chance: random.Random | None) -> None:
        self._program = program
        self._chance = chance
        self.natural = chance is None
        self.entered: list[tuple[str, Any]] = []
        self.decided: list[bool] = []

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        if len(self.entered) == _MOST:
            raise _GivenUp
        values = copy.deepcopy([self._program.to_numpy(value) for value in arguments])
        self.entered.append((block, values))

    def decide(self, block: str, truth: bool) -> bool:
        if self._chance is not None and len(self.decided) < _LED:
            truth = self._chance.random() < 0.5
        self.decided.append(truth)
        return truth


class _Again:
    """Leads a sample of a batch along the decisions of its run alone, and compares."""

    def __init__(self, program: Program, alone: _Alone, name: str, runs: BatchRuns) -> None:
        self._program = program
        self._alone = alone
        self._name = name
        self._runs = runs
        self._blocks = 0
        self._decisions = 0

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        expected, values = self._alone.entered[self._blocks]
        self._blocks += 1
        where = f"{self._name}, block ^{block}"
        if block != expected:
            raise MismatchError(f"alone it comes to ^{expected} here", where=where)
        for place, (right, found) in enumerate(zip(values, arguments, strict=True)):
            self._compare(right, self._program.to_numpy(found), f"{where}, parameter {place}")

    def decide(self, block: str, truth: bool) -> bool:
        led = self._alone.decided[self._decisions]
        self._runs.ties += self._alone.natural and led != truth
        self._decisions += 1
        return led

    def _compare(self, right: Any, found: Any, where: str) -> None:
        error, size = difference(_tensors(right), _tensors(found), where, RTOL, ATOL)
        self._runs.worst = max(self._runs.worst, error)
        self._runs.elements += size

    def result(self, right: Any, found: Any) -> None:
        """Compare the result."""
        if self._blocks != len(self._alone.entered):
            raise MismatchError("it ends sooner than alone", where=self._name)
        self._compare(right, found, f"{self._name}, result")


def compare_batches(
    program: Program, inputs: Iterable[Any], seed: int = 0, most: int = 64
) -> BatchRuns:
    """Compare batches with single calls.

    Parameters
    ----------
    program
        Compiled for batches.
    inputs
        Arguments of calls, each a tuple or a dict.
    seed
        Of the order of samples, and of the decisions of those that are led.
    most
        How many samples to run; inputs are taken again and again.

    Raises
    ------
    MismatchError
        At the first difference: sample, block, parameter, both values.
    """
    chance = random.Random(seed)
    given = list(inputs)
    runs = BatchRuns()
    batch: list[tuple[Any, _Again, Any]] = []
    # More than regions take at once, and not a multiple of it.
    size = program.batch_limit + 1 + program.batch_limit // 2
    for number in range(most if given else 0):
        example = given[number] if number < len(given) else chance.choice(given)
        led = number % 2 == 1
        observer = _Alone(program, random.Random(chance.random()) if led else None)
        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        runs.samples += 1
        runs.forced += led
        try:
            with program.observed(observer):
                result = program(*args, **kwargs)
        except Exception:  # noqa: BLE001 a network may raise anything
            runs.raised += 1
            continue
        batch.append((example, _Again(program, observer, f"sample {number}", runs), result))
        if len(batch) == size:
            _run(program, batch, chance, runs)
            batch = []
    if batch:
        _run(program, batch, chance, runs)
    return runs


def _run(
    program: Program,
    batch: list[tuple[Any, _Again, Any]],
    chance: random.Random,
    runs: BatchRuns,
) -> None:
    chance.shuffle(batch)
    observers = [observer for _, observer, _ in batch]
    results = program.batch([example for example, _, _ in batch], observers)
    for (_, observer, expected), found in zip(batch, results, strict=True):
        observer.result(expected, found)
    runs.batches += 1


def _tensors(value: Any) -> Any:
    """A value of a block, or a result, as `difference` takes it."""
    if isinstance(value, numpy.ndarray):
        return torch.from_numpy(value.copy())  # a view of a back end's memory may be read-only
    return [_tensors(part) for part in value] if type(value) is list else value
