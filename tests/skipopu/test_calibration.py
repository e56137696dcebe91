"""The model of time is within its limit of the hardware's cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dyncc_sim.skipopu.calibration import LIMIT, SERIES, Row, Series, measured, page, recorded, rows

BY_NAME = {series.name: series for series in SERIES}
PAGE = Path(__file__).parents[2] / "docs" / "skipopu-calibration.md"


@pytest.mark.parametrize("name", BY_NAME)
def test_model_is_near_the_hardware(name: str) -> None:
    """And the page has what it says."""
    series = BY_NAME[name]
    found = list(rows(series, recorded()[name]))
    assert len(found) == len(series.batches)
    text = PAGE.read_text(encoding="utf-8")
    for row in found:
        assert abs(row.error) <= LIMIT, f"{row.number}: {row.modelled} of {row.measured}"
        assert f"| {row.measured:,} | {row.modelled:,.0f} |" in text


def test_record_has_enough() -> None:
    record = recorded()
    assert set(record) == set(BY_NAME)
    assert sum(len(cycles) for cycles in record.values()) >= 6
    assert {series.arch.name for series in SERIES} == {"single", "batched"}
    with pytest.raises(ValueError, match="zip"):
        list(rows(SERIES[0], [1]))


def test_page_tells_the_largest_difference() -> None:
    row = Row(SERIES[0], 0, 0, 1000, 1020.0)
    text = page([row, replace(row, modelled=980.0), replace(row, modelled=960.0)])
    assert "| 1,000 | 960 | -4.0% |" in text
    assert "largest difference is 4.0%, the mean -1.3%" in text


@pytest.mark.slow
@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_record_is_the_hardware(series: Series) -> None:
    assert measured(series) == recorded()[series.name]
