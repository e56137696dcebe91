"""Reference pages in the documents are those that the definitions give."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyncc.arch.fields import unpack, width
from dyncc.arch.neurocorex import packets
from dyncc.cli import main
from dyncc.cli.reference_command import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("design", PAGES)
def test_pages_are_up_to_date(design: str, tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    assert main(["reference", design, "-o", str(target)]) == 0
    assert target.read_text() == (DOCS / f"{design}-reference.md").read_text()


@pytest.mark.parametrize("layout", [packets.INFO, packets.SNAPSHOT])
def test_fields_of_packets_have_names_of_their_own(layout: tuple[packets.Field, ...]) -> None:
    assert len(unpack(layout, 0)) == len(layout)
    assert width(layout) % 32 == 0
