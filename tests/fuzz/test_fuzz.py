"""Random programs: compiled and eager PyTorch agree on every path."""

from __future__ import annotations

import importlib
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from fuzz.checking import check
from fuzz.drawing import drawing_from
from fuzz.programs import programs
from hypothesis import HealthCheck, Phase, given, note, settings

from dyncc.core.errors import UnsupportedError

#: Keeps something with the result of a test.
Recorder: TypeAlias = Callable[[str, object], None]

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
#: Parts of the slow run.
PARTS = 40


class Tally:
    """Counts what became of the programs of one test."""

    def __init__(self) -> None:
        self.proved: set[str] = set()
        self.refused: dict[str, str] = {}
        self.edges = self.taken = self.values = 0

    def add(self, source: str, folder: Path, backend: str) -> None:
        """Check one program."""
        note(source)
        if source in self.proved or source in self.refused:
            return
        found = check(source, folder, backend)
        if isinstance(found, UnsupportedError):
            for problem in found.diagnostics:
                assert any(re.match(known, problem.construct) for known in REFUSED), problem
            self.refused[source] = found.diagnostics[0].construct
            return
        self.proved.add(source)
        self.edges += len(found.edges)
        self.taken += found.taken()
        self.values += found.natural.tally.values + found.forced.tally.values

    def __str__(self) -> str:
        count = len(self.proved) + len(self.refused)
        reasons = Counter(self.refused.values()).most_common()
        return (
            f"{count} distinct programs: {len(self.proved)} proved, "
            f"{len(self.refused)} refused ({len(self.refused) / count:.1%}); "
            f"{self.taken} of {self.edges} edges taken, {self.values} values compared"
            + "".join(f"\n  refused {times}: {construct}" for construct, times in reasons)
        )

    def conclude(self, count: int) -> None:
        """That enough was compared, and little refused."""
        # Small programs may come twice.
        assert len(self.proved) + len(self.refused) >= 0.98 * count
        assert len(self.refused) <= REFUSED_RATE * count + 1
        # Edges of max() with a key, say, are taken by fitting data only.
        assert self.taken >= 0.9 * self.edges > count
        assert self.values > 20 * count


def fuzz(folder: Path, record: Recorder, count: int, start: int, backend: str) -> None:
    """Check `count` programs, and record what became of them with the test's result."""
    tally = Tally()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        backend=drawing_from(start),
    )
    @given(programs())
    def run(source: str) -> None:
        tally.add(source, folder, backend)

    checked: Callable[[], None] = run
    checked()
    record("fuzz", f"seed {start}: {tally}")
    tally.conclude(count)


def drawn(start: int) -> list[str]:
    """Some programs of a seed."""
    found: list[str] = []

    @settings(max_examples=20, database=None, phases=[Phase.generate], backend=drawing_from(start))
    @given(programs())
    def run(source: str) -> None:
        found.append(source)

    drawing: Callable[[], None] = run
    drawing()
    return found


def test_programs_depend_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn(1)
    # Hypothesis takes constants from modules that look like the user's, such as this one.
    (tmp_path / "some_constants.py").write_text("FOUND = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("some_constants")
    assert drawn(1) == first
    assert len(set(first) | set(drawn(2))) > 35


@pytest.mark.parametrize("seed", [4, 5, 7, 8, 10, 18])
def test_random_programs(seed: int, tmp_path: Path, record_property: Recorder) -> None:
    """Of seeds in which no program takes long, as this runs each time."""
    fuzz(tmp_path, record_property, 40, seed, "eager")


def test_random_programs_with_tvm(tmp_path: Path, record_property: Recorder) -> None:
    fuzz(tmp_path, record_property, 4, 2, "tvm")


#: Statements that are refused: a value is lost, a change is, a name.
BREAKS = (
    "t0 = open(t0)", "t1 = t2 = eval('t1')", "l0.append(input())", "n0 = id(n0)", "exec('t0')",
)  # fmt: skip


def broken(source: str, choose: random.Random) -> tuple[str, set[int]]:
    """A program with two statements that are refused, and their lines."""
    lines = source.splitlines()
    first = lines.index("    def forward(self, x, y):") + 3
    last = max(at for at, line in enumerate(lines) if line.startswith("        return "))
    # Between the statements of the function itself.
    places = [
        at
        for at in range(first, last + 1)
        if re.match(r" {8}(?!else|elif|except|finally|case|\S.* = \[$)\w", lines[at])
    ]
    places = sorted(choose.choices(places, k=2))
    for count, at in enumerate(places):
        lines.insert(at + count, " " * 8 + choose.choice(BREAKS))
    return "\n".join(lines), {at + count + 1 for count, at in enumerate(places)}


def test_all_that_is_refused_is_reported_and_nothing_else(tmp_path: Path) -> None:
    """Behind a statement that is refused what follows from it is not known, and is no problem."""
    choose, reported = random.Random(0), 0
    for source in drawn(3) + drawn(6):
        wrong, wanted = broken(source, choose)
        found = check(wrong, tmp_path)
        assert isinstance(found, UnsupportedError)
        lines = {
            int(problem.where.split(":")[-2])
            for problem in found.diagnostics
            if not any(re.match(known, problem.construct) for known in REFUSED)
        }
        assert lines <= wanted, (wrong, found)
        reported += len(lines)
    # Of 80: two stand behind a return that is always taken.
    assert reported == 78


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_random_programs(
    part: int, tmp_path: Path, record_property: Recorder, request: pytest.FixtureRequest
) -> None:
    """In parts, each with a seed of its own, that can be run by themselves or side by side."""
    first = request.config.getoption("--fuzz-seed")
    fuzz(tmp_path, record_property, 10_000 // PARTS, first + part, "eager")


@pytest.mark.parametrize("backend", ["eager", "tvm"])
@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "corpus").glob("*.txt")), ids=lambda path: path.stem
)
def test_programs_that_once_failed(path: Path, backend: str, tmp_path: Path) -> None:
    assert not isinstance(check(path.read_text(), tmp_path, backend), UnsupportedError)
