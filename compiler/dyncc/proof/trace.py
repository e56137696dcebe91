"""Runs an artifact along given decisions and keeps what each block was given."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from dyncc.ir.hcfg import Hcfg, Raise
from dyncc.runtime.program import Program

#: Given a block and the truth of its condition, the way to go: the truth itself, or another.
Policy = Callable[[str, bool], bool]

#: A run that enters more blocks than this goes on for ever.
MAX_STEPS = 200_000


class _TooLong(Exception):
    """A run does not come to an end."""


@dataclass
class Step:
    """One block of a run.

    Attributes
    ----------
    block
        Its name.
    arguments
        Back-end values of its parameters.
    truth
        Truth of the condition at its end, if it ends with a branch.
    choice
        Which way it went.
    """

    block: str
    arguments: Sequence[Any]
    truth: bool | None = None
    choice: bool | None = None


@dataclass
class Trace:
    """A run of an artifact: its blocks, and its result or what it raised.

    ``cut`` says that it was stopped since it did not come to an end.
    """

    steps: list[Step] = field(default_factory=list)
    result: Any = None
    error: Exception | None = None
    cut: bool = False

    def edges(self) -> list[tuple[str, int]]:
        """The edges taken, in order."""
        return [(step.block, 1 if step.choice is False else 0) for step in self.steps[:-1]]

    def raises(self, program: Hcfg) -> bool:
        """Whether it ended at a ``raise`` of the source."""
        return self.error is not None and isinstance(
            program.blocks[self.steps[-1].block].terminator, Raise
        )


class _Guide:
    def __init__(
        self, trace: Trace, policy: Policy, limit: int, keep: Callable[[Any], Any]
    ) -> None:
        self._keep = keep
        self._trace = trace
        self._policy = policy
        self._limit = limit

    def enter(self, block: str, arguments: Sequence[Any]) -> None:
        if len(self._trace.steps) >= self._limit:
            raise _TooLong
        self._trace.steps.append(Step(block, [self._keep(value) for value in arguments]))

    def decide(self, block: str, truth: bool) -> bool:
        step = self._trace.steps[-1]
        step.truth = truth
        step.choice = self._policy(block, truth)
        return step.choice


def follow(
    program: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    policy: Policy,
    limit: int = MAX_STEPS,
) -> Trace:
    """Run an artifact, through at most `limit` blocks."""
    trace = Trace()
    # A call that changes its arguments does so at its end, and the first blocks have them.
    keep = (lambda value: _copy(program, value)) if program.changes_arguments else _same
    with program.observed(_Guide(trace, policy, limit, keep)):
        try:
            trace.result = program(*args, **kwargs)
        except _TooLong:
            trace.cut = True
        except Exception as error:
            if not trace.steps:  # the arguments do not fit
                raise
            trace.error = error
    return trace


def _same(value: Any) -> Any:
    return value


def _copy(program: Program, value: Any) -> Any:
    return copy.deepcopy(program.to_numpy(value))


def natural(block: str, truth: bool) -> bool:
    """The policy that leads nowhere else."""
    return truth


def scripted(
    script: Sequence[tuple[str, bool]], homeward: dict[str, bool], led: Collection[str]
) -> Policy:
    """The policy that takes `script`, then the shortest way out.

    Parameters
    ----------
    script
        Blocks and the ways that their branches are to go.
    homeward
        For each block that branches, the shortest way out.
    led
        The blocks whose branches may be led; the others go by their conditions, and where that
        leaves the script, the rest of it is forgotten.
    """
    rest = deque(script)

    def choose(block: str, truth: bool) -> bool:
        way = homeward[block]
        if rest and rest[0][0] == block:
            way = rest.popleft()[1]
        else:
            rest.clear()
        if block in led:
            return way
        if way != truth:
            rest.clear()
        return truth

    return choose
