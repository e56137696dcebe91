"""The page of benchmarks is that of the records, and the records are whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dyncc.bench import pages, record
from dyncc.bench.operators import OPERATORS, find
from dyncc.bench.results import summary

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NAMES = ("networks", "operators")


def _record(name: str) -> dict[str, Any]:
    return record.read(RESULTS / f"{name}.json")


def test_the_page_is_that_of_the_records() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text == pages.markdown([_record(name) for name in NAMES], "figures")


def test_its_figures_are_there() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    figures = re.findall(r"\]\(([^)]+\.svg)\)", text)
    assert "figures/benchmarks.svg" in figures
    for figure in figures:
        assert (ROOT / "docs" / figure).is_file(), figure


@pytest.mark.parametrize("name", NAMES)
def test_summaries_are_those_of_the_rounds(name: str) -> None:
    found = _record(name)
    assert found["kind"] == name
    assert {"cpu", "cpus", "load"} <= set(found["machine"])
    assert {"torch", "apache-tvm", "onnxruntime"} <= set(found["versions"])
    for subject in found["subjects"]:
        assert subject["summary"] == summary(subject)
        for peer in subject["peers"]:
            assert bool(peer["message"]) == (peer["status"] != "ok")


def test_every_operator_is_recorded() -> None:
    found = {subject["name"] for subject in _record("operators")["subjects"]}
    assert found == {operator.name for operator in OPERATORS}


@pytest.mark.parametrize("name", [operator.name for operator in OPERATORS])
def test_operators_take_the_arguments_that_they_say(name: str) -> None:
    assert sum(each.name == name for each in OPERATORS) == 1
    operator = find(name)
    result = operator.build().eval()(*operator.inputs())
    assert result.isfinite().all()
