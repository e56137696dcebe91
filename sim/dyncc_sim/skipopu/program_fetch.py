"""When the words of a program come in, as `dyncc_hw.skipopu.control.fetch` asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dyncc.arch.skipopu.isa import INSTRUCTION_BITS
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_sim.skipopu.flow import Events, Source
from dyncc_sim.skipopu.port import Port

_WORD_BYTES = INSTRUCTION_BITS // 8
#: Instructions of a request, and of the buffer.
_REQUEST, _BUFFER = 8, 16
#: Cycles from a start or jump to its request, and from a word's arrival to its decoder.
_BEFORE, _AFTER = 3, 2


class ProgramFetch:
    """Asks for a program's words ahead.

    Parameters
    ----------
    length
        Instructions of the program.
    """

    def __init__(self, arch: ArchSpec, events: Events, port: Port, length: int) -> None:
        self._events, self._port, self._length = events, port, length
        self._word_cycles = _WORD_BYTES / arch.memory_bytes_per_cycle
        self._following = 0
        self._expected = 0
        self._owed = self._begun = False
        #: Times at which words that were asked for are there.
        self._times: deque[float] = deque()
        self._waiting: Callable[[], None] | None = None
        #: Requests before the last jump do not count.
        self._epoch = 0

    def take(self, number: int, then: Callable[[], None]) -> None:
        """Call when an instruction is there, at this time or later."""
        if number >= self._length:
            self._events.at(self._events.now, then)
            return
        if not self._begun or number != self._expected:
            self._jump(number)
        self._expected = number + 1
        self._waiting = then
        self._give()

    def _jump(self, target: int) -> None:
        self._begun, self._following, self._owed = True, target, False
        self._epoch += 1
        self._times.clear()
        self._events.at(self._events.now + _BEFORE, self._ask)

    def _ask(self) -> None:
        count = min(_REQUEST, self._length - self._following)
        if self._owed or count <= 0 or len(self._times) > _BUFFER - _REQUEST:
            return
        self._owed, epoch = True, self._epoch
        self._following += count

        def arrives(first: float) -> None:
            if epoch == self._epoch:
                self._times.extend(
                    first + (word + 1) * self._word_cycles + _AFTER for word in range(count)
                )
                self._give()

        def ended(time: float) -> None:
            self._events.at(time, lambda: self._ended(epoch))

        self._port.read(Source.PROGRAM, count * _WORD_BYTES, ended, first=arrives)

    def _ended(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._owed = False
            self._ask()

    def _give(self) -> None:
        if self._waiting is not None and self._times:
            then, self._waiting = self._waiting, None
            self._events.at(self._times.popleft(), then)
            self._ask()
