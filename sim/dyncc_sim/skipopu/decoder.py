"""A decoder that runs on the overlay, simulated or on a board: what the host does around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import (
    R_CONTEXT,
    R_NEXT_SLOT,
    R_POSITION,
    R_SLOT_LIMIT,
    R_TOKENS,
)
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.backends.skipopu.board import Progress, quiet
from dyncc.core.errors import ConfigError, InputError
from dyncc_sim.skipopu.executor import KvCount
from dyncc_sim.skipopu.runners import Ran, Runner, open_runner


@dataclass(frozen=True)
class Speed:
    """Time of some programs: in the model of time, or as a board counted it.

    Attributes
    ----------
    tokens
        That were worked on.
    cycles
        In all.
    clk_hz
        The clock of the instance, or of the board.
    seconds
        At that clock.
    moved_bytes
        Through the memory port.
    bandwidth_used
        The same as a part of what the port could have moved.
    """

    tokens: int
    cycles: int
    clk_hz: int
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
        What runs it: one of `runners.ENGINES`, such as ``serial:/dev/ttyUSB0``, or a runner.
    timed
        Whether the model of time runs beside the simulator.
    progress
        Called while a board is loaded.

    Attributes
    ----------
    position
        Tokens so far.
    slots
        Slots of keys and values that are taken.
    kv
        Keys and values that attention read.

    Raises
    ------
    ConfigError
        If the engine is unknown, or the decoder does not fit the board.
    LinkError
        If a board does not answer, or not as it should.
    """

    def __init__(
        self, overlay: Overlay, engine: str | Runner = "simulator", timed: bool = False,
        progress: Progress = quiet,
    ) -> None:  # fmt: skip
        self.overlay = overlay
        self.position = self.slots = 0
        self.kv = KvCount()
        self._prompt = True
        self._always = numpy.array(
            [
                (layer.router_attention is None, layer.router_mlp is None)
                for layer in overlay.plan.layers
            ]
        )
        self._runs: list[tuple[bool, Ran]] = []
        if isinstance(engine, str):
            engine = open_runner(overlay, engine, timed, progress)
        self._runner = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of a board's line."""
        self._runner.close()

    def reset(self) -> None:
        """Forget all tokens, and what was counted."""
        self.position = self.slots = 0
        self._runs, self.kv = [], KvCount()

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
        overlay = self.overlay
        tokens = numpy.array(batch, "<u4").tobytes()
        self._runner.put(overlay.memory.address("tokens"), tokens)
        registers = {
            R_TOKENS: len(batch),
            R_POSITION: self.position,
            R_CONTEXT: overlay.plan.context,
            R_SLOT_LIMIT: overlay.memory.slots,
            R_NEXT_SLOT: self.slots,
        }
        ran = self._runner.run(name, registers)
        self._runs.append((self._prompt, ran))
        self.slots = ran.next_slot
        self.position += len(batch)
        self.kv.resident += ran.resident
        self.kv.fetched += ran.fetched

    def _numbers(self, region: str, count: int) -> NDArray[numpy.float32]:
        found = self._runner.get(self.overlay.memory.address(region), 4 * count)
        return found.view("<f4")

    # --- what it did --------------------------------------------------------------------------

    @property
    def told(self) -> bool:
        """Whether it is known which sublayers ran; a board does not tell."""
        return all(ran.routes is not None for _, ran in self._runs)

    @property
    def ran(self) -> NDArray[numpy.bool_]:
        """Which sublayers ran: bool of shape (tokens, layers, 2), attention and MLP.

        Raises
        ------
        ConfigError
            If that is not known.
        """
        found = [numpy.ones((0, *self._always.shape), bool)]
        for _, ran in self._runs:
            if ran.routes is None:
                raise ConfigError("a board does not tell which sublayers ran")
            # What has no router of its own runs, whatever A and M say.
            found.append(ran.routes.transpose(2, 0, 1) | self._always)
        return numpy.concatenate(found)

    def skip_rates(self) -> NDArray[numpy.float64]:
        """Part of the tokens that skipped a sublayer: shape (layers, 2); needs tokens."""
        rates: NDArray[numpy.float64] = 1 - self.ran.mean(axis=0)
        return rates

    def speed(self, prompt: bool) -> Speed | None:
        """Time of the first tokens that were given, or of those after; None if there were none.

        Needs ``timed``, or a board.
        """
        cycles, tokens, moved = 0.0, 0, 0
        for first, ran in self._runs:
            if first == prompt and ran.cycles is not None:
                cycles, tokens, moved = cycles + ran.cycles, tokens + ran.tokens, moved + ran.moved
        if not cycles:
            return None
        clk_hz = self._runner.clk_hz
        used = moved / (cycles * self.overlay.arch.memory_bytes_per_cycle)
        return Speed(tokens, round(cycles), clk_hz, cycles / clk_hz, moved, used)
