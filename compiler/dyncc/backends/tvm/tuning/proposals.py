"""What is tried for a kernel: other numbers in dyncc's rules, and MetaSchedule's own schedules."""

from __future__ import annotations

import logging
import sys
import types
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from random import Random
from typing import Any, Protocol

import tvm
from tvm import s_tir, tirx

from dyncc.backends.tvm.knobs import choosing

#: Tries to find what was not tried yet, before a search is taken to be done.
_TRIES = 40

#: Numbers that say how threads share a kernel.
SHARING = frozenset({"bands", "by_channel", "threads"})

#: Schedules that MetaSchedule makes at a time, and of how many it chooses them.
_BATCH, _POPULATION = 8, 32

#: Annotation of a block by TVM's operators: the rule that is to schedule it.
_HINT = "schedule_rule"

#: What schedules raise that do not fit.
MISFITS = (RuntimeError, ValueError, TypeError, IndexError)


@dataclass
class Proposal:
    """A schedule to be measured, and what makes it again; see `database.Record`."""

    schedule: s_tir.Schedule
    choices: dict[str, int] = field(default_factory=dict)
    trace: Any = None


class Search(Protocol):
    """Proposes schedules of one kernel."""

    def propose(self) -> Proposal | None:
        """Return what is to be measured next; None if there is nothing left."""

    def learn(self, proposal: Proposal, seconds: float | None, *, best: bool) -> None:
        """Take the time of a proposal, None if it failed, and whether it is the best so far."""


class KnobSearch:
    """Other numbers in dyncc's own rules: one at a time, then two, then any.

    Parameters
    ----------
    rule
        Makes a schedule, asking `dyncc.backends.tvm.knobs.pick` for numbers.
    start
        Numbers to start from.
    random
        Decides what is tried.
    fixed
        Numbers that are left to the rule.
    """

    def __init__(
        self,
        rule: Callable[[], s_tir.Schedule | None],
        start: Mapping[str, int],
        random: Random,
        fixed: Container[str] = (),
    ) -> None:
        self._rule = rule
        self._random = random
        self._fixed = fixed
        self._seen: set[frozenset[tuple[str, int]]] = set()
        self._waiting: deque[Mapping[str, int]] = deque([start])
        self._best: Mapping[str, int] = start
        self._offered: Mapping[str, tuple[int, ...]] = {}

    def propose(self) -> Proposal | None:
        """Return a schedule that was not proposed before."""
        for _ in range(_TRIES):
            given = self._waiting.popleft() if self._waiting else self._any()
            with choosing(given) as choices:
                try:
                    schedule = self._rule()
                except MISFITS:
                    continue
            made = frozenset(choices.made.items())
            if made in self._seen or schedule is None:
                continue
            if not self._seen:
                self._centre(choices.made, choices.offered)
            self._seen.add(made)
            return Proposal(schedule, dict(choices.made))
        return None

    def learn(self, proposal: Proposal, seconds: float | None, *, best: bool) -> None:
        """Look around the best next."""
        if best and seconds is not None:
            with choosing(proposal.choices) as choices:
                self._rule()
            self._centre(choices.made, choices.offered)

    def _centre(self, made: Mapping[str, int], offered: Mapping[str, tuple[int, ...]]) -> None:
        self._best = {name: value for name, value in made.items() if name not in self._fixed}
        self._offered = {
            name: options for name, options in offered.items() if name not in self._fixed
        }
        neighbours = [
            {**self._best, name: value}
            for name, options in self._offered.items()
            for value in options
            if value != made[name]
        ]
        self._random.shuffle(neighbours)
        self._waiting = deque(neighbours)

    def _any(self) -> Mapping[str, int]:
        free = [name for name, options in self._offered.items() if len(options) > 1]
        if not free:
            return self._best
        count = 2 if self._random.random() < 0.6 else len(free)
        changed = self._random.sample(free, min(count, len(free)))
        drawn = {name: self._random.choice(self._offered[name]) for name in changed}
        return {**self._best, **drawn}


class MetaScheduleSearch:
    """TVM's MetaSchedule, in this process: its rules for CPUs and its evolutionary search.

    Its model of costs would need a package that dyncc does not; what was measured leads it.

    Parameters
    ----------
    function
        The kernel, with the symbol ``main``.
    target
        What it is compiled for.
    random
        Decides what is tried.
    """

    def __init__(self, function: tirx.PrimFunc, target: tvm.target.Target, random: Random) -> None:
        self._module = _without_hints(function)
        self._target = target
        self._seed = random.randrange(1, 2**31 - 1)
        self._context: Any = None
        self._batch: list[Any] = []
        self._next = 0
        self._results: list[float | None] = []

    def propose(self) -> Proposal | None:
        """Return the next schedule of a batch, or of a new one."""
        if self._next >= len(self._batch) and not self._more():
            return None
        candidate = self._batch[self._next]
        self._next += 1
        return Proposal(candidate.sch, {}, _plain(candidate.sch.trace.as_json()))

    def learn(self, proposal: Proposal, seconds: float | None, *, best: bool) -> None:
        """Keep the time for the next batch."""
        self._results.append(seconds)

    def _more(self) -> bool:
        meta = _meta_schedule()
        try:
            if self._context is None:
                self._start(meta)
            elif self._batch:
                self._tell(meta)
            self._batch = list(self._context.generate_measure_candidates() or ())
        except MISFITS:
            self._batch = []  # it has no schedule for this kernel
        self._next, self._results = 0, []
        return bool(self._batch)

    def _start(self, meta: Any) -> None:
        strategy = meta.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_min_unmeasured=_BATCH, genetic_num_iters=2
        )
        self._context = meta.TuneContext(
            self._module, target=self._target, space_generator="post-order-apply",
            search_strategy=strategy, rand_state=self._seed, num_threads=1, logger=_quiet(),
        )  # fmt: skip
        self._database = meta.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._context.mod)
        self._context.pre_tuning(
            max_trials=1_000_000,
            num_trials_per_iter=_BATCH,
            database=self._database,
            cost_model=meta.cost_model.RandomModel(),
        )

    def _tell(self, meta: Any) -> None:
        results = []
        for candidate, seconds in zip(self._batch, self._results, strict=False):
            failure = None if seconds is not None else "refused"
            times = None if seconds is None else [seconds]
            results.append(meta.runner.RunnerResult(times, failure))
            if times is not None:
                self._database.commit_tuning_record(
                    meta.database.TuningRecord(
                        candidate.sch.trace, self._workload, times, self._target,
                        candidate.args_info,
                    )
                )  # fmt: skip
        self._context.notify_runner_results(self._batch, results)


def _meta_schedule() -> Any:
    package = "tvm.s_tir.tensor_intrin"
    if package not in sys.modules:
        # MetaSchedule imports the tensor intrinsics of CUDA, ROCm, Arm, Hexagon and RISC-V, which
        # takes a minute. Empty modules in their place leave those of x86.
        names = [
            f"{package}.{name}" for name in ("cuda", "rocm", "hexagon", "riscv_cpu", "arm_cpu")
        ]
        absent = [name for name in names if name not in sys.modules]
        sys.modules.update({name: types.ModuleType(name) for name in absent})
        try:
            import_module(package)
        finally:
            for name in absent:
                del sys.modules[name]
    return import_module("tvm.s_tir.meta_schedule")


def _without_hints(function: tirx.PrimFunc) -> tvm.IRModule:
    """Return a module without requests for rules that TVM has for GPUs only, and warns of."""
    schedule = s_tir.Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if _HINT in schedule.get(block).annotations:
            schedule.unannotate(block, _HINT)
    return schedule.mod


def _quiet() -> logging.Logger:
    logger = logging.getLogger("dyncc.tuning")
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    return logger


def _plain(value: Any) -> Any:
    """Return TVM's arrays, boxes and constants as JSON has them."""
    value = getattr(value, "value", value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    return [_plain(item) for item in value]
