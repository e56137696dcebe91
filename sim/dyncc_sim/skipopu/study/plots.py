"""Pictures of the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy

from dyncc.core.figures import blank
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.study.bandwidth import Bandwidth
from dyncc_sim.skipopu.study.buffers import FIRST, Hits, slots_taken
from dyncc_sim.skipopu.study.plan import Study
from dyncc_sim.skipopu.study.points import WEIGHTS
from dyncc_sim.skipopu.study.statistics import Estimate, change, skip_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of policies, of what is compared with them, and of faint lines.
_POLICIES = {"dense": "#1f4e79", "reuse": "#3b7d4f", "evict": "#8c3b3b"}
_OTHER, _FAINT = "#c98a1b", "#b8c4d0"


def skipping(study: Study) -> Figure:
    """Perplexity against the share of sublayers that are skipped."""
    figure = blank(7.5, 4.2)
    axes: Axes = figure.subplots()
    base = study.base
    for policy, colour in _POLICIES.items():
        series = [item for (_, of), item in study.routers.items() if of == policy]
        series.sort(key=lambda item: skip_rate(item.floating))
        rates = [0.0, *(skip_rate(item.floating) for item in series)]
        changes = [Estimate(0, 0), *(change(item.floating, base.floating) for item in series)]
        if series:
            _line(axes, rates, changes, colour, f"trained routers, {policy}")
            series = [item for item in series if item.exact]
            exact = [change(item.exact, base.exact[: len(item.exact)]) for item in series]
            _dots(axes, [skip_rate(item.exact) for item in series], exact, colour)
    always = [change(item.floating, base.floating) for item in study.always]
    rates = [skip_rate(item.floating) for item in study.always]
    label = "always the same sublayers"
    _line(axes, [0, *rates], [Estimate(0, 0), *always], _OTHER, label, dashed=True)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    _ticks(axes, (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("sublayer executions skipped")
    axes.set_ylabel("perplexity added (lines: PyTorch, circles: simulator)")
    _finish(axes)
    return figure


def precision(study: Study) -> Figure:
    """Perplexity against bits of mantissas and of weights."""
    figure = blank(9, 3.6)
    left, right = figure.subplots(1, 2)
    base = study.base
    for series, colour, label in (
        (study.mantissas, _POLICIES["dense"], "keys and values in F16"),
        (study.kv8, _POLICIES["evict"], "in BFP8"),
    ):
        changes = [change(item.exact, base.floating[: len(item.exact)]) for item in series.values()]
        _line(left, list(series), changes, colour, label)
    left.set_yscale("symlog", linthresh=0.001)
    _ticks(left, (-0.001, 0, 0.001, 0.01, 0.1, 1, 10))
    left.set_xticks(list(study.mantissas))
    left.set_xlabel("bits of mantissas of activations")
    left.set_ylabel("perplexity, against PyTorch")
    names = sorted(study.weights, key=lambda name: WEIGHTS[name].bits)
    places = range(len(names))
    items = [study.weights[name] for name in names]
    changes = [change(item.floating, base.floating) for item in items]
    _line(right, places, changes, _POLICIES["dense"], "PyTorch")
    exact = [change(item.exact, base.exact[: len(item.exact)]) for item in items]
    _dots(right, places, exact, _OTHER, "simulator")
    right.set_yscale("symlog", linthresh=0.01)
    _ticks(right, (0, 0.01, 0.1, 1, 10, 100, 1000, 1e4, 1e5))
    right.set_xticks(places, [f"{name}\n{WEIGHTS[name].bits:g} bits" for name in names])
    right.set_xlabel("format, and bits a weight with scale and minimum")
    right.set_ylabel("perplexity, against Q4_1")
    for axes in (left, right):
        _finish(axes)
    return figure


def kv_bytes(study: Study, slot_bytes: int) -> Figure:
    """Bytes of keys and values against the context."""
    figure = blank(7.5, 3.6)
    axes: Axes = figure.subplots()
    for policy, series in study.context.items():
        taken = slots_taken(series.exact[0].routes, KvPolicy(policy))
        label = f"{policy}: {taken[-1]:,} slots"
        axes.plot(
            numpy.arange(1, len(taken) + 1), taken * slot_bytes / 1e6, color=_POLICIES[policy],
            label=label, linestyle="--" if policy == "evict" else "-",
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("context in tokens")
    axes.set_ylabel("MB of keys and values")
    _finish(axes)
    return figure


def history(measured: Hits, assumed: Mapping[float, Hits], longest: int) -> Figure:
    """Hits of the history buffer against run length."""
    figure = blank(7.5, 3.6)
    axes: Axes = figure.subplots()
    shades = iter(("#b8c4d0", "#8fa3b8", "#5b7694", "#1f4e79"))
    for run, found in assumed.items():
        _shares(axes, found, longest, next(shades), f"random, runs of {run:.3g} layers on average")
    _shares(axes, measured, longest, _POLICIES["evict"], "measured", marker="o")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(longest + 1))
    axes.set_xlabel("layers just before whose attention the token skipped")
    axes.set_ylabel("reads of slots that hit")
    _finish(axes)
    return figure


def bandwidth(runs: Sequence[Bandwidth]) -> Figure:
    """Physical and effective bandwidth as parts of the peak, with skipping and without."""
    figure = blank(7.5, 3.6)
    axes: Axes = figure.subplots()
    places = numpy.arange(len(runs))
    bars = (
        ("physical, nothing skipped", _FAINT, [run.dense.bandwidth_used for run in runs]),
        ("physical, skipping", _POLICIES["dense"], [run.skipping.bandwidth_used for run in runs]),
        (
            "effective, skipping",
            _POLICIES["reuse"],
            [run.skipping.effective_bytes_s / run.arch.memory_bytes_s for run in runs],
        ),
    )
    for shift, (label, colour, heights) in enumerate(bars):
        drawn = axes.bar(places + 0.27 * (shift - 1), heights, 0.25, color=colour, label=label)
        axes.bar_label(drawn, [f"{height:.0%}" for height in heights], fontsize=8)
    axes.axhline(1, color="#7f8fa6", linewidth=0.8)
    axes.set_xticks(places, [f"{run.model}\n{run.arch.name}" for run in runs])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("of the port's peak")
    _finish(axes)
    return figure


def _shares(
    axes: Axes, found: Hits, longest: int, colour: str, label: str, marker: str = ""
) -> None:
    lengths = [length for length in found if FIRST < length <= longest]
    shares = [found[length][0] / found[length][1] for length in lengths]
    axes.plot(lengths, shares, color=colour, label=label, marker=marker, markersize=4)


def _line(
    axes: Axes, places: Sequence[float], values: Sequence[Estimate], colour: str, label: str,
    dashed: bool = False,
) -> None:  # fmt: skip
    axes.errorbar(
        places, [item.value for item in values], [item.error for item in values], color=colour,
        label=label, capsize=2, linewidth=1.3, linestyle="--" if dashed else "-",
    )  # fmt: skip


def _dots(
    axes: Axes, places: Sequence[float], values: Sequence[Estimate], colour: str, label: str = ""
) -> None:
    axes.errorbar(
        places, [item.value for item in values], [item.error for item in values], color=colour,
        label=label, capsize=2, linestyle="", marker="o", markersize=5, markerfacecolor="white",
    )  # fmt: skip


def _ticks(axes: Axes, ticks: Iterable[float]) -> None:
    low, high = axes.get_ylim()
    kept = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(kept, [f"{100 * tick:+,.10g} %" for tick in kept], minor=False)
    axes.minorticks_off()


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
