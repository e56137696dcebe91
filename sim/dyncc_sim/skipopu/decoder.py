"""A decoder that runs on the simulated overlay: what the host does around its programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import (
    R_CONTEXT,
    R_NEXT_SLOT,
    R_POSITION,
    R_SLOT_LIMIT,
    R_TOKENS,
    Op,
)
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.core.errors import ConfigError, InputError
from dyncc_sim.skipopu.executor import KvCount
from dyncc_sim.skipopu.machine import Machine
from dyncc_sim.skipopu.memory import Memory
from dyncc_sim.skipopu.outcomes import Computed
from dyncc_sim.skipopu.sequencer import Work
from dyncc_sim.skipopu.timing import Timing, simulate
from dyncc_sim.skipopu.trace import Trace

ENGINES = ("simulator",)


class _RouteLog(Trace):
    """Predicates that each layer's `Op.ROUTE` set."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[NDArray[numpy.bool_]] = []

    def add(self, work: Work, written: Any) -> None:
        """Keep what a ROUTE wrote, but for its scalar: A and M of each token."""
        if work.instruction.op == Op.ROUTE:
            self.layers.append(written[1:].astype(bool))


@dataclass(frozen=True)
class Speed:
    """Time of some programs in the model of time.

    Attributes
    ----------
    tokens
        That were worked on.
    cycles
        In all.
    seconds
        At the clock of the instance.
    moved_bytes
        Through the memory port.
    bandwidth_used
        The same as a part of what the port could have moved.
    """

    tokens: int
    cycles: int
    seconds: float
    moved_bytes: int
    bandwidth_used: float

    @property
    def tokens_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


class Decoder:
    """A decoder with the keys and values of the tokens so far.

    Parameters
    ----------
    overlay
        What was compiled.
    engine
        ``simulator``, the only one so far.
    timed
        Whether the model of time runs beside it.

    Attributes
    ----------
    position
        Tokens so far.
    slots
        Slots of keys and values that are taken.

    Raises
    ------
    ConfigError
        If the engine is unknown.
    """

    def __init__(self, overlay: Overlay, engine: str = "simulator", timed: bool = False) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
        self.overlay = overlay
        self.position = self.slots = 0
        self._prompt = True
        places = overlay.memory
        self._memory = Memory(places.size, places.writable)
        self._memory.load(overlay.image_address, overlay.image)
        self._machine = Machine(overlay.arch, self._memory)
        self._timed = timed
        self._always = numpy.array(
            [
                (layer.router_attention is None, layer.router_mlp is None)
                for layer in overlay.plan.layers
            ]
        )
        self._ran: list[NDArray[numpy.bool_]] = []
        #: Of each program, and whether it was one of a prompt: of the first call.
        self._times: list[tuple[bool, Timing]] = []

    def reset(self) -> None:
        """Forget all tokens, and what was counted."""
        self.position = self.slots = 0
        self._ran, self._times = [], []
        self._machine.executor.kv = KvCount()

    # --- running ------------------------------------------------------------------------------

    def feed(self, tokens: Sequence[int]) -> int:
        """Work on tokens, in batches as large as the instance takes.

        Returns
        -------
        int
            The most likely token after the last.

        Raises
        ------
        InputError
            If there are none, one is not in the vocabulary, or the context is too short.
        TrapError
            If the program is stopped, for example because all slots are taken.
        """
        best = 0
        for batch in self._batches(tokens):
            self._run("token", batch)
            pairs = self._numbers("result", 2 * len(batch))
            best = int(pairs[-1])
        return best

    def logits(self, tokens: Sequence[int]) -> NDArray[numpy.float32]:
        """Work on tokens as `feed` does; logits after each, float32 (tokens, vocabulary)."""
        vocabulary = self.overlay.plan.vocabulary
        found = []
        for batch in self._batches(tokens):
            self._run("logits", batch)
            numbers = self._numbers("logits", len(batch) * vocabulary)
            found.append(numbers.reshape(-1, vocabulary).copy())
        return numpy.concatenate(found)

    def generate(self, prompt: Sequence[int], count: int, end: int | None = None) -> Iterator[int]:
        """Tokens that follow a prompt, the most likely each time.

        Parameters
        ----------
        count
            Most tokens.
        end
            The token that ends the text; it is not given.

        Raises
        ------
        InputError
            Before anything runs, if the context is too short for all of them.
        """
        # The last token that is given is not worked on.
        self._check_room(len(prompt) + max(0, count - 1))
        return self._generate(prompt, count, end)

    def _generate(self, prompt: Sequence[int], count: int, end: int | None) -> Iterator[int]:
        feed = prompt
        for _ in range(count):
            token = self.feed(feed)
            if token == end:
                return
            yield token
            feed = (token,)

    def _batches(self, tokens: Sequence[int]) -> Iterator[list[int]]:
        vocabulary = self.overlay.plan.vocabulary
        if not len(tokens):
            raise InputError("there are no tokens to work on")
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise InputError(f"there is no token {token} in a vocabulary of {vocabulary}")
        self._check_room(len(tokens))
        self._prompt = self.position == 0
        size = self.overlay.arch.tokens
        for first in range(0, len(tokens), size):
            yield [int(token) for token in tokens[first : first + size]]

    def _check_room(self, count: int) -> None:
        context = self.overlay.plan.context
        if self.position + count > context:
            before = f" after {self.position}" if self.position else ""
            raise InputError(
                f"{count} tokens{before} need {self.position + count} positions, and the context "
                f"of the decoder is {context}",
                hint="Ask for fewer tokens, or compile the model with a longer context.",
            )

    def _run(self, name: str, batch: list[int]) -> None:
        overlay, executor = self.overlay, self._machine.executor
        self._memory.load(overlay.memory.address("tokens"), numpy.array(batch, "<u4").tobytes())
        registers = {
            R_TOKENS: len(batch),
            R_POSITION: self.position,
            R_CONTEXT: overlay.plan.context,
            R_SLOT_LIMIT: overlay.memory.slots,
            R_NEXT_SLOT: self.slots,
        }
        log, program = _RouteLog(), overlay.programs[name]
        if self._timed:
            timing = simulate(overlay.arch, program, registers, Computed(executor, log))
            self._times.append((self._prompt, timing))
            left = timing.registers
        else:
            self._machine.trace = log
            left = self._machine.run(program, registers)
        self.slots = left[R_NEXT_SLOT]
        self.position += len(batch)
        # From (layers, 2, tokens). What has no router of its own runs, whatever A and M say.
        self._ran.append(numpy.stack(log.layers).transpose(2, 0, 1) | self._always)

    def _numbers(self, region: str, count: int) -> NDArray[numpy.float32]:
        first = self.overlay.memory.address(region)
        return self._memory.content[first : first + 4 * count].view("<f4")

    # --- what it did --------------------------------------------------------------------------

    @property
    def ran(self) -> NDArray[numpy.bool_]:
        """Which sublayers ran: bool of shape (tokens, layers, 2), attention and MLP."""
        layers = len(self.overlay.plan.layers)
        return numpy.concatenate([numpy.ones((0, layers, 2), bool), *self._ran])

    def skip_rates(self) -> NDArray[numpy.float64]:
        """Part of the tokens that skipped a sublayer: shape (layers, 2); needs tokens."""
        rates: NDArray[numpy.float64] = 1 - self.ran.mean(axis=0)
        return rates

    @property
    def kv(self) -> KvCount:
        """Keys and values that attention read."""
        return self._machine.executor.kv

    def speed(self, prompt: bool) -> Speed | None:
        """Time of the first tokens that were given, or of those after; None if there were none.

        Needs ``timed``.
        """
        times = [timing for first, timing in self._times if first == prompt]
        if not times:
            return None
        cycles = sum(item.cycles for item in times)
        moved = sum(item.bytes_read + item.bytes_written for item in times)
        arch = self.overlay.arch
        return Speed(
            sum(item.tokens for item in times), round(cycles), cycles / arch.clk_hz, moved,
            moved / (cycles * arch.memory_bytes_per_cycle),
        )  # fmt: skip
