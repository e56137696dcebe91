"""Pictures of the model of time: engines over time, and speed against bytes.

Functions give a `matplotlib.figure.Figure` and show nothing; `dyncc.core.figures.save` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy

from dyncc.arch.skipopu.isa import Engine, Op
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import InputError
from dyncc.core.figures import blank
from dyncc_sim.skipopu.flow import Source
from dyncc_sim.skipopu.timing import Span, Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = (Engine.LOAD, Engine.PE, Engine.VECTOR, Engine.KV, Engine.STORE)
_COLOURS = {
    Op.LD: "#7f8fa6", Op.ST: "#7f8fa6", Op.GEMV: "#1f4e79", Op.GEMM: "#1f4e79",
    Op.ATTN: "#8c3b3b", Op.NPE: "#3b7d4f", Op.ROUTE: "#c98a1b", Op.KVAPP: "#6a4c93",
    Op.KVSEL: "#6a4c93",
}  # fmt: skip
_SOURCES = {
    Source.MATRICES: "#1f4e79", Source.VECTORS: "#3b7d4f", Source.KV: "#8c3b3b",
    Source.WRITES: "#6a4c93", Source.PROGRAM: "#808080",
}  # fmt: skip
_FAINT = "#b8c4d0"
#: Transfers that are closer than this part of the picture are drawn as one.
_MERGE = 1 / 2000
#: Room that the name of an instruction needs.
_NAMED = 1 / 16


def layer_window(timing: Timing, layer: int) -> tuple[float, float]:
    """Begin and end of a layer: from its `Op.ROUTE` to the next one, or to the end.

    Raises
    ------
    InputError
        If nothing was recorded, or there are not so many layers.
    """
    begins = [span.begin for span in timing.spans if span.op == Op.ROUTE]
    if not 0 <= layer < len(begins):
        raise InputError(f"{len(begins)} layers were recorded, and none has the number {layer}")
    return begins[layer], [*begins, timing.cycles][layer + 1]


def timeline(timing: Timing, window: tuple[float, float] | None = None, title: str = "") -> Figure:
    """Engines and the memory port over time.

    A light bar is an instruction, the dark part of its height the share of its cycles in which the
    engine worked; the rest of them it waited for memory. A tick is a suppressed instruction.

    Parameters
    ----------
    timing
        Of a run that was recorded.
    window
        Cycles to show; by default all.

    Raises
    ------
    InputError
        If nothing was recorded, or there is nothing to see.
    """
    begin, end = window or (0.0, timing.cycles)
    spans = [span for span in timing.spans if span.end > begin and span.begin < end]
    if not spans or end <= begin:
        raise InputError(
            f"there is nothing in cycles {begin:.0f}..{end:.0f}",
            hint="Pictures of time need a run with record=True.",
        )
    figure = blank(11, 3.4)
    place = figure.subplots()
    for row, engine in enumerate(_ROWS):
        for span in spans:
            if span.engine == engine:
                _bar(place, row, span, (begin, end))
    for source, colour in _SOURCES.items():
        place.broken_barh(
            _merged(timing, source, begin, end), (len(_ROWS) - 0.35, 0.7), color=colour,
            linewidth=0, label=source.value,
        )  # fmt: skip
    place.set_yticks(range(len(_ROWS) + 1), [*(engine.name for engine in _ROWS), "memory port"])
    place.set_ylim(len(_ROWS) + 0.5, -0.5)
    place.set_xlim(begin, end)
    place.set_xlabel(f"cycle, at {timing.arch.clk_hz / 1e6:g} MHz")
    if title:
        place.set_title(title, loc="left", fontsize=9)
    figure.legend(loc="outside lower right", ncols=len(_SOURCES), fontsize=8, frameon=False)
    return figure


def roofline(runs: Mapping[str, Timing], arch: ArchSpec) -> Figure:
    """Products a second against products a byte, under what array and memory allow.

    Parameters
    ----------
    runs
        Timings by name, of the instance `arch`.

    Raises
    ------
    InputError
        If there are none, or one has no products.
    """
    points = {
        name: (
            timing.multiplications / (timing.bytes_read + timing.bytes_written),
            timing.multiplications / timing.seconds,
        )
        for name, timing in runs.items()
    }
    if not points or not all(speed for _, speed in points.values()):
        raise InputError("a roofline needs runs with products")
    peak, bandwidth = arch.macs_per_cycle * arch.clk_hz, arch.memory_bytes_s
    ridge = peak / bandwidth
    left = min(ridge, *(x for x, _ in points.values())) / 4
    right = max(ridge, *(x for x, _ in points.values())) * 4
    figure = blank(6, 3.8)
    place = figure.subplots()
    x = numpy.array([left, ridge, right])
    place.plot(x, numpy.minimum(peak, bandwidth * x) / 1e9, color="0.25", linewidth=1.4)
    usable = bandwidth
    if arch.refresh_period_cycles:
        usable *= 1 - arch.refresh_cycles / arch.refresh_period_cycles
        place.plot(
            [left, peak / usable], [usable * left / 1e9, peak / 1e9], color="0.5", linewidth=0.9,
            linestyle="--", label=f"memory less refresh, {usable / 1e9:.4g} GB/s",
        )  # fmt: skip
    for name, (intensity, speed) in points.items():
        place.plot(intensity, speed / 1e9, "o", markersize=5, label=name)
    place.set_xscale("log")
    place.set_yscale("log")
    place.set_title(
        f"{arch.name}: {peak / 1e9:,.4g} G products/s, {bandwidth / 1e9:.4g} GB/s", fontsize=9
    )
    place.set_xlabel("products a byte")
    place.set_ylabel("10⁹ products a second")
    place.grid(color=_FAINT, linewidth=0.4)
    place.legend(fontsize=8, frameon=False)
    return figure


def _bar(place: Axes, row: int, span: Span, window: tuple[float, float]) -> None:
    width = span.end - span.begin
    if span.suppressed:
        place.plot([span.begin] * 2, [row - 0.15, row + 0.15], color=_FAINT, linewidth=1)
        return
    colour = _COLOURS[span.op]
    where = [(span.begin, width)]
    place.broken_barh(where, (row - 0.35, 0.7), color=colour, alpha=0.3, linewidth=0)
    share = min(1.0, span.busy / width) if width else 1.0
    place.broken_barh(where, (row + 0.35 - 0.7 * share, 0.7 * share), color=colour, linewidth=0)
    first, last = max(span.begin, window[0]), min(span.end, window[1])
    if last - first > _NAMED * (window[1] - window[0]):
        place.text(
            (first + last) / 2, row - 0.18, span.op.name, ha="center", va="center", fontsize=7,
            color="white" if share > 0.8 else "black", clip_on=True,
        )  # fmt: skip


def _merged(timing: Timing, source: Source, begin: float, end: float) -> list[tuple[float, float]]:
    """Begin and length of transfers, those close to each other as one."""
    found: list[list[float]] = []
    for kind, first, last in timing.transfers:
        if kind != source or last < begin or first > end:
            continue
        if found and first - found[-1][1] < _MERGE * (end - begin):
            found[-1][1] = last
        else:
            found.append([first, last])
    return [(first, last - first) for first, last in found]
