"""Plots of a record; see `dyncc.core.figures` for what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from dyncc.bench.results import batches_of, ratios, running
from dyncc.bench.tables import Record, Subject, main_name, peer_names
from dyncc.core.figures import blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Told apart without colour too. In the order of `peer_names`, dyncc's back ends first.
_MARKERS = ("o", "D", "^", "s", "v", "P", "X", "<", ">")
#: Of Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind people.
_COLOURS = (
    "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f",
    "#8c564b",
)  # fmt: skip
_FAINT = "#b8c4d0"
#: Ratios that an axis may name.
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def _styles(record: Record) -> dict[str, Mapping[str, Any]]:
    names = peer_names(record)
    return {
        name: {"marker": _MARKERS[i % len(_MARKERS)], "color": _COLOURS[i % len(_COLOURS)]}
        for i, name in enumerate(names)
    }


def overview(record: Record, batch: int) -> Figure:
    """How many times as long as dyncc each peer takes, for each subject, weighted by paths."""
    ours, styles = main_name(record), _styles(record)
    subjects = [each for each in record["subjects"] if batch in batches_of(each)]
    figure = blank(9, 1.6 + 0.42 * len(subjects))
    axes: Axes = figure.subplots()
    for row, subject in enumerate(subjects):
        found = ratios(subject, batch, ours)
        places = row + _spread(len(found))
        for place, (name, ratio) in zip(places, found.items(), strict=True):
            low, high = ratio.quarters
            axes.plot((low, high), (place, place), color=styles[name]["color"], linewidth=1.2)
            axes.plot(ratio.median, place, linestyle="", markersize=6, **styles[name])
        _lost(axes, row, subject, styles)
        if row:
            axes.axhline(row - 0.5, color=_FAINT, linewidth=0.5)
    axes.axvline(1, color="0.2", linewidth=1)
    if any(peer["status"] != "ok" for subject in subjects for peer in subject["peers"]):
        axes.text(1.02, -0.55, "does not run", transform=axes.get_yaxis_transform(), fontsize=8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(subjects)), [subject["name"] for subject in subjects])
    axes.set_ylim(len(subjects) - 0.5, -0.5)
    _ratio_axis(axes)
    calls = "one input" if batch == 1 else f"{batch} inputs"
    axes.set_xlabel(f"time of the peer / time of {ours}, for {calls}: right of 1x dyncc is faster")
    _legend(figure, axes, [name for name in styles if name != ours], styles)
    return figure


def _spread(count: int) -> numpy.ndarray:
    """Places of some marks around a row."""
    return (numpy.arange(count) - (count - 1) / 2) * min(0.14, 0.8 / max(count, 1))


def _lost(axes: Axes, row: int, subject: Subject, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Right of the plot, hollow marks of the peers that do not run the subject."""
    lost = [peer["name"] for peer in subject["peers"] if peer["status"] != "ok"]
    for index, name in enumerate(lost):
        axes.plot(
            1.03 + 0.03 * index, row, transform=axes.get_yaxis_transform(), clip_on=False,
            linestyle="", markersize=6, fillstyle="none", **styles[name],
        )  # fmt: skip


def _ratio_axis(axes: Axes) -> None:
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low / 1.3 <= tick <= high * 1.3]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", color=_FAINT, linewidth=0.4)
    axes.set_axisbelow(True)


def _legend(
    figure: Figure, axes: Axes, names: Sequence[str], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    drawn = {line.get_marker() for line in axes.get_lines()}
    kept = [name for name in names if styles[name]["marker"] in drawn]
    handles = [axes.plot([], [], linestyle="", markersize=6, **styles[name])[0] for name in kept]
    figure.legend(
        handles, kept, loc="outside upper left", ncols=4, fontsize=8, frameon=False,
        columnspacing=1.2, handletextpad=0.3,
    )  # fmt: skip
    for place in ("top", "right"):
        axes.spines[place].set_visible(False)


def paths(record: Record, subject: Subject) -> Figure:
    """The median time of each peer for each path of a subject, with quartiles of the rounds."""
    styles, cases = _styles(record), subject["cases"]
    figure = blank(9, 1.4 + 0.42 * len(cases))
    axes: Axes = figure.subplots()
    peers = running(subject)
    for row in range(len(cases)):
        for place, peer in zip(row + _spread(len(peers)), peers, strict=True):
            values = numpy.asarray(peer["rounds"][row]) / 1e6
            low, middle, high = numpy.quantile(values, (0.25, 0.5, 0.75))
            style = styles[peer["name"]]
            axes.plot((low, high), (place, place), color=style["color"], linewidth=1.2)
            axes.plot(middle, place, linestyle="", markersize=6, **style)
        if row:
            axes.axhline(row - 0.5, color=_FAINT, linewidth=0.5)
    axes.set_xscale("log")
    labels = [
        f"{case['name'].replace('`', '')} ({case['weight']:.0%})"
        if case["batch"] == 1
        else f"batch {case['batch']}, {case['name']}"
        for case in cases
    ]
    axes.set_yticks(range(len(cases)), labels, fontsize=8)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="x", which="both", color=_FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_xlabel("milliseconds for a batch; a path's share of the inputs is in brackets")
    _legend(figure, axes, [peer["name"] for peer in peers], styles)
    return figure


def memory(record: Record) -> Figure:
    """Peak memory of each peer for each subject."""
    styles = _styles(record)
    subjects = record["subjects"]
    figure = blank(9, 1.4 + 0.32 * len(subjects))
    axes: Axes = figure.subplots()
    for row, subject in enumerate(subjects):
        for peer in running(subject):
            axes.plot(
                peer["peak_memory_bytes"] / 1e6, row, linestyle="", markersize=6,
                **styles[peer["name"]],
            )  # fmt: skip
    axes.set_yticks(range(len(subjects)), [subject["name"] for subject in subjects])
    axes.set_ylim(len(subjects) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=_FAINT, linewidth=0.4)
    axes.set_xlabel("greatest resident memory of the process, MB")
    _legend(figure, axes, list(styles), styles)
    return figure
