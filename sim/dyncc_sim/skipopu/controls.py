"""A host's side of the control and status registers of SkipOPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dyncc.arch.fields import pack, unpack
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.csr import Place, State
from dyncc.arch.skipopu.isa import REGISTER_BITS, RESERVED, Engine, Op, Trap
from dyncc.core.errors import ConfigError, ToolError
from dyncc_sim.skipopu.trap import TrapError

_WORD = (1 << csr.WORD_BITS) - 1


class Words(Protocol):
    """What reaches the words of the registers, by their numbers: a bus, a bridge, a simulation."""

    def read(self, address: int) -> int:
        """A word."""

    def write(self, address: int, value: int) -> None:
        """Write a word."""


@dataclass(frozen=True)
class EngineState:
    """What an engine does: its instruction, if it is `busy`, and how many more are `waiting`."""

    busy: bool
    suppressed: bool
    starved: bool
    op: Op
    pc: int
    waiting: int

    def text(self) -> str:
        """In words; empty if it does nothing."""
        parts = []
        if self.busy:
            text = f"works on {self.op.name} of {self.pc}"
            parts.append(text + (", suppressed" if self.suppressed else ""))
        if self.starved:
            parts.append("waits for rows, or room for them")
        if self.waiting:
            parts.append(f"{self.waiting} queued")
        return ", ".join(parts)


@dataclass(frozen=True)
class Status:
    """What a machine does.

    Attributes
    ----------
    state, trap, pc
        And why and where it was stopped.
    semaphores
        What they hold.
    engines
        What each does.
    """

    state: State
    trap: Trap
    pc: int
    semaphores: tuple[int, ...]
    engines: Mapping[Engine, EngineState]

    def error(self) -> TrapError | None:
        """The error of a program that was stopped, as the simulator tells it; else None."""
        if self.state != State.TRAPPED:
            return None
        texts = [f"semaphores {list(self.semaphores)}"]
        for engine, state in self.engines.items():
            if text := state.text():
                texts.append(f"{engine.name}: {text}")
        return TrapError(self.trap, self.pc, self.trap.meaning, "; ".join(texts))


class Controls:
    """Reads and writes the registers of a machine.

    Parameters
    ----------
    words
        What reaches them.

    Raises
    ------
    ToolError
        If there is something else.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        found = self._read(Place.IDENTITY)
        if found != csr.IDENTITY:
            raise ToolError(f"no SkipOPU answers: its registers begin with {found:#018x}")

    def configure(
        self, memory_bytes: int, windows: Sequence[tuple[int, int]], watchdog: int = 0
    ) -> None:
        """Tell the machine what memory there is.

        Parameters
        ----------
        memory_bytes
            Its size.
        windows
            What programs may write: first address, and the one behind the last.
        watchdog
            Cycles that memory may take for an answer; 0 for any.

        Raises
        ------
        ConfigError
            If there are too many windows, or a number has too many bits.
        """
        if len(windows) > csr.WINDOWS:
            raise ConfigError(f"there are {csr.WINDOWS} windows, not {len(windows)}")
        self._write(Place.MEMORY_BYTES, memory_bytes)
        self._write(Place.WATCHDOG, watchdog)
        for index in range(csr.WINDOWS):
            start, end = windows[index] if index < len(windows) else (0, 0)
            self._write(Place.WINDOWS + 2 * index, start)
            self._write(Place.WINDOWS + 2 * index + 1, end)

    def start(
        self, base: int, length: int, registers: Mapping[int, int], forget: bool = False
    ) -> None:
        """Start a program.

        Parameters
        ----------
        base, length
            Its even address, and its instructions.
        registers
            What `RESERVED` registers hold; others begin with 0.
        forget
            Whether keys and values in memory were changed from outside.

        Raises
        ------
        ConfigError
            If a program runs already, a register is not one of these, or a number is too large.
        """
        if self.state() in (State.STARTING, State.RUNNING):
            raise ConfigError("a program runs already", hint="Wait until it has ended.")
        if unknown := registers.keys() - RESERVED.keys():
            raise ConfigError(f"R{min(unknown)} cannot be given to a program; it begins with 0")
        if base % 2:
            raise ConfigError(f"a program has an even address, not {base:#x}")
        for number in RESERVED:
            self._write(Place.REGISTERS + number, registers.get(number, 0), REGISTER_BITS)
        self._write(Place.BASE, base)
        self._write(Place.LENGTH, length)
        self._words.write(2 * Place.CONTROL, pack(csr.CONTROL, {"start": 1, "forget": forget}))

    def state(self) -> State:
        """What the machine does."""
        return State(unpack(csr.STATUS, self._words.read(2 * Place.STATUS))["state"])

    def status(self) -> Status:
        """All that is known about what it does; of one moment only while no program runs."""
        status = unpack(csr.STATUS, self._read(Place.STATUS))
        semaphores = unpack(csr.SEMAPHORE_COUNTS, self._read(Place.SEMAPHORES))
        engines: dict[Engine, EngineState] = {}
        for index, engine in enumerate(csr.WORKERS):
            found = unpack(csr.ENGINE, self._read(Place.ENGINES + index))
            engines[engine] = EngineState(
                bool(found["busy"]), bool(found["suppressed"]), bool(found["starved"]),
                Op(found["op"]), found["pc"], found["waiting"],
            )  # fmt: skip
        return Status(
            State(status["state"]), Trap(status["trap"]), status["pc"],
            tuple(semaphores.values()), engines,
        )  # fmt: skip

    def ended(self) -> bool:
        """Whether the program has ended.

        Raises
        ------
        TrapError
            If it was stopped.
        """
        if self.state() == State.TRAPPED:
            error = self.status().error()
            assert error is not None
            raise error
        return self.state() == State.HALTED

    def register(self, number: int) -> int:
        """A register of the machine; while a program runs, anything."""
        return self._read(Place.REGISTERS + number)

    def counters(self) -> dict[str, int]:
        """Counters by name, see `dyncc.arch.skipopu.csr.COUNTERS`."""
        return {
            item.name: self._read(Place.COUNTERS + index) for index, item in enumerate(csr.COUNTERS)
        }

    def _read(self, number: int) -> int:
        lower = self._words.read(2 * number)
        return lower | self._words.read(2 * number + 1) << csr.WORD_BITS

    def _write(self, number: int, value: int, bits: int | None = None) -> None:
        bits = csr.WRITABLE[number] if bits is None else bits
        if not 0 <= value < 1 << bits:
            raise ConfigError(f"{value} does not fit the {bits} bits of register {number}")
        self._words.write(2 * number, value & _WORD)
        if bits > csr.WORD_BITS:
            self._words.write(2 * number + 1, value >> csr.WORD_BITS)
