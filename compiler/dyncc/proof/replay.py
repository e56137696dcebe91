"""Runs the original source along the decisions of an artifact's run and compares on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from dyncc.core.errors import MismatchError
from dyncc.ir.hcfg import Branch, Hcfg, Jump, Value
from dyncc.ir.places import (
    Decision,
    Either,
    Passed,
    Places,
    Point,
    Stand,
    asked,
    decision_of,
)
from dyncc.ir.types import FLOAT
from dyncc.proof.hooks import Impossible, Operand, Stop, Turns, file_of
from dyncc.proof.locate import Missing, locate, pick, shaped, tensors, variable
from dyncc.proof.trace import Step, Trace
from dyncc.runtime.program import Program
from dyncc.verification import difference

#: What a scalar of the source is compared as.
_NUMBER = Value("", FLOAT)


@dataclass
class Tally:
    """What was compared.

    Attributes
    ----------
    values, elements
        Block parameters and results compared, and their elements.
    unseen
        Block parameters that the source has no variable for at that point.
    boundaries, blind
        Block boundaries at which something was compared, and those that the source could not be
        stopped at.
    ties
        Decisions that differ because both sides of a comparison are equal but for rounding.
    worst, where
        Largest absolute difference, and where.
    """

    values: int = 0
    elements: int = 0
    unseen: int = 0
    boundaries: int = 0
    blind: int = 0
    ties: int = 0
    worst: float = 0.0
    where: str = ""

    def add(self, error: float, elements: int, where: str) -> None:
        """Note a comparison."""
        self.values += 1
        self.elements += elements
        if error > self.worst or not self.where:
            self.worst, self.where = error, where


class Replay:
    """Follows one trace.

    Parameters
    ----------
    program
        The artifact.
    trace
        Its run.
    module
        The network that runs beside it; for module state.
    name
        What to call this run in messages.
    tally
        Where to count.
    asking
        The decisions that the source asks for.
    choose
        Given a decision that makes no difference and its truth in the source, the way to go.
    tolerance
        Relative and absolute.
    """

    def __init__(
        self,
        program: Program,
        trace: Trace,
        module: nn.Module,
        name: str,
        tally: Tally,
        asking: set[Decision],
        choose: Callable[[Decision, bool], bool],
        tolerance: tuple[float, float],
    ) -> None:
        self._program = program
        self._hcfg: Hcfg = program.hcfg
        self._places: Places = program.places
        self._trace = trace
        self._module = module
        self._name = name
        self._tally = tally
        self._asking = asking
        self._choose = choose
        self._rtol, self._atol = tolerance
        self._at = 0
        self._passed: list[Passed] = []
        # After an edge from which passes removed blocks, what these did is still to come.
        self._arriving = False
        self._doubt: MismatchError | None = None
        self.arguments: dict[str, Any] = {}
        if trace.steps:
            self._passed = list(self._point(trace.steps[0].block).passed)

    # -- where the artifact is -----------------------------------------------------------------

    def _point(self, block: str) -> Point:
        point = self._places.blocks.get(block, Point())
        return replace(point, passed=self._asked(point.passed)) if point.passed else point

    def _on_edge(self, block: str, way: int) -> tuple[Passed, ...]:
        return self._asked(self._places.edges.get((block, way), ()))

    def _asked(self, passed: Sequence[Passed]) -> tuple[Passed, ...]:
        """Those for which the source asks; of others it is not known when they have passed."""
        found: list[Passed] = []
        for item in passed:
            if asked(item) in self._asking:
                found.append(item)
            elif isinstance(item, Either) and item.ways[0] == item.ways[1]:
                found += self._asked(item.ways[0])
        return tuple(found)

    @property
    def _block(self) -> Any:
        return self._hcfg.blocks[self._trace.steps[self._at].block]

    def where(self, block: str | None = None) -> str:
        """A block and its line."""
        name = block or self._trace.steps[self._at].block
        loc = self._hcfg.blocks[name].loc
        return f"^{name} ({Path(loc.file).name}:{loc.line})" if loc else f"^{name}"

    def _mismatch(self, message: str, block: str | None = None, hint: str | None = None) -> Stop:
        loc = self._hcfg.blocks[block or self._trace.steps[self._at].block].loc
        return Stop(
            MismatchError(
                f"{self._name}, block {self.where(block)}: {message}",
                where=None if loc is None else f"{loc.file}:{loc.line}",
                hint=hint,
            )
        )

    def _go(self, way: int) -> None:
        """To the next block."""
        block = self._block.name
        self._at += 1
        if self._at >= len(self._trace.steps):
            return
        self._passed += self._on_edge(block, way)
        self._passed += self._point(self._block.name).passed
        self._doubt = None

    def _arrive(self) -> None:
        """At the block that the last branch led to, at the latest now."""
        if self._arriving:
            if self._doubt is not None:
                raise Stop(self._doubt)
            self._tally.blind += 1
            self._arriving = False

    def _jump(self) -> None:
        """Past a boundary that the source was not stopped at."""
        self._arrive()
        if self._doubt is not None:
            raise Stop(self._doubt)
        self._tally.blind += 1
        self._go(self._way(self._at))

    def _is_jump(self) -> bool:
        return self._silent(self._at)

    def _silent(self, at: int) -> bool:
        """Whether the source is not asked at the end of a step that leads to another."""
        terminator = self._hcfg.blocks[self._trace.steps[at].block].terminator
        if at + 1 >= len(self._trace.steps):
            return False
        return isinstance(terminator, Jump) or (
            isinstance(terminator, Branch) and decision_of(terminator) not in self._asking
        )

    def _way(self, at: int) -> int:
        return 1 if self._trace.steps[at].choice is False else 0

    def _expects(self, decision: Decision, whole: bool = True) -> bool:
        """Whether the artifact's next branch is this one; goes to it if it is."""
        at, passed = self._at, list(self._passed)
        while True:
            if passed:
                return False
            step = self._trace.steps[at]
            block = self._hcfg.blocks[step.block]
            if not self._silent(at):
                break
            if self._trace.cut and at + 2 >= len(self._trace.steps):
                raise Impossible
            passed += self._on_edge(step.block, self._way(at))
            at += 1
            passed += self._point(self._trace.steps[at].block).passed
        if self._trace.cut and at + 1 >= len(self._trace.steps):
            raise Impossible
        if not isinstance(block.terminator, Branch) or step.choice is None:
            return False
        found = decision_of(block.terminator)
        if found is None or found[:3] != decision[:3]:
            return False
        return found[3] == decision[3] if whole else found[3].startswith(decision[3])

    # -- what the source asks ------------------------------------------------------------------

    def decide(
        self, frame: FrameType, value: Any, line: int, column: int, text: str, *operands: Any
    ) -> bool:
        """The way that a test in `frame` is to go."""
        decision = (file_of(frame), line, column, text)
        return self.ask(frame, bool(value), decision, operands, free=True)

    def ask(
        self,
        frame: FrameType,
        truth: bool,
        decision: Decision,
        operands: Sequence[Any] = (),
        free: bool = False,
    ) -> bool:
        """The way to go at a decision whose condition is `truth` in the source.

        With `free`, the source can go the other way also where the artifact does not decide.
        """
        while True:
            if self._passed:
                if len(self._passed) <= len(self._point(self._block.name).passed):
                    self._arrive()
                # Any other decision than the next that is passed is none that the artifact knows.
                if asked(self._passed[0]) != decision:
                    return truth
                found = self._passed.pop(0)
                if isinstance(found, Either):
                    truth = self._choose(decision, truth) if free else truth
                    self._passed[:0] = self._asked(found.ways[0 if truth else 1])
                return truth
            if not self._is_jump():
                break
            if not self._expects(decision) and self._next_passed() != decision:
                break
            self._jump()
        if not self._expects(decision):
            return truth
        self._arrive()
        step = self._trace.steps[self._at]
        assert step.choice is not None
        if step.truth != truth:
            if not self._is_tie(operands):
                raise self._mismatch(
                    f"`{decision[3]}` is {truth} in the source and {step.truth} in the artifact",
                    hint=_operands(operands),
                )
            self._tally.ties += 1
        way = 0 if step.choice else 1
        self._arriving = (step.block, way) in self._places.edges
        if self._at + 1 < len(self._trace.steps) and not self._arriving:
            self._compare(frame, self._trace.steps[self._at + 1])
        self._go(way)
        return step.choice

    def _next_passed(self) -> Decision | None:
        """The decision that is passed next, past jumps."""
        for at in range(self._at, len(self._trace.steps) - 1):
            block = self._trace.steps[at].block
            if not self._silent(at):
                return None
            passed = (
                *self._on_edge(block, self._way(at)),
                *self._point(self._trace.steps[at + 1].block).passed,
            )
            if passed:
                return asked(passed[0])
        return None

    def _passes(self, decision: Decision) -> bool:
        """Whether the decision that is passed next begins like this one."""
        found = asked(self._passed[0]) if self._passed else self._next_passed()
        return found is not None and (
            found[:3] == decision[:3] and found[3].startswith(decision[3])
        )

    def _is_tie(self, operands: Sequence[Any]) -> bool:
        try:
            left, right = (float(operand) for operand in operands)
        except (TypeError, ValueError, RuntimeError):
            return False
        return abs(left - right) <= self._atol + self._rtol * max(abs(left), abs(right))

    def operand(self, frame: FrameType, value: Any, line: int, column: int, text: str) -> Any:
        """An operand of ``and`` or ``or`` that decides."""
        plain = self.plain(value)
        decision = (file_of(frame), line, column, text)
        truth = self.ask(frame, bool(plain), decision, free=True)
        return Operand(plain, truth)

    @staticmethod
    def plain(value: Any) -> Any:
        """A value without its `Operand`."""
        return value.value if isinstance(value, Operand) else value

    def turns(self, iterable: Any, line: int, column: int, text: str) -> Iterator[Any]:
        """An iterator that asks before each turn."""
        return Turns(self, iterable, line, column, text)

    def item(
        self,
        frame: FrameType,
        container: Any,
        index: Any,
        line: int,
        column: int,
        text: str,
        load: bool,
    ) -> Any:
        """The item, or its position, that the artifact chose by trying one after the other."""
        decision = (file_of(frame), line, column, text)
        if not self._expects(decision, whole=False) and not self._passes(decision):
            return container[index] if load else index
        if isinstance(container, dict):
            keys = [key for key in container if isinstance(key, bool | int | float)]
            chosen = index.item() if isinstance(index, torch.Tensor) else index
        else:
            keys = list(range(len(container)))
            chosen = keys[int(index)]
        for key in keys:
            if self.ask(frame, chosen == key, (*decision[:3], f"{text}{key}")):
                return container[key] if load else key
        raise (KeyError if isinstance(container, dict) else IndexError)(chosen)

    def begin(self, frame: FrameType, line: int, column: int) -> None:
        """A statement, or a turn of a loop, begins."""
        own = len(self._point(self._block.name).passed)
        if self._arriving and len(self._passed) == own:
            if self._try(frame, self._trace.steps[self._at], line, column):
                self._arriving = False
        elif (
            not self._arriving
            and not self._passed
            and self._is_jump()
            and self._try(frame, self._trace.steps[self._at + 1], line, column)
        ):
            self._go(self._way(self._at))

    def _try(self, frame: FrameType, step: Step, line: int, column: int) -> bool:
        """Whether the artifact enters the block of `step` here."""
        loc = self._hcfg.blocks[step.block].loc
        if loc is None or (loc.line, loc.column, loc.file) != (line, column, file_of(frame)):
            return False
        if not self._point(step.block).whole:
            return False
        try:
            self._compare(frame, step)
        except Stop as stop:
            # It may be an earlier pass over the same statement; a later one has to agree.
            self._doubt = self._doubt or stop.error
            return False
        self._doubt = None
        return True

    # -- comparing -----------------------------------------------------------------------------

    def _compare(self, frame: FrameType, step: Step) -> None:
        block = self._hcfg.blocks[step.block]
        point = self._point(step.block)
        frames = locate(frame, point.functions, point.recursive)
        if point.recursive and len(frames) < len(point.functions):
            frames = []
        self._tally.boundaries += 1
        # Counted only if all of it agrees, since a boundary may be tried twice.
        found: list[tuple[float, int]] = []
        unseen = 0
        for param, value in zip(block.params, step.arguments, strict=True):
            path = self._places.values.get(param.name)
            try:
                if path is None:
                    raise Missing
                expected = pick(path, frames, self._module, self.arguments)
                expected = shaped(expected, param, path)
            except Missing:
                unseen += 1
                continue
            try:
                found.append(
                    difference(expected, self._there(value), variable(path), self._rtol, self._atol)
                )
            except MismatchError as error:
                raise self._mismatch(
                    f"variable {error.where}: {error.message}", step.block, error.hint
                ) from None
        for stand in self._places.stands.get(step.block, ()):
            found += self._compare_stand(stand, frames, step)
        self._tally.unseen += unseen
        for gap, elements in found:
            self._tally.add(gap, elements, self.where(step.block))

    def _compare_stand(
        self, stand: Stand, frames: Sequence[FrameType], step: Step
    ) -> list[tuple[float, int]]:
        """A variable of the source and what passes took it for; nothing if it is not there."""
        params = self._hcfg.blocks[step.block].params
        if stand.param is None:
            param, value = _NUMBER, stand.literal
            said = f"passes took it to be {stand.literal!r}"
        else:
            at = [one.name for one in params].index(stand.param)
            param, value = params[at], self._there(step.arguments[at])
            said = f"passes took it to be %{stand.param}"
        try:
            expected = shaped(
                pick(stand.path, frames, self._module, self.arguments), param, stand.path
            )
        except Missing:
            return []
        try:
            return [difference(expected, value, variable(stand.path), self._rtol, self._atol)]
        except MismatchError as error:
            raise self._mismatch(
                f"variable {error.where}: {error.message}; {said}", step.block, error.hint
            ) from None

    def _there(self, value: Any) -> Any:
        """A value of the artifact with torch tensors in it."""
        return tensors(self._program.to_numpy(value))

    def finish(self, outcome: Any, error: Exception | None) -> None:
        """The source has ended: with a result, or by raising.

        Raises
        ------
        Stop
            If the artifact did not end like this.
        """
        if self._trace.cut:
            raise self._mismatch("the source came to its end; the artifact does not")
        there = self._trace.error
        if error is not None and there is not None and not self._trace.raises(self._hcfg):
            return
        while self._is_jump():
            self._jump()
        self._arrive()
        if self._at + 1 < len(self._trace.steps):
            branch = self._block.terminator
            ended = "returned" if error is None else f"raised {type(error).__name__}: {error}"
            raise self._mismatch(
                f"the source {ended} before it decided `{branch.text}` at {branch.loc}"
            )
        if error is not None:
            if there is None:
                raise self._mismatch(
                    f"the source raised {type(error).__name__}: {error}; the artifact returned"
                )
            if self._trace.raises(self._hcfg) and not isinstance(error, type(there)):
                raise self._mismatch(
                    f"the source raised {type(error).__name__}, the artifact {type(there).__name__}"
                )
            return
        if there is not None:
            raise self._mismatch(
                f"the artifact raised {type(there).__name__}: {there}; the source returned"
            )
        try:
            gap, elements = difference(
                outcome, self._trace.result, "result", self._rtol, self._atol
            )
        except MismatchError as problem:
            raise self._mismatch(f"{problem.where}: {problem.message}", hint=problem.hint) from None
        self._tally.add(gap, elements, self.where())


def _operands(operands: Sequence[Any]) -> str | None:
    if len(operands) != 2:
        return None
    left, right = operands
    return f"The two sides are {left!r} and {right!r} in the source."
