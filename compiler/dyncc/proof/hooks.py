"""What the source meets where it asks: operands, loops, and the ways to leave it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Protocol

from dyncc.core.errors import MismatchError
from dyncc.ir.places import Decision


class Impossible(BaseException):
    """The source cannot go where the artifact was led, such as past the last item of a list."""


class Stop(BaseException):
    """Leaves the source at a mismatch; not an `Exception`, which the source might catch."""

    def __init__(self, error: MismatchError) -> None:
        super().__init__(str(error))
        self.error = error


class Operand:
    """An operand of ``and`` or ``or``, whose truth is asked for."""

    def __init__(self, value: Any, truth: bool) -> None:
        self.value = value
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth


class Decider(Protocol):
    """What a loop asks."""

    def begin(self, frame: FrameType, line: int, column: int) -> None:
        """A turn begins."""
        ...

    def ask(self, frame: FrameType, truth: bool, decision: Decision) -> bool:
        """Whether there is another turn."""
        ...


class Turns:
    """The iterator of a loop that asks before each turn."""

    def __init__(self, replay: Decider, iterable: Any, line: int, column: int, text: str) -> None:
        self._replay = replay
        self._place = (line, column, text)
        self._rest = iter(iterable)
        # A range goes on past its end where the artifact's counter does.
        self._beyond = (
            iter(
                range(iterable.start, sys.maxsize * (1 if iterable.step > 0 else -1), iterable.step)
            )
            if isinstance(iterable, range)
            else None
        )

    def __iter__(self) -> Turns:
        return self

    def __next__(self) -> Any:
        frame = sys._getframe(1)
        self._replay.begin(frame, *self._place[:2])
        try:
            item, more = next(self._rest), True
        except StopIteration:
            item, more = None, False
        beyond = None if self._beyond is None else next(self._beyond)
        if not self._replay.ask(frame, more, (file_of(frame), *self._place)):
            raise StopIteration
        if more:
            return item
        if beyond is None:
            raise Impossible
        return beyond


def file_of(frame: FrameType) -> str:
    """The file whose code runs in a frame."""
    return frame.f_code.co_filename
