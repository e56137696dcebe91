"""Tables of a record, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy

from dyncc.bench.results import (
    Ratio,
    compare,
    geometric_mean,
    is_ours,
    running,
    times_of,
)


def cells(*parts: object) -> str:
    """A row."""
    return "| " + " | ".join(map(str, parts)) + " |"


def duration(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError(seconds)


def size(count: float) -> str:
    """Bytes in MB of 10^6."""
    return f"{count / 1e6:.3g} MB"


def times(ratio: Ratio) -> str:
    """A ratio with its quartiles."""
    low, high = ratio.quarters
    return f"{ratio.median:.2f}x ({low:.2f} to {high:.2f})"


def ratios(subject: Mapping[str, Any], batch: int, ours: str) -> dict[str, Ratio]:
    """For each other peer that was timed, how many times as long it takes as `ours`."""
    found = {peer["name"]: times_of(subject, peer, batch) for peer in running(subject)}
    if ours not in found:
        return {}
    own = found.pop(ours)
    return {name: compare(other, own) for name, other in found.items()}


def peer_names(record: Mapping[str, Any]) -> list[str]:
    """All peers of a record, in order."""
    names = [peer["name"] for subject in record["subjects"] for peer in subject["peers"]]
    return list(dict.fromkeys(names))


def our_names(record: Mapping[str, Any]) -> list[str]:
    """The back ends of dyncc among the peers of a record."""
    return [name for name in peer_names(record) if is_ours(name)]


def operator_rows(record: Mapping[str, Any], ours: str) -> Iterator[str]:
    """The table of operators, weak spots first, and a line with the geometric means."""
    others = [name for name in peer_names(record) if name != ours]
    yield cells("Operator", ours, *(f"{name} / {ours}" for name in others))
    yield "|---|" + "--:|" * (1 + len(others))
    rows = []
    means: dict[str, list[float]] = {name: [] for name in others}
    for subject in record["subjects"]:
        batch = 1
        found = ratios(subject, batch, ours)
        own = next((peer for peer in running(subject) if peer["name"] == ours), None)
        for name, ratio in found.items():
            means[name].append(ratio.median)
        shown = [times(found[name]) if name in found else state(subject, name) for name in others]
        time = state(subject, ours)
        if own is not None:
            time = duration(float(numpy.median(times_of(subject, own, batch))))
        weakest = min((ratio.median for ratio in found.values()), default=0.0)
        rows.append((weakest, cells(f"`{subject['name']}`", time, *shown)))
    yield from (row for _, row in sorted(rows))
    yield cells("*geometric mean*", "", *(mean(values) for values in means.values()))


def mean(values: Sequence[float]) -> str:
    """The geometric mean of ratios, if there are any."""
    return f"{geometric_mean(values):.2f}x" if values else ""


def state(subject: Mapping[str, Any], name: str) -> str:
    """What to show of a peer that has no times."""
    return next((peer["status"] for peer in subject["peers"] if peer["name"] == name), "")
