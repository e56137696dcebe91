"""Attention in the place of the PE engine: asks for tiles, reads and compares them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dyncc.arch.skipopu.isa import ATTENTION_TILE
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc_hw.skipopu.interfaces import attention_request_layout
from dyncc_hw.skipopu.kv.scan import tile_layout
from dyncc_hw.skipopu.kv.store import KvShape
from dyncc_sim.pins import Coverage
from dyncc_sim.skipopu.bench.kv_pins import Pins, members
from dyncc_sim.skipopu.bench.rig import packed


@dataclass
class Expected:
    """What attention has to find.

    Attributes
    ----------
    request
        By members.
    present
        Of each position.
    words
        Numbers of a word of a place, and their exponent, by position and word; what words there
        are.
    """

    request: dict[str, int]
    present: Any
    words: Callable[[int, int], tuple[list[int], int]]
    which: list[int]
    trap: int = 0


class Attention(Pins):
    """Asks for tiles, reads all words of them, takes them; compares."""

    def __init__(
        self, dut: Any, draw: random.Random, steady: bool, arch: ArchSpec, coverage: Coverage
    ) -> None:
        super().__init__(dut, "history", draw, steady)
        self._shape, self._arch, self._coverage = KvShape(arch), arch, coverage
        self._asks, self._reads = self.stalls(), self.stalls()
        self.expected: Expected | None = None
        self._asked = self._offers = False
        self._todo: deque[int] | None = None
        self._shown: tuple[int, int] | None = None
        self._seen: tuple[int, int] | None = None
        self._tile = 0
        self._group = 0
        self._takes = False
        #: Whether all words are read, or none.
        self.reads_words = True
        self.trap = 0
        self.restart()

    @property
    def busy(self) -> bool:
        """Whether there is a request, not all of whose tiles were taken."""
        return self.expected is not None

    def restart(self) -> None:
        """Nothing is on its way."""
        super().restart()
        self.expected, self._todo, self._shown = None, None, None
        self._asked = self._offers = False
        for name in ("request__valid", "tile__ready", "enable"):
            self.put(name, 0)

    def start(self, expected: Expected) -> None:
        """Give it a request."""
        self.expected, self._asked, self._tile, self.trap = expected, False, 0, 0

    def ask_for(self, **values: int) -> None:
        """Other members of the request than what is expected says."""
        assert self.expected is not None
        self.expected.request.update(values)

    def drive(self) -> None:
        """Inputs of the next cycle."""
        expected = self.expected
        if not self._offers:
            self._offers = expected is not None and not self._asked and self._asks.goes()
            self.put("request__valid", self._offers)
            if self._offers and expected is not None:
                self.put("request__payload", packed(attention_request_layout(), expected.request))
            else:
                self.garbage("request__payload")
        reads = bool(self._todo) and self._reads.goes()
        self.put("enable", reads)
        self._reading: int | None = None
        if reads and self._todo:
            self._reading = self._todo.popleft()
            self.put("group", self._group)
            self.put("word", self._reading)
        else:
            self.garbage("group")
            self.garbage("word")
        self._takes = self._todo is not None and not self._todo and not reads
        self._takes = self._takes and self._reads.goes()
        self.put("tile__ready", self._takes)

    def look(self) -> None:
        """What happens in this cycle."""
        if self._shown is not None:
            self._compare(*self._shown)
        if self._offers and self.get("request__ready"):
            self._asked, self._offers = True, False
        word = self.offered("tile", self._takes)
        if word is not None:
            tile = members(tile_layout(self._shape), word)
            if self._takes:
                self._take(tile)
            elif self._todo is None:
                self._begin(tile)
        else:
            assert not self._takes
        if self._reading is not None:
            self._shown, self._seen = (self._tile, self._reading), None

    def _begin(self, tile: dict[str, int]) -> None:
        expected = self.expected
        assert expected is not None, "a tile that nobody asked for"
        self._coverage["tiles"] += 1
        if tile["trap"]:
            assert tile["last"], "a trap that is not the last tile"
            self.trap = tile["trap"]
            self._todo, self._shown = deque(), (-1, 0)
            return
        first = self._tile * ATTENTION_TILE
        present = expected.present[first : first + ATTENTION_TILE]
        wanted = sum(int(bit) << number for number, bit in enumerate(present))
        assert tile["present"] == wanted, (
            f"tile {self._tile}: {tile['present']:#x}, not {wanted:#x}"
        )
        last = first + ATTENTION_TILE >= len(expected.present)
        assert tile["last"] == last, f"tile {self._tile}: last is {tile['last']}"
        self._group = tile["group"]
        which = expected.which if self.reads_words else []
        self._todo = deque(self.random.sample(which, len(which)))
        self._coverage["beyond the history"] += first >= self._arch.kv_tokens
        self._coverage["empty tile"] += wanted == 0

    def _compare(self, tile: int, word: int) -> None:
        expected = self.expected
        if tile < 0 or expected is None:
            return
        mantissas, exponents = self.get("mantissas"), self.get("exponents")
        if self._seen is not None:
            assert self._seen == (mantissas, exponents), "what was read changed"
            return
        self._seen = mantissas, exponents
        bits, columns = self._arch.mantissa_bits, self._arch.columns
        for place in range(ATTENTION_TILE):
            position = tile * ATTENTION_TILE + place
            if position >= len(expected.present) or not expected.present[position]:
                continue
            numbers, exponent = expected.words(position, word)
            found = mantissas >> place * columns * bits
            for column, number in enumerate(numbers):
                value = found >> column * bits & ((1 << bits) - 1)
                wanted = number & ((1 << bits) - 1)
                assert value == wanted, (
                    f"position {position} word {word} column {column}: {value:#x}, not {wanted:#x}"
                )
            value = exponents >> 11 * place & 0x7FF
            assert value == exponent & 0x7FF, (
                f"position {position} word {word}: exponent {value:#x}, not {exponent}"
            )
            self._coverage["words compared"] += 1

    def _take(self, tile: dict[str, int]) -> None:
        self._todo, self._shown = None, None
        self._tile += 1
        if tile["last"]:
            self.expected = None
