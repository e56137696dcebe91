"""The page on the speed of SkipOPU is what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyncc.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "skipopu-speed.md"


def test_the_page_is_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "docs" / PAGE.name
    assert main(["speed", "-o", str(target)]) == 0
    assert "3 pictures" in capsys.readouterr().out
    assert target.read_text() == PAGE.read_text()
    assert {path.name for path in (target.parent / "figures").iterdir()} <= {
        path.name for path in (PAGE.parent / "figures").iterdir()
    }


def test_a_share_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--skipped", "1"]) == 1
    assert "--skipped must be in (0, 1), not 1" in capsys.readouterr().err
