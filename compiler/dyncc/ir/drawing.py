"""Draws an HCFG as an SVG picture, alone or on an HTML page with the program's text."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import PurePath

from dyncc.ir.cost import region_cost
from dyncc.ir.hcfg import Block, Branch, Hcfg, Raise, RegionCall, Return, jumps
from dyncc.ir.text import to_text

_WIDTH, _LINE, _GAP_X, _GAP_Y = 270, 16, 40, 56
_PAGE_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 24px; color: #1b1f24; background: #fff }
pre { font-size: 12px; background: #f6f8fa; padding: 12px; overflow-x: auto }
svg { max-width: 100%; height: auto }
"""
_STYLE = """
text { font: 12px ui-monospace, monospace }
.name { font-weight: bold } .note { fill: #57606a } .edge { fill: none; stroke: #57606a }
.back { stroke: #bc4c00 } .untaken { stroke: #cf222e; stroke-dasharray: 5 4 }
.label { fill: #0969da } .box { fill: #f6f8fa; stroke: #8c959f }
.exit { fill: #dafbe1 } .raise { fill: #ffebe9 }
"""


def quantity(value: float, unit: str) -> str:
    """``1234`` as ``1.2 k`` and so on."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def to_svg(
    program: Hcfg,
    counts: Mapping[tuple[str, int], int] | None = None,
    marks: Mapping[str, str] | None = None,
) -> str:
    """The picture.

    Parameters
    ----------
    counts
        How often each edge was taken; edges that are missing are drawn dashed and red.
    marks
        Why PyTorch runs a region, by name of those that it does.
    """
    depth = _depths(program)
    rows: dict[int, list[str]] = {}
    for name, row in depth.items():
        rows.setdefault(row, []).append(name)
    labels = {name: _labels(program, block, marks or {}) for name, block in program.blocks.items()}
    place: dict[str, tuple[int, int, int]] = {}
    top = 20
    for row in sorted(rows):
        height = max(len(labels[name]) for name in rows[row]) * _LINE + 12
        for column, name in enumerate(rows[row]):
            place[name] = (120 + column * (_WIDTH + _GAP_X), top, len(labels[name]) * _LINE + 12)
        top += height + _GAP_Y
    width = 180 + max(map(len, rows.values())) * (_WIDTH + _GAP_X)
    parts = [_edge(program, edge, place, depth, counts) for edge in program.edges()]
    parts += [_box(program.blocks[name], labels[name], place[name]) for name in program.blocks]
    arrow = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
        f'viewBox="0 0 {width} {top}"><style>{_STYLE}</style>{arrow}{"".join(parts)}</svg>\n'
    )


def to_html(
    program: Hcfg,
    counts: Mapping[tuple[str, int], int] | None = None,
    marks: Mapping[str, str] | None = None,
) -> str:
    """The picture of `to_svg`, and the text of the program, on one page."""
    title = html.escape(program.name)
    items = "".join(
        f"<li>@{html.escape(name)}: {html.escape(why)}</li>" for name, why in (marks or {}).items()
    )
    by_torch = f"<h2>Run by PyTorch</h2><ul>{items}</ul>" if items else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_PAGE_STYLE}</style><h1>{title}</h1>"
        f"<p>{len(program.blocks)} blocks, {len(program.regions)} sub-networks. Orange edges close "
        f"loops; green blocks return.</p>"
        f"{to_svg(program, counts, marks)}{by_torch}"
        f"<h2>Program</h2><pre>{html.escape(to_text(program))}</pre></html>\n"
    )


def _depths(program: Hcfg) -> dict[str, int]:
    """Row of each block: the longest way to it that closes no loop."""
    order = {name: position for position, name in enumerate(program.blocks)}
    depth = dict.fromkeys(program.blocks, 0)
    # Blocks are in reverse post-order, so every edge that goes forward goes down the list.
    for name, block in program.blocks.items():
        for jump in jumps(block.terminator):
            if order[jump.target] > order[name]:
                depth[jump.target] = max(depth[jump.target], depth[name] + 1)
    return depth


def _labels(program: Hcfg, block: Block, marks: Mapping[str, str]) -> list[str]:
    loc = f"{PurePath(block.loc.file).name}:{block.loc.line}" if block.loc else ""
    lines = [f"^{block.name}  {loc}"]
    host = sum(not isinstance(op, RegionCall) for op in block.ops)
    for op in block.ops:
        if isinstance(op, RegionCall):
            cost = region_cost(program.regions[op.region])
            lines.append(
                f"@{op.region}: {quantity(cost.flops, 'FLOP')}, {quantity(cost.bytes, 'B')}"
            )
            if op.region in marks:
                lines.append("run by PyTorch")
    if host:
        lines.append(f"{host} host operation{'s' if host > 1 else ''}")
    terminator = block.terminator
    if isinstance(terminator, Branch):
        text = terminator.text if len(terminator.text) < 34 else terminator.text[:31] + "..."
        lines.append(f"if {text}")
    elif isinstance(terminator, Return):
        lines.append("return")
    elif isinstance(terminator, Raise):
        lines.append(f"raise {terminator.exception}")
    return lines


def _box(block: Block, labels: list[str], place: tuple[int, int, int]) -> str:
    x, y, height = place
    kind = {Return: " exit", Raise: " raise"}.get(type(block.terminator), "")
    texts = "".join(
        f'<text x="{x + 8}" y="{y + 18 + i * _LINE}" class="{"name" if i == 0 else "note"}">'
        f"{html.escape(line)}</text>"
        for i, line in enumerate(labels)
    )
    return (
        f'<rect class="box{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{height}" rx="6"/>'
        f"{texts}"
    )


def _edge(
    program: Hcfg,
    edge: tuple[str, int, object],
    place: Mapping[str, tuple[int, int, int]],
    depth: Mapping[str, int],
    counts: Mapping[tuple[str, int], int] | None,
) -> str:
    name, way, _ = edge
    terminator = program.blocks[name].terminator
    target = jumps(terminator)[way].target
    x, y, height = place[name]
    to_x, to_y, to_height = place[target]
    branch = isinstance(terminator, Branch)
    start = x + (_WIDTH // 2 if not branch else _WIDTH * (1 + 2 * way) // 4)
    style = "edge"
    if depth[target] <= depth[name]:
        style += " back"
        # Loops go around the left side, wider the further they reach.
        out = min(x, to_x) - 30 - 8 * min(10, depth[name] - depth[target])
        path = (
            f"M{x} {y + height // 2}C{out} {y + height // 2} {out} {to_y + to_height // 2} "
            f"{to_x} {to_y + to_height // 2}"
        )
        label_x, label_y = x - 40, y + height // 2 - 6
    elif depth[target] > depth[name] + 1 and to_x <= x:
        # Past other blocks, so around them.
        out = x - 12 - 14 * min(7, depth[target] - depth[name])
        path = (
            f"M{start} {y + height}C{start} {y + height + 30} {out} {y + height + 10} "
            f"{out} {y + height + 60}L{out} {to_y - 50}"
            f"C{out} {to_y - 5} {to_x} {to_y + to_height // 2 - 20} {to_x} {to_y + to_height // 2}"
        )
        label_x, label_y = start + 6, y + height + 16
    else:
        end = to_x + _WIDTH // 2 + (way - 0.5) * 24 * branch
        path = f"M{start} {y + height}C{start} {y + height + 40} {end} {to_y - 40} {end} {to_y}"
        label_x, label_y = start + 6, y + height + 16
    label = ("true", "false")[way] if branch else ""
    if counts is not None:
        taken = counts.get((name, way), 0)
        label += f" {taken} times"
        style += "" if taken else " untaken"
    return (
        f'<path class="{style}" d="{path}" marker-end="url(#tip)"/>'
        f'<text class="label" x="{label_x}" y="{label_y}">{label.strip()}</text>'
    )
