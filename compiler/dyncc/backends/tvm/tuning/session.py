"""One search: which kernel is tried next, how candidates are judged, and what is kept.

A kernel gets the next trial that may gain most: the time that a run of the network spends in it,
divided by how many trials in a row found nothing. Candidates are measured in turns with the best
so far; a faster one is measured again, in turns with the code without any tuning, and its results
have to be those of that code. Then it enters the database, which is written at once. On a machine
that others use too, all this happens in one thread, and how threads share a kernel stays the rule's
choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import numpy
import tvm
from tvm import s_tir

from dyncc.backends.measuring import Sample
from dyncc.backends.refusals import FAILURES
from dyncc.backends.tvm.lowering import schedule_by_rule
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.database import Database, Record
from dyncc.backends.tvm.tuning.machines import Kernel, Machine, is_free
from dyncc.backends.tvm.tuning.proposals import (
    SHARING,
    KnobSearch,
    MetaScheduleSearch,
    Proposal,
    Search,
)
from dyncc.backends.tvm.tuning.reuse import Found, kernel_key, target_key
from dyncc.backends.tvm.tuning.workloads import Position, Workload, positions
from dyncc.core.errors import DynccError

if TYPE_CHECKING:
    from dyncc.backends.tvm.build import Imported

#: A candidate has to take less than this part of the best time, twice.
_GAIN = 0.98

#: Seconds of a first comparison, and of the one that decides.
_BRIEF, _THOROUGH = 0.04, 0.25

#: Calls in one turn of a comparison.
_BURST = 3

#: A least time counts that this many turns came near, by this factor; for that a comparison may
#: last this many times as long.
_AGAIN, _SAME, _PATIENCE = 3, 1.05, 4

#: A candidate that takes this much longer after the least turns is measured no further.
_HOPELESS = 1.3

#: Trials of each layout before only that of the best candidate is tried.
_LAYOUT_TRIALS = 10

#: How far results may be from those without tuning, relative to the greatest: sums are reordered.
_TOLERANCE = 1e-4


@dataclass
class Loaded:
    """Code of a kernel on the machine, with its arguments."""

    kernel: Kernel
    arguments: list[Any]
    results: int

    def outputs(self, machine: Machine) -> list[numpy.ndarray]:
        """Run it once and return its results."""
        self.kernel(*self.arguments)
        return [machine.fetch(tensor) for tensor in self.arguments[-self.results :]]


@dataclass
class Task:
    """A kernel that is searched for.

    Attributes
    ----------
    position
        The kernel, with its layouts.
    untuned
        Its code by dyncc's rules alone.
    expected
        What that computes.
    best
        The fastest so far.
    seconds, tuned
        Time of a call of `untuned` and of `best`.
    misses
        Trials in a row that found nothing better.
    layout
        Which layout `best` has.
    """

    position: Position
    untuned: Loaded
    expected: list[numpy.ndarray]
    best: Loaded
    seconds: float
    tuned: float
    searches: list[list[Search]]
    misses: int = 0
    layout: int = 0
    trials: list[int] = field(default_factory=list)

    @property
    def hope(self) -> float:
        """Seconds of a run that are spent in it, less what was tried in vain."""
        return self.position.calls * self.tuned / (1 + self.misses)


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes
    ----------
    kernels, tuned
        How many kernels were looked at, and how many got faster.
    unreached
        Kernels for which there was no time.
    trials, refused
        Candidates that ran, and those among them whose results were wrong.
    before, after
        Seconds that a run spends in all these kernels.
    free
        Whether the machine was; if not, all was measured in one thread.
    """

    kernels: int
    tuned: int
    unreached: int
    trials: int
    refused: int
    before: float
    after: float
    free: bool


class Session:
    """A search of limited time.

    Parameters
    ----------
    cpu, machine
        What code is for, and what runs it.
    database
        Gets what is found.
    known
        What was found before, to start from.
    seconds
        How long all of it may take.
    progress
        Told what is tried, and how many seconds of how many are over.
    seed
        Of the random choices.
    """

    def __init__(
        self,
        cpu: Cpu,
        machine: Machine,
        database: Database,
        known: Found,
        seconds: float,
        progress: Callable[[str, int, int], None],
        seed: int = 0,
    ) -> None:
        self._cpu, self._machine = cpu, machine
        self._database, self._known = database, known
        self._seconds = seconds
        self._progress = progress
        self._random = Random(seed)
        self._started = time.perf_counter()
        self._longest = 0.0
        self._tasks: list[Task] = []
        self._trials = self._refused = 0
        self._fixed: frozenset[str] = frozenset()

    def run(
        self,
        regions: Sequence[Imported],
        samples: Mapping[str, Sample],
        weights: Mapping[str, numpy.ndarray],
    ) -> Outcome:
        """Search until the time is over or nothing is left to try.

        Raises
        ------
        ToolError
            If the machine is lost; what was found is in the database.
        """
        self._progress("tuning: a look at the machine", 0, int(self._seconds))
        target = self._cpu.target()
        if self._cpu.threads > 1 and not is_free(self._machine, self._cpu.threads, target):
            self._fixed = SHARING
        self._machine.use_threads(1 if self._fixed else self._cpu.threads)
        try:
            return self._search(positions(regions, self._cpu, samples, weights))
        finally:
            self._machine.use_threads(self._cpu.threads)

    def _search(self, kernels: Sequence[Position]) -> Outcome:
        unreached = 0
        for begun, position in enumerate(kernels):
            if not self._step(f"{position.layouts[0][1].name}", partial(self._begin, position)):
                unreached = len(kernels) - begun
                break
        while (task := self._next()) is not None:
            name = task.position.layouts[0][1].name
            gain = self._total("seconds") / max(self._total("tuned"), 1e-12)
            if not self._step(f"{name}, {gain:.2f} times as fast", partial(self._try, task)):
                break
        return Outcome(
            kernels=len(self._tasks),
            tuned=sum(task.best is not task.untuned for task in self._tasks),
            unreached=unreached,
            trials=self._trials,
            refused=self._refused,
            before=self._total("seconds"),
            after=self._total("tuned"),
            free=not self._fixed,
        )

    def _total(self, name: str) -> float:
        return float(sum(task.position.calls * getattr(task, name) for task in self._tasks))

    def _step(self, what: str, action: Callable[[], None]) -> bool:
        """Carry out a step if there is time for one as long as the longest before."""
        started = time.perf_counter()
        over = started - self._started
        if over + self._longest >= self._seconds:
            return False
        self._progress(f"tuning {what}", int(over), int(self._seconds))
        action()
        self._longest = max(self._longest, time.perf_counter() - started)
        return True

    def _next(self) -> Task | None:
        open_tasks = [task for task in self._tasks if any(task.searches)]
        return max(open_tasks, key=lambda task: task.hope, default=None)

    def _begin(self, position: Position) -> None:
        """Measure a kernel without tuning, and as it was tuned before."""
        workload = position.layouts[0][1]
        rule = partial(schedule_by_rule, workload.function, self._cpu)
        schedule = rule() or s_tir.Schedule(workload.function)
        try:
            untuned = load(self._machine, self._cpu, workload, schedule)
            expected = untuned.outputs(self._machine)
        except FAILURES:
            return  # it is compiled with more care than a search takes
        times, _ = self._times({"untuned": untuned}, _BRIEF)
        searches = [self._searches(made) for _, made in position.layouts]
        self._tasks.append(
            Task(
                position, untuned, expected, untuned, times["untuned"], times["untuned"], searches,
                trials=[0] * len(searches),
            )
        )  # fmt: skip

    def _searches(self, workload: Workload) -> list[Search]:
        """What is tried, one after the other."""
        found = self._known.record(workload.function)
        start = {} if found is None else found[0].choices
        rule = partial(schedule_by_rule, workload.function, self._cpu)
        return [
            KnobSearch(rule, start, self._random, self._fixed),
            MetaScheduleSearch(workload.function, self._cpu.target(), self._random),
        ]

    def _try(self, task: Task) -> None:
        layout = self._layout(task)
        task.trials[layout] += 1
        workload = task.position.layouts[layout][1]
        search = task.searches[layout][0]
        proposal = search.propose()
        if proposal is None:
            task.searches[layout].pop(0)
            return
        seconds = None
        better = False
        try:
            candidate = load(self._machine, self._cpu, workload, proposal.schedule)
            candidate.kernel(*candidate.arguments)
            self._trials += 1
            times, _ = self._times({"new": candidate, "best": task.best}, _BRIEF)
            seconds = times["new"]
            if times["new"] < _GAIN * times["best"]:
                better = self._judge(task, layout, proposal, candidate)
        except DynccError:
            raise
        except FAILURES:
            pass  # not every schedule becomes code
        task.misses = 0 if better else task.misses + 1
        search.learn(proposal, seconds, best=better)

    def _layout(self, task: Task) -> int:
        """The layout to try next: each some times, then that of the best."""
        fresh = [
            index
            for index, searches in enumerate(task.searches)
            if searches and task.trials[index] < _LAYOUT_TRIALS
        ]
        if fresh:
            return min(fresh, key=lambda index: task.trials[index])
        if task.searches[task.layout]:
            return task.layout
        return next(index for index, searches in enumerate(task.searches) if searches)

    def _judge(self, task: Task, layout: int, proposal: Proposal, candidate: Loaded) -> bool:
        """Keep a candidate if it is faster for sure, and right."""
        runs = {"new": candidate, "best": task.best, "untuned": task.untuned}
        times, sure = self._times(runs, _THOROUGH)
        if not sure or times["new"] >= _GAIN * min(times["best"], times["untuned"]):
            return False
        if not agree(candidate.outputs(self._machine), task.expected):
            self._refused += 1
            return False
        task.best, task.layout = candidate, layout
        task.seconds, task.tuned = times["untuned"], times["new"]
        self._keep(task, proposal)
        return True

    def _keep(self, task: Task, proposal: Proposal) -> None:
        made, workload = task.position.layouts[task.layout]
        keys: list[tuple[str, dict[str, int], Any]] = [
            (kernel_key(workload.function), proposal.choices, proposal.trace)
        ]
        if task.position.operator is not None and self._decides(task):
            keys.append((task.position.operator, dict(made), None))
        for key, choices, trace in keys:
            record = Record(
                target=target_key(self._cpu),
                key=key,
                kernel=workload.text,
                choices=choices,
                trace=trace,
                seconds=float(f"{task.tuned:.4g}"),
                untuned=float(f"{task.seconds:.4g}"),
                machine=self._machine.name + (", measured in one thread" if self._fixed else ""),
            )
            self._database.add(record)
        self._database.save()

    def _decides(self, task: Task) -> bool:
        """Whether a kernel is the one in which most time goes, of those with its operator."""
        same = [other for other in self._tasks if other.position.operator == task.position.operator]
        return task is max(same, key=lambda one: one.position.calls * one.seconds)

    def _times(self, runs: Mapping[str, Loaded], seconds: float) -> tuple[dict[str, float], bool]:
        """The least time of a call of each, which take turns, and whether these can be trusted.

        Where others use the machine too, a least time counts only once it was seen again. Until
        then the turns go on, up to `_PATIENCE` times as long.
        """
        seen: dict[str, list[float]] = {name: [] for name in runs}
        started = time.perf_counter()
        while True:
            for name, run in runs.items():
                took = self._machine.burst(run.kernel, run.arguments, _BURST)
                seen[name] = sorted([*seen[name], took])[:_AGAIN]
            if len(seen[name]) < _AGAIN:
                continue
            sure = all(times[-1] <= _SAME * times[0] for times in seen.values())
            over = time.perf_counter() - started
            hopeless = "best" in seen and seen["new"][0] > _HOPELESS * seen["best"][-1]
            if hopeless or over > (seconds if sure else _PATIENCE * seconds):
                return {name: times[0] for name, times in seen.items()}, sure


def load(machine: Machine, cpu: Cpu, workload: Workload, schedule: s_tir.Schedule) -> Loaded:
    """Compile a scheduled kernel, and bring it to a machine with its arguments."""
    target = cpu.target()
    with target, tvm.transform.PassContext(opt_level=3):
        library = tvm.tirx.build(schedule.mod, target=target)
    arguments = [machine.place(array) for array in workload.arguments]
    empty = [numpy.zeros(shape, dtype) for shape, dtype in workload.results]
    arguments += [machine.place(array) for array in empty]
    return Loaded(machine.load(library), arguments, len(workload.results))


def agree(found: Sequence[numpy.ndarray], expected: Sequence[numpy.ndarray]) -> bool:
    """Whether results are those of the code without tuning, but for the order of sums."""
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not numpy.issubdtype(other.dtype, numpy.floating):
            if not numpy.array_equal(one, other):
                return False
            continue
        finite = numpy.abs(other[numpy.isfinite(other)])
        bound = _TOLERANCE * float(finite.max(initial=0.0))
        if not numpy.allclose(one, other, rtol=0, atol=bound, equal_nan=True):
            return False
    return True
