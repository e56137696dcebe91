"""Plots: what they show, the same bytes each time, without a display, refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from dyncc.core.errors import ConfigError, InputError, MissingToolError
from dyncc.spiking import plots


def spikes(seed: int, steps: int, size: int) -> numpy.ndarray:
    return numpy.random.default_rng(seed).random((steps, size)) < 0.1


def figures() -> dict[str, Any]:
    draw = numpy.random.default_rng(0)
    matrix = draw.normal(0, 1, (6, 4))
    lags = numpy.arange(-20, 21, 5)
    return {
        "raster": plots.raster({"in": spikes(0, 100, 30), "out": spikes(1, 100, 3)}, 1e-3),
        "membrane": plots.membrane(draw.random((50, 3)), [1.0, 1.0, 0.5], spikes(2, 50, 3), 1e-4),
        "weights": plots.weights(matrix, matrix + 0.1, "in -> out"),
        "window": plots.stdp_window(lags, lags * 0.1, lags * 0.11),
    }


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    cases = [(name, ".svg") for name in figures()] + [("window", ".png"), ("window", ".pdf")]
    assert {kind for _, kind in cases} == set(plots.FORMATS)
    for name, kind in cases:
        path = tmp_path / f"{name}{kind}"
        plots.save(figures()[name], path)
        first = path.read_bytes()
        assert len(first) > 1000
        plots.save(figures()[name], path)
        assert path.read_bytes() == first, path
    assert len(list(tmp_path.iterdir())) == len(cases)


def test_a_raster_shows_every_spike() -> None:
    groups = {"in": spikes(0, 100, 30), "out": spikes(1, 100, 3)}
    figure = plots.raster(groups, 2e-3)
    assert [axes.get_ylabel() for axes in figure.axes] == ["in", "out"]
    assert figure.axes[-1].get_xlabel() == "time (ms)"
    for axes, values in zip(figure.axes, groups.values(), strict=True):
        shown = numpy.asarray(axes.collections[0].get_offsets())
        found = numpy.zeros_like(values)
        found[numpy.rint(shown[:, 0] / 2).astype(int), shown[:, 1].astype(int)] = True
        assert (found == values).all()
        assert f"{values.sum()} spikes" in axes.get_title(loc="right")
    assert plots.raster({"x": numpy.zeros((5, 2))}).axes[0].get_xlabel() == "step"
    assert plots.raster({"x": numpy.zeros((0, 2))}, 1e-3).axes[0].get_xlabel() == "time (µs)"


def test_traces_thresholds_and_marks() -> None:
    potentials = numpy.linspace(0, 1, 30).reshape(10, 3)
    figure = plots.membrane(potentials, [0.9, 0.9, 0.5], spikes(0, 10, 3), names=("a", "b", "c"))
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines[:3]] == ["a", "b", "c"]
    assert (numpy.asarray(lines[1].get_ydata()) == potentials[:, 1]).all()
    assert sorted(float(numpy.asarray(line.get_ydata())[0]) for line in lines[3:]) == [0.5, 0.9]
    shown = [len(numpy.asarray(marks.get_offsets())) for marks in figure.axes[0].collections]
    assert shown == spikes(0, 10, 3).sum(axis=0).tolist()


def test_weights_before_and_after() -> None:
    before, after = numpy.zeros((3, 2)), numpy.full((3, 2), 0.5)
    images = [axes.get_images()[0] for axes in plots.weights(before, after).axes[:3]]
    for image, wanted in zip(images, (before, after, after), strict=True):
        assert (numpy.asarray(image.get_array()) == wanted).all()
    assert images[0].get_clim() == images[1].get_clim() == (0, 0.5)
    assert images[2].get_clim() == (-0.5, 0.5)


def test_no_display_is_used(tmp_path: Path) -> None:
    """Not even matplotlib's state for interactive use is imported."""
    code = (
        "import sys, numpy; from dyncc.spiking import plots; "
        "plots.save(plots.raster({'x': numpy.ones((3, 2))}), sys.argv[1]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "plot.svg"], check=True)


def test_what_cannot_be_plotted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: plots.raster({}), "there are no spikes to plot"),
        (lambda: plots.raster({"x": numpy.zeros(3)}), r"x must have 2 axes, not shape \(3,\)"),
        (lambda: plots.membrane(numpy.zeros((4, 11))), "1 to 10 neurons can be told apart, not 11"),
        (lambda: plots.membrane(numpy.zeros((4, 2)), names=["a"]), "1 names for 2 neurons"),
        (lambda: plots.membrane(numpy.zeros((4, 2)), None, numpy.zeros((4, 3))),
         r"spikes must have shape \(4, 2\), not \(4, 3\)"),
        (lambda: plots.weights(numpy.zeros((4, 2)), numpy.zeros((2, 4))), r"not \(2, 4\)"),
        (lambda: plots.stdp_window([1, 2], [1]), r"changes must have shape \(2,\) as lags"),
    ]  # fmt: skip
    for plot, message in refused:
        with pytest.raises(InputError, match=message):
            plot()
    figure = plots.weights(numpy.zeros((2, 2)))
    with pytest.raises(ConfigError, match=r"must end with \.png, \.svg, \.pdf"):
        plots.save(figure, tmp_path / "plot.gif")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        plots.save(figure, tmp_path / "gone" / "plot.svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingToolError, match=r"pip install 'dyncc\[plots\]'"):
        plots.weights(numpy.zeros((2, 2)))
