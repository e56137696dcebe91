"""What runs a decoder's programs: the simulator, or a board at the other end of a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.csr import Place, State
from dyncc.arch.skipopu.isa import INSTRUCTION_BITS, R_NEXT_SLOT, R_TOKENS, Op
from dyncc.arch.skipopu.packets import MAX_WORDS
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.backends.skipopu.board import Board, Progress, quiet
from dyncc.core.errors import ConfigError, LinkError
from dyncc.link import SERIAL, DirectTransport, SerialTransport, Transport, serial_port
from dyncc_sim.skipopu.controls import Controls
from dyncc_sim.skipopu.device import DeviceTwin
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.outcomes import Computed
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.timing import simulate
from dyncc_sim.skipopu.trace import Trace

#: What is asked for by a name, and what is said of it.
ENGINES = {
    "simulator": "the bit-exact simulator (the default)",
    "link": "the twin of a board, spoken to as one over a line",
    "serial:PORT[@BAUD]": "a board at a serial port; 1000000 baud unless said",
}
#: Programs begin at multiples of this.
_ALIGNMENT = 64
#: Cycles that memory of a board may take for an answer.
_WATCHDOG = 1 << 20
#: Seconds between two looks at a board that is at work, at first and at most.
_LOOKS = (0.0005, 0.02)


@dataclass(frozen=True)
class Ran:
    """What a program did.

    Attributes
    ----------
    tokens
        Of the batch.
    next_slot
        First slot that is free after it.
    routes
        A and M of each layer, bool of shape (layers, 2, tokens); None if it is not known.
    cycles
        Cycles, of the model of time or of the board; None if nobody counted.
    moved
        Bytes that went through the memory port in these.
    resident, fetched
        Slots that attention read: those that were on chip, and the others.
    """

    tokens: int
    next_slot: int
    routes: NDArray[numpy.bool_] | None
    cycles: float | None
    moved: int
    resident: int
    fetched: int


class Runner(Protocol):
    """Memory with a decoder in it, and what runs its programs.

    Attributes
    ----------
    clk_hz
        Clock; cycles of `Ran` are those of it.
    """

    clk_hz: int

    def put(self, address: int, content: bytes) -> None:
        """Write memory."""

    def get(self, address: int, count: int) -> NDArray[numpy.uint8]:
        """Read memory."""

    def run(self, name: str, registers: Mapping[int, int]) -> Ran:
        """Run a program of the decoder; raises TrapError if it is stopped."""

    def close(self) -> None:
        """Let go of whatever it holds."""


class _RouteLog(Trace):
    """Predicates that each layer's `Op.ROUTE` set."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[NDArray[numpy.bool_]] = []

    def add(self, work: Work, written: Any) -> None:
        """Keep what a ROUTE wrote, but for its scalar: A and M of each token."""
        if work.instruction.op == Op.ROUTE:
            self.layers.append(written[1:].astype(bool))


class SimulatorRunner:
    """The bit-exact simulator.

    Parameters
    ----------
    overlay
        The decoder.
    timed
        Whether the model of time runs beside it.
    """

    def __init__(self, overlay: Overlay, timed: bool = False) -> None:
        self._overlay, self._timed = overlay, timed
        self.clk_hz = overlay.arch.clk_hz
        self._memory = Memory(overlay.memory.size, overlay.memory.writable)
        self._memory.load(overlay.image_address, overlay.image)
        self._machine = Machine(overlay.arch, self._memory)

    def put(self, address: int, content: bytes) -> None:
        """Write memory."""
        self._memory.load(address, content)

    def get(self, address: int, count: int) -> NDArray[numpy.uint8]:
        """Read memory."""
        return self._memory.content[address : address + count]

    def run(self, name: str, registers: Mapping[int, int]) -> Ran:
        """Run a program."""
        machine, program = self._machine, self._overlay.programs[name]
        executor, log, given = machine.executor, _RouteLog(), dict(registers)
        kv, cycles, moved = executor.kv, None, 0
        resident, fetched = kv.resident, kv.fetched
        if self._timed:
            timing = simulate(self._overlay.arch, program, given, Computed(executor, log))
            left, cycles = timing.registers, timing.cycles
            moved = timing.bytes_read + timing.bytes_written
        else:
            machine.trace = log
            left = machine.run(program, given)
        return Ran(
            given[R_TOKENS], left[R_NEXT_SLOT], numpy.stack(log.layers), cycles, moved,
            kv.resident - resident, kv.fetched - fetched,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


class BoardRunner:
    """A board, into which the decoder is loaded.

    Parameters
    ----------
    overlay
        The decoder.
    transport
        The line to the board.
    progress
        Called while it is loaded.

    Raises
    ------
    ConfigError
        If the board is another instance, or its memory too small; before anything is written.
    LinkError
        If the board does not answer, or its memory does not hold what was written.
    """

    def __init__(self, overlay: Overlay, transport: Transport, progress: Progress = quiet) -> None:
        programs, self._programs = _programs(overlay)
        first = min(base for base, _ in self._programs.values())
        size = first + programs.size
        self.board = Board(transport, progress)
        try:
            self.board.check_size(overlay.name, overlay.arch, size)
            self.clk_hz = self.board.info["clk_hz"]
            self._controls = Controls(self.board)
            state = self._controls.state()
            if state in (State.STARTING, State.RUNNING):
                raise ConfigError(
                    "the board runs a program already",
                    where=self.board.name,
                    hint="Wait until it has ended, or reset the board.",
                )
            self.board.load(overlay.image_address, overlay.image)
            self.board.load(first, programs, "loading programs")
            windows = [(part.start, part.stop) for part in overlay.memory.writable]
            self._controls.configure(size, windows, _WATCHDOG)
            self.board.settle()
        except BaseException:
            self.close()
            raise
        #: Nothing that is on the board's chip is of what was loaded.
        self._forget = True

    def put(self, address: int, content: bytes) -> None:
        """Write memory."""
        self.board.put(address, content)

    def get(self, address: int, count: int) -> NDArray[numpy.uint8]:
        """Read memory."""
        return self.board.get(address, count)

    def run(self, name: str, registers: Mapping[int, int]) -> Ran:
        """Run a program, and wait for its end."""
        controls, session = self._controls, self.board.session
        base, length = self._programs[name]
        controls.start(base, length, registers, self._forget)
        self._forget = False
        pause = _LOOKS[0]
        while (state := controls.state()) != State.HALTED:
            if state == State.TRAPPED:
                controls.ended()
            if state == State.IDLE:
                raise LinkError(
                    "the board forgot its program", where=self.board.name,
                    hint="It was reset. Load the model again.",
                )  # fmt: skip
            session.pause(pause)
            pause = min(2 * pause, _LOOKS[1])
        counted = self._counters()
        moved = sum(counted[f"{client}_bytes"] for client in csr.CLIENTS)
        return Ran(
            registers[R_TOKENS], controls.register(R_NEXT_SLOT), None, counted["cycles"] or None,
            moved, counted["resident"], counted["fetched"],
        )  # fmt: skip

    def _counters(self) -> dict[str, int]:
        """All counters, with as few requests as will do."""
        first, count = 2 * Place.COUNTERS, 2 * len(csr.COUNTERS)
        step = MAX_WORDS - MAX_WORDS % 2
        words: list[int] = []
        for start in range(0, count, step):
            words += self.board.words(first + start, min(step, count - start))
        pairs = zip(csr.COUNTERS, words[::2], words[1::2], strict=True)
        return {item.name: low | high << csr.WORD_BITS for item, low, high in pairs}

    def close(self) -> None:
        """Let go of the line."""
        self.board.close()


def _programs(overlay: Overlay) -> tuple[NDArray[numpy.uint8], dict[str, tuple[int, int]]]:
    """Programs for behind the memory map: bytes, and address and instructions of each."""
    end = -(-overlay.memory.size // _ALIGNMENT) * _ALIGNMENT
    parts, places = [], {}
    for name, words in overlay.programs.items():
        places[name] = (end, len(words))
        size = -(-len(words) * INSTRUCTION_BITS // 8 // _ALIGNMENT) * _ALIGNMENT
        part = numpy.zeros(size, numpy.uint8)
        part[: 8 * len(words)] = numpy.array(words, "<u8").view(numpy.uint8)
        parts.append(part)
        end += size
    return numpy.concatenate(parts), places


def twin_of_a_board(overlay: Overlay, memory_bytes: int | None = None) -> Transport:
    """A line to the twin of a board for a decoder.

    Parameters
    ----------
    memory_bytes
        Of its memory; as much as the decoder needs if not said.
    """
    if memory_bytes is None:
        programs, places = _programs(overlay)
        memory_bytes = min(base for base, _ in places.values()) + programs.size
    device = DeviceTwin(overlay.arch, memory_bytes)

    def receive(content: bytes) -> bytes:
        answers = device.receive(content)
        device.advance()
        return answers

    return DirectTransport(receive, "twin of a board")


def open_runner(
    overlay: Overlay, engine: str, timed: bool = False, progress: Progress = quiet
) -> Runner:
    """What runs a decoder.

    Parameters
    ----------
    engine
        One of `ENGINES`.
    timed
        Whether the model of time runs beside the simulator.
    progress
        Called while a board is loaded.

    Raises
    ------
    ConfigError
        If there is no such engine or port, or the decoder does not fit the board.
    LinkError
        If the board does not answer, or not as it should.
    """
    if engine.startswith(SERIAL):
        return BoardRunner(overlay, SerialTransport(*serial_port(engine)), progress)
    known: dict[str, Callable[[], Runner]] = {
        "simulator": lambda: SimulatorRunner(overlay, timed),
        "link": lambda: BoardRunner(overlay, twin_of_a_board(overlay), progress),
    }
    if engine not in known:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    return known[engine]()
