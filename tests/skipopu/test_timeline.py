"""Layers in time: what the hardware did, as recorded, beside the model of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyncc.arch.skipopu.isa import Engine, Op
from dyncc_sim.skipopu.calibration import LIMIT
from dyncc_sim.skipopu.flow import Source
from dyncc_sim.skipopu.pictures import layer_window
from dyncc_sim.skipopu.timeline import (
    NAMES,
    RUNS,
    main,
    measured,
    modelled,
    recorded,
    shown,
    timing_of,
)
from dyncc_sim.skipopu.timing import Timing

DOCS = Path(__file__).parents[2] / "docs"


def suppressed(timing: Timing, engine: Engine) -> list[int]:
    return [span.pc for span in timing.spans if span.engine == engine and span.suppressed]


def test_hardware_and_model_do_the_same_in_the_same_time() -> None:
    hardware, model = recorded(), modelled()
    for engine in Engine:
        assert hardware.order[engine] == model.order[engine]
        assert suppressed(hardware, engine) == suppressed(model, engine)
    assert model.cycles == pytest.approx(hardware.cycles, rel=LIMIT)
    for layer in range(len(RUNS)):
        windows = (layer_window(timing, layer) for timing in (hardware, model))
        one, other = (end - begin for begin, end in windows)
        assert other == pytest.approx(one, rel=2 * LIMIT), layer
    # What is skipped takes less time, and its matrices are not read.
    begin, end = shown(hardware)
    moved = dict.fromkeys(Source, 0.0)
    for source, first, last in hardware.transfers:
        assert 0 <= first < last <= hardware.cycles
        moved[source] += last - first
    assert all(moved.values())
    assert moved[Source.MATRICES] > 0.5 * hardware.cycles
    assert begin < end < hardware.cycles
    assert sum(span.op == Op.ROUTE for span in hardware.spans) == len(RUNS)


def test_pictures_are_drawn_and_shown(tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path)]) == 0
    text = (DOCS / "skipopu-hardware.md").read_text(encoding="utf-8")
    for name in NAMES.values():
        assert (tmp_path / f"{name}.svg").stat().st_size > 10_000
        assert (DOCS / "figures" / f"{name}.svg").is_file()
        assert f"figures/{name}.svg" in text


@pytest.mark.slow
def test_record_is_the_hardware() -> None:
    """But for some cycles: a change of its pipelines does not make another picture."""
    found, record = timing_of(measured()), recorded()
    assert found.order == record.order
    assert found.cycles == pytest.approx(record.cycles, rel=0.02)
