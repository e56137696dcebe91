"""Plots of spiking runs: rasters, membrane traces, weights, STDP windows.

Functions give a `matplotlib.figure.Figure` and show nothing; no display is needed. `save` writes
the same bytes for the same figure. Needs ``pip install 'dyncc[plots]'``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from dyncc.core.errors import InputError
from dyncc.core.figures import FORMATS as FORMATS
from dyncc.core.figures import blank
from dyncc.core.figures import save as save
from dyncc.spiking.connectors import Reals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Traces that are told apart by colour.
_MOST_TRACES = 10
_INK, _FAINT = "#1f3a5f", "#b8c4d0"


def raster(spikes: Mapping[str, Any], dt: float | None = None) -> Figure:
    """When neurons fired, a band for each group.

    Parameters
    ----------
    spikes
        Bool arrays of shape (steps, size), by name, such as `SpikingProgram.run` gives.
    dt
        Step in seconds; time is in steps if it is None.
    """
    groups = {name: _matrix(name, values) for name, values in spikes.items()}
    if not groups:
        raise InputError("there are no spikes to plot")
    sizes = [values.shape[1] for values in groups.values()]
    # Small groups get room for their labels.
    rows = [max(float(size), 0.1 * sum(sizes), 1.0) for size in sizes]
    inside = min(7.0, max(0.7 * len(groups), 0.06 * sum(rows)))
    figure = blank(9, inside + 0.35 * len(groups) + 0.5)
    axes = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    steps = max(len(values) for values in groups.values())
    scale, unit = _time(dt, steps)
    for place, height, (name, values) in zip(axes, rows, groups.items(), strict=True):
        time, neuron = numpy.nonzero(values)
        points = 72 * inside * height / sum(rows) / max(1, values.shape[1])
        size = min(8.0, max(1.0, 0.7 * points)) ** 2
        place.scatter(time * scale, neuron, s=size, marker="|", color=_INK, linewidths=0.9)
        place.set_ylim(values.shape[1] - 0.5, -0.5)
        place.set_ylabel(name)
        place.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        rate = values.mean() if values.size else 0.0
        place.set_title(
            f"{int(values.sum())} spikes, {rate:.1%} of neurons and steps", loc="right", fontsize=8
        )
    axes[-1].set_xlim(-0.5 * scale, max(steps - 0.5, 0.5) * scale)
    axes[-1].set_xlabel(unit)
    return figure


def membrane(
    potentials: Any,
    threshold: Any = None,
    spikes: Any = None,
    dt: float | None = None,
    names: Sequence[str] = (),
) -> Figure:
    """Potentials over time, a line for each neuron.

    Parameters
    ----------
    potentials
        After each step, shape (steps, neurons), at most 10 neurons.
    threshold
        A number, or one for each neuron, drawn dashed.
    spikes
        Bool, shape as `potentials`, drawn as marks above: the potential after a spike is reset.
    dt
        Step in seconds; time is in steps if it is None.
    names
        Of the neurons; by default their number.
    """
    values = _matrix("potentials", potentials)
    if not 1 <= values.shape[1] <= _MOST_TRACES:
        raise InputError(
            f"1 to {_MOST_TRACES} neurons can be told apart, not {values.shape[1]}",
            hint="Choose some columns.",
        )
    labels = list(names) or [str(index) for index in range(values.shape[1])]
    if len(labels) != values.shape[1]:
        raise InputError(f"there are {len(labels)} names for {values.shape[1]} neurons")
    figure = blank(9, 3.6)
    place = figure.subplots()
    scale, unit = _time(dt, len(values))
    time = numpy.arange(len(values)) * scale
    lines = [
        place.plot(time, column, linewidth=1.1, label=label)[0]
        for column, label in zip(values.T, labels, strict=True)
    ]
    if threshold is not None:
        levels = numpy.broadcast_to(numpy.asarray(threshold, float), (values.shape[1],))
        for level in numpy.unique(levels):
            same = numpy.flatnonzero(levels == level)
            colour = lines[same[0]].get_color() if len(same) == 1 else "0.4"
            place.axhline(level, linestyle="--", linewidth=0.8, color=colour)
    if spikes is not None:
        marks = _matrix("spikes", spikes)
        if marks.shape != values.shape:
            raise InputError(f"spikes must have shape {values.shape}, not {marks.shape}")
        top = float(values.max(initial=0.0 if threshold is None else numpy.max(threshold)))
        room = (top - float(values.min(initial=0.0)) or 1.0) * 0.05
        for index, line in enumerate(lines):
            fired = numpy.flatnonzero(marks[:, index])
            heights = numpy.full(len(fired), top + room * (index + 1))
            place.scatter(fired * scale, heights, s=24, marker="|", color=line.get_color())
    place.set_xlabel(unit)
    place.set_ylabel("potential")
    place.margins(x=0.01)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def weights(before: Any, after: Any = None, title: str = "") -> Figure:
    """A weight matrix as an image; with a second one also that, and the change.

    Parameters
    ----------
    before, after
        Shape (sources, targets).
    title
        Of the figure, such as ``"in -> out"``.
    """
    first = _matrix("weights", before)
    parts = [("weights", first)]
    if after is not None:
        second = _matrix("weights", after)
        if second.shape != first.shape:
            raise InputError(
                f"weights after must have shape {first.shape} as before, not {second.shape}"
            )
        parts = [("before", first), ("after", second), ("change", second - first)]
    figure = blank(3.6 * len(parts) + 0.4, 3.6)
    if title:
        figure.suptitle(title, fontsize=10)
    largest = max(float(numpy.abs(part).max(initial=0.0)) for _, part in parts[:2])
    negative = any(part.min(initial=0.0) < 0 for _, part in parts[:2])
    places = figure.subplots(1, len(parts), squeeze=False)[0]
    for place, (name, part) in zip(places, parts, strict=True):
        limit = float(numpy.abs(part).max(initial=0.0)) if name == "change" else largest
        colours, low = ("RdBu_r", -1.0) if negative or name == "change" else ("Blues", 0.0)
        image = place.imshow(
            part, cmap=colours, vmin=low * (limit or 1), vmax=limit or 1, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        place.set_title(name, fontsize=9)
        place.set_xlabel("target")
        for axis in (place.xaxis, place.yaxis):
            axis.get_major_locator().set_params(integer=True, nbins=6)
        figure.colorbar(image, ax=place, shrink=0.85)
        if name == parts[0][0]:
            place.set_ylabel("source")
    return figure


def stdp_window(
    lags: Any, changes: Any, expected: Any = None, unit: str = "ms", weight: str = "weight"
) -> Figure:
    """Weight change against the time from the pre spike to the post spike.

    Parameters
    ----------
    lags
        Post minus pre, shape (pairs,).
    changes
        Measured, shape (pairs,).
    expected
        By an equation, at the same lags.
    unit, weight
        Of lags, and what changes, for the labels.
    """
    time, found = (numpy.asarray(values, float) for values in (lags, changes))
    wanted = None if expected is None else numpy.asarray(expected, float)
    for name, values in (("changes", found), ("expected", wanted)):
        if values is not None and (values.shape != time.shape or time.ndim != 1):
            raise InputError(f"{name} must have shape {time.shape} as lags, not {values.shape}")
    order = numpy.argsort(time, kind="stable")
    figure = blank(6, 3.6)
    place = figure.subplots()
    place.axhline(0, color=_FAINT, linewidth=0.8)
    place.axvline(0, color=_FAINT, linewidth=0.8)
    if wanted is not None:
        # Two lines: the window jumps where the order of the spikes changes.
        for side, label in ((time[order] < 0, "expected"), (time[order] >= 0, None)):
            place.plot(time[order][side], wanted[order][side], color="0.45", label=label)
    place.plot(time, found, "o", markersize=3.5, color=_INK, label="measured")
    place.set_xlabel(f"post - pre ({unit})")
    place.set_ylabel(f"change of {weight}")
    if wanted is not None:
        place.legend(fontsize=8, frameon=False)
    return figure


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Lines through points.

    Parameters
    ----------
    lines
        Points of each line, by its name.
    x_label, y_label
        Of the axes.
    marks
        A point of some lines that is to stand out, by the line's name.
    """
    figure = blank(6, 3.6)
    place = figure.subplots()
    for name, points in lines.items():
        x, y = numpy.asarray(points, float).reshape(-1, 2).T
        (line,) = place.plot(x, y, "o-", markersize=3.5, linewidth=1.1, label=name)
        if marks is not None and name in marks:
            place.plot(*marks[name], "o", markersize=9, fillstyle="none", color=line.get_color())
    place.set_xlabel(x_label)
    place.set_ylabel(y_label)
    place.legend(fontsize=8, frameon=False)
    return figure


def _time(dt: float | None, steps: int) -> tuple[float, str]:
    """Length of a step, and the label of the axis."""
    if dt is None:
        return 1.0, "step"
    if steps * dt >= 1:
        return dt, "time (s)"
    return (dt * 1e3, "time (ms)") if steps * dt >= 1e-3 else (dt * 1e6, "time (µs)")


def _matrix(name: str, values: Any) -> Reals:
    found = numpy.asarray(values)
    if found.ndim != 2:
        raise InputError(f"{name} must have 2 axes, not shape {found.shape}")
    return found.astype(float)
