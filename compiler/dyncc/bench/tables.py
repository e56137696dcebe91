"""Tables of a record."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dyncc.bench.results import (
    Ratio,
    batches_of,
    best_peer,
    geometric_mean,
    is_ours,
    ratios,
    running,
    times_of,
)

Subject = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of texts below a head.

    Attributes
    ----------
    head
        Names of the columns.
    rows
        As many texts as there are columns; code stands between backquotes.
    words
        How many columns, from the left, hold words; the others hold numbers.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def markdown(self) -> str:
        """As Markdown."""
        sides = ["---" if index < self.words else "--:" for index in range(len(self.head))]
        lines = [self.head, tuple(sides), *self.rows]
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"

    def html(self) -> str:
        """As HTML."""

        def line(kind: str, parts: Sequence[str]) -> str:
            sides = (" class=words" if index < self.words else "" for index in range(len(parts)))
            cells = (
                f"<{kind}{side}>{_plain(part)}</{kind}>"
                for part, side in zip(parts, sides, strict=True)
            )
            return f"<tr>{''.join(cells)}</tr>"

        rows = "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{line('th', self.head)}</thead><tbody>{rows}</tbody></table>\n"


def _cell(text: str) -> str:
    """A cell in Markdown: nothing in it may end the cell, or begin a tag outside of code."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts)
    )


def _code(text: str) -> str:
    """A text that is shown as it is."""
    return f"`{text.replace('`', chr(39))}`" if text else ""


def _plain(text: str) -> str:
    return html.escape(text.replace("`", "").replace("*", ""))


def duration(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def megabytes(count: float) -> str:
    """Bytes in MB of 10^6."""
    return f"{_digits(count / 1e6)} MB"


def _digits(value: float) -> str:
    """Three digits that count, as many before the point as there are."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: Ratio) -> str:
    """A ratio with its quartiles."""
    low, high = ratio.quarters
    return f"{ratio.median:.2f}x ({low:.2f} to {high:.2f})"


def peer_names(record: Record) -> list[str]:
    """All peers of a record, in order."""
    names = [peer["name"] for subject in record["subjects"] for peer in subject["peers"]]
    return list(dict.fromkeys(names))


def our_names(record: Record) -> list[str]:
    """The back ends of dyncc among the peers of a record."""
    return [name for name in peer_names(record) if is_ours(name)]


def main_name(record: Record) -> str:
    """The back end of dyncc that plots show: ``auto`` if it is there, else the first."""
    names = our_names(record)
    return next((name for name in names if name.endswith(" auto")), names[0])


def shown_names(record: Record) -> list[str]:
    """The peers that were timed on some subject."""
    timed = {peer["name"] for subject in record["subjects"] for peer in running(subject)}
    return [name for name in peer_names(record) if name in timed]


def batch_sizes(record: Record) -> list[int]:
    """All batch sizes of a record, in order."""
    return sorted({batch for subject in record["subjects"] for batch in batches_of(subject)})


def state(subject: Subject, name: str) -> str:
    """What to show of a peer that has no times."""
    return next((peer["status"] for peer in subject["peers"] if peer["name"] == name), "")


def speed(record: Record, batch: int, ours: str) -> Table:
    """How many times as long as dyncc each peer takes; those where dyncc is slowest come first."""
    others = [name for name in shown_names(record) if name != ours]
    rows: list[tuple[float, tuple[str, ...]]] = []
    means: dict[str, list[float]] = {name: [] for name in others}
    for subject in record["subjects"]:
        found = ratios(subject, batch, ours)
        for name, ratio in found.items():
            means[name].append(ratio.median)
        own = next((peer for peer in running(subject) if peer["name"] == ours), None)
        time = state(subject, ours) or "failed"
        if own is not None:
            time = duration(float(numpy.median(times_of(subject, own, batch))))
        weakest = min((ratio.median for ratio in found.values()), default=0.0)
        shown = [times(found[name]) if name in found else state(subject, name) for name in others]
        rows.append((weakest, (f"`{subject['name']}`", time, *shown)))
    last = ("*geometric mean*", "", *(_mean(values) for values in means.values()))
    head = ("", ours, *(f"{name} / {ours}" for name in others))
    return Table(head, (*(row for _, row in sorted(rows)), last))


def _mean(values: Sequence[float]) -> str:
    return f"{geometric_mean(values):.2f}x" if values else ""


def goals(record: Record, batch: int) -> Table:
    """For each back end of dyncc, the least and the mean speed against each peer and the best."""
    rows = []
    for ours in our_names(record):
        found: dict[str, list[float]] = {}
        for subject in record["subjects"]:
            each = {k: v for k, v in ratios(subject, batch, ours).items() if not is_ours(k)}
            for name, ratio in each.items():
                found.setdefault(name, []).append(ratio.median)
            best = best_peer(each)
            if best is not None:
                found.setdefault("the fastest but eager", []).append(each[best].median)
        rows += [
            (
                f"{ours} against {name}",
                str(len(values)),
                f"{min(values):.2f}x",
                _mean(values),
                f"{max(values):.2f}x",
            )
            for name, values in found.items()
        ]
    return Table(("", "Networks", "Least", "Geometric mean", "Greatest"), tuple(rows))


#: What is measured once: title, explanation, and how to find and show it.
Fact = tuple[str, Callable[[Mapping[str, Any]], float | None], Callable[[float], str]]


def _compile_seconds(peer: Mapping[str, Any]) -> float | None:
    """Building; for torch.compile, which builds while it runs, the first pass over all paths."""
    if peer["name"] == "torch.compile":
        return float(peer["first_call_seconds"] + peer["all_paths_seconds"])
    return float(peer["build_seconds"]) if peer["artifact_bytes"] else None


def _fact(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda peer: peer.get(name) or None


FACTS: tuple[Fact, ...] = (
    ("Compile time", _compile_seconds, duration),
    ("Loading", _fact("load_seconds"), duration),
    ("First call", _fact("first_call_seconds"), duration),
    ("Peak memory", _fact("peak_memory_bytes"), megabytes),
    ("Size of what was built", _fact("artifact_bytes"), megabytes),
)


def facts(record: Record, fact: Fact) -> Table:
    """What was measured once, for each subject and peer."""
    _, find, show = fact
    names = shown_names(record)
    rows = []
    for subject in record["subjects"]:
        found = {peer["name"]: find(peer) for peer in running(subject)}
        values = (found.get(name) for name in names)
        cells = ("" if value is None else show(value) for value in values)
        rows.append((f"`{subject['name']}`", *cells))
    return Table(("", *names), tuple(sorted(rows)))


def failures(record: Record) -> Table:
    """Peers that do not run, or give wrong results, with the first line of what they say."""
    rows = [
        (f"`{subject['name']}`", peer["name"], peer["status"], _code(peer["message"]))
        for subject in record["subjects"]
        for peer in subject["peers"]
        if peer["status"] != "ok"
    ]
    rows += [
        (f"`{subject['name']}`", "all", "failed", _code(subject["problem"]))
        for subject in record["subjects"]
        if not subject["peers"]
    ]
    return Table(("", "Peer", "Result", "Message"), tuple(rows), words=4)


def paths(subject: Subject, record: Record) -> Table:
    """For each path of a subject the median time of each peer."""
    peers = running(subject)
    rows = []
    for index, case in enumerate(subject["cases"]):
        medians = (float(numpy.median(peer["rounds"][index])) / 1e9 for peer in peers)
        what = case["name"] if case["batch"] == 1 else f"batch {case['batch']}, {case['name']}"
        blocks = str(case["blocks"] or "")
        rows.append((what, f"{case['weight']:.0%}", blocks, *map(duration, medians)))
    return Table(("Path", "Share", "Blocks", *(peer["name"] for peer in peers)), tuple(rows))


def notes(record: Record) -> Iterator[str]:
    """What peers say of themselves, in words."""
    for subject in record["subjects"]:
        for peer in running(subject):
            found = peer["notes"]
            if "graph_breaks" not in found:
                continue
            what = f"{many(found['graph_breaks'], 'break')} of the graph"
            rest = "all of it runs in eager PyTorch"
            if found["graphs"]:
                rest = f"{many(found['graphs'], 'graph')} compiled"
            yield f"`{subject['name']}`: {peer['name']}: {what}, {rest}"


def many(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
