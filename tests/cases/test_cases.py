"""Code of packages compiles unmodified, agrees with eager PyTorch, and docs/cases.md says so."""

from __future__ import annotations

from typing import Any

import pytest
from cases.table import NAMES, PAGE, case, measure, page


def rows() -> list[list[str]]:
    """The cells of the page's rows."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def parameters() -> list[Any]:
    """All cases; those that take long have ``SLOW = True``."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if getattr(case(name), "SLOW", False) else [])
        for name in NAMES
    ]


def test_the_page_lists_every_case() -> None:
    assert [cells[0].strip("`") for cells in rows()] == NAMES
    assert PAGE.read_text().startswith(page([]))


@pytest.mark.parametrize("name", parameters())
def test_the_page_says_what_a_case_gives(name: str) -> None:
    found = measure(name, "eager")
    (stated,) = [cells for cells in rows() if cells[0] == f"`{name}`"]
    assert list(found.cells) == stated[: len(found.cells)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_cases_agree_with_tvm(name: str) -> None:
    found = measure(name, "tvm")
    (stated,) = [cells for cells in rows() if cells[0] == f"`{name}`"]
    assert list(found.cells) == stated[: len(found.cells)]
