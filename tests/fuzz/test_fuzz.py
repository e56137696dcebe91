"""Random programs: compiled and eager PyTorch agree on every path."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.checking import check
from fuzz.programs import programs
from hypothesis import HealthCheck, Phase, given, note, seed, settings

from dyncc.core.errors import UnsupportedError

#: What may be refused: constructs, as the diagnostics call them.
REFUSED = (
    r"the operator `add`",
    r"a sequence whose length depends on data",
    r"an in-place change of a tensor that was passed on by value",
    r"a list built in a loop whose length depends on data",
    r"a tensor whose shape depends on data",
    r"a list whose length depends on data",
    r"`.*` inside of `try`",
    r"this statement",
)
#: At most this part of all programs.
REFUSED_RATE = 0.12


class Tally:
    """Counts what became of the programs of one test."""

    def __init__(self) -> None:
        self.programs = self.refused = self.edges = self.taken = self.values = 0

    def add(self, source: str, folder: Path, backend: str) -> None:
        """Check one program."""
        note(source)
        found = check(source, folder, backend)
        self.programs += 1
        if isinstance(found, UnsupportedError):
            self.refused += 1
            for problem in found.diagnostics:
                assert any(re.match(known, problem.construct) for known in REFUSED), problem
            return
        self.edges += len(found.edges)
        self.taken += found.taken()
        self.values += found.natural.tally.values + found.forced.tally.values

    def conclude(self, least: int) -> None:
        """That enough was compared, and little refused."""
        assert self.programs >= least
        assert self.refused <= REFUSED_RATE * self.programs + 1
        # Edges of max() with a key, say, are taken by fitting data only.
        assert self.taken >= 0.9 * self.edges > self.programs
        assert self.values > 20 * self.programs


def fuzz(folder: Path, count: int, start: int, backend: str = "eager") -> None:
    """Check `count` programs."""
    tally = Tally()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(programs())
    def run(source: str) -> None:
        tally.add(source, folder, backend)

    checked: Callable[[], None] = run
    checked()
    tally.conclude(count * 4 // 5)


def test_random_programs(tmp_path: Path) -> None:
    fuzz(tmp_path, 200, 1)


def test_random_programs_with_tvm(tmp_path: Path) -> None:
    fuzz(tmp_path, 4, 2, "tvm")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10))
def test_ten_thousand_random_programs(tmp_path: Path, start: int) -> None:
    fuzz(tmp_path, 1000, 100 + start)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "corpus").glob("*.txt")), ids=lambda path: path.stem
)
def test_programs_that_once_failed(path: Path, tmp_path: Path) -> None:
    assert not isinstance(check(path.read_text(), tmp_path), UnsupportedError)
