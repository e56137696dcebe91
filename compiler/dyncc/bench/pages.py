"""Pages that a person reads: Markdown for the documentation, and a page of its own in HTML."""

from __future__ import annotations

import base64
import html
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dyncc.bench import plots, tables
from dyncc.bench.record import conditions
from dyncc.bench.results import running
from dyncc.bench.tables import Record, Table
from dyncc.core.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METHOD = """\
Every peer runs in a process of its own, with the same number of threads, loaded with what it
needs to run and nothing else. Its results on the inputs below are first compared with those of
eager PyTorch. Then all are timed in turns of 20 ms, in a random order in each round: the ratio
of two peers is that of their times in one round, and what is shown is the median of the ratios
of all rounds, with the quartiles in brackets or as a line. A path is the set of edges of the
control-flow graph that an input takes, with how often it takes each. Times over several paths
are weighted by the share of a network's natural inputs that take them."""

_PEERS = """\
*eager* is PyTorch as it is; *torch.compile* in its default mode, in which it may break the
graph and go on in Python; *torch.export* takes networks whose graph is known before they run.
*ONNX Runtime, If/Loop* is the network by TorchScript and its exporter, with the control flow
inside. *ONNX Runtime, torch.export* is what torch.onnx.export does by default. *ONNX Runtime,
static path* has, for each path, all blocks of that path in one graph. It computes what is decided
on (measurements before 29 November 2026 leave out what nothing else needs: gates and exits) but
decides nothing: the bench tells it which graph to take. Nobody can deploy that; it is what static
graphs could reach. For batches, samples decide for themselves: peers answer them one after the
other, unless they can do better."""

_BATCHES = """\
Here dyncc runs those samples of a batch together that are at the same block (`--batch`), where the
network allows it: its compile time and artifact are those of a network that was compiled for
that."""

_MEMORY = """\
Memory is the greatest resident set of the process that loads and runs the network, libraries
included. *Compile time* is what is done once before: for torch.compile, which compiles while it
runs, the first call of each timed path."""


@dataclass(frozen=True)
class Part:
    """A piece of a page: a headline, a paragraph, a table, or a figure.

    Attributes
    ----------
    level
        Of the headline; 0 if it is none.
    text
        Of the headline or the paragraph, or what a figure shows.
    figure
        Draws the figure.
    name
        Of the figure's file, without an ending; figures without one are in HTML only.
    """

    text: str = ""
    level: int = 0
    table: Table | None = None
    figure: Callable[[], Figure] | None = None
    name: str = ""


def parts(records: Sequence[Record]) -> Iterator[Part]:
    """The pieces of a page on some records."""
    yield Part("Benchmarks", 1)
    yield Part(_METHOD)
    for record in records:
        yield from _operators(record) if record["kind"] == "operators" else _networks(record)


def _networks(record: Record) -> Iterator[Part]:
    yield Part("Networks", 2)
    yield Part(_PEERS)
    if any(
        peer["notes"].get("batch", 1) > 1
        for subject in record["subjects"]
        for peer in running(subject)
    ):
        yield Part(_BATCHES)
    yield from _conditions(record)
    if not tables.our_names(record):
        yield Part(table=tables.failures(record))
        return
    for batch in tables.batch_sizes(record):
        yield Part("One input at a time" if batch == 1 else f"Batches of {batch}", 3)
        name = "benchmarks" if batch == 1 else f"benchmarks-batch{batch}"
        title = f"Time of each peer over that of {tables.main_name(record)}, for each network"
        yield Part(title, figure=partial(plots.overview, record, batch), name=name)
        yield Part(table=tables.goals(record, batch))
        for ours in tables.our_names(record):
            yield Part(
                f"Columns after the second: how many times as long as {ours} a peer takes. The "
                f"networks on which {ours} does worst come first."
            )
            yield Part(table=tables.speed(record, batch, ours))
    yield Part("What does not run", 3)
    yield Part(table=tables.failures(record))
    for note in tables.notes(record):
        yield Part(f"- {note}")
    yield Part("Memory, size, and what is done once", 3)
    yield Part(_MEMORY)
    yield Part(
        "Peak memory of each peer, for each network",
        figure=partial(plots.memory, record),
        name="benchmarks-memory",
    )
    for fact in tables.FACTS:
        yield Part(fact[0], 4)
        yield Part(table=tables.facts(record, fact))
    yield Part("Path by path", 3)
    for subject in record["subjects"]:
        if not running(subject):
            continue
        yield Part(subject["name"], 4)
        timed = sum(case["batch"] == 1 for case in subject["cases"])
        stand = "" if timed == subject["paths"] else f", of which {timed} are timed for all"
        yield Part(
            f"{tables.many(subject['inputs'], 'input')}, "
            f"{tables.many(subject['paths'], 'path')}{stand}."
        )
        yield Part(
            f"Time of each peer for each path of {subject['name']}",
            figure=partial(plots.paths, record, subject),
        )
        yield Part(table=tables.paths(subject, record))


def _operators(record: Record) -> Iterator[Part]:
    yield Part("Operators", 2)
    yield Part(
        "Single operations at the sizes at which networks meet them, each a network of its own: "
        "input and output are handed over as users do it. Names give the shape of the input and "
        "the number of output channels or columns; convolutions carry a batch normalisation and "
        "ReLU."
    )
    yield from _conditions(record)
    for ours in tables.our_names(record):
        yield Part(table=tables.speed(record, 1, ours))
    failures = tables.failures(record)
    if failures.rows:
        yield Part(table=failures)


def _conditions(record: Record) -> Iterator[Part]:
    yield Part(" ".join(conditions(record)))
    yield Part(f"Written by `{record['command']}`.")


def markdown(records: Sequence[Record], folder: str) -> str:
    """A page whose figures are in a folder; those of single networks are left out."""
    lines = []
    for part in parts(records):
        if part.level:
            lines.append(f"{'#' * part.level} {part.text}\n")
        elif part.table is not None:
            lines.append(part.table.markdown())
        elif part.figure is None:
            lines.append(f"{part.text}\n")
        elif part.name:
            lines.append(f"![{part.text}]({folder}/{part.name}.svg)\n")
    return "\n".join(lines)


def write_figures(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the figures of the page in Markdown, and return their files."""
    files = []
    for part in parts(records):
        if part.figure is not None and part.name:
            files.append(folder / f"{part.name}.svg")
            save(part.figure(), files[-1])
    return files


_STYLE = """\
:root { color-scheme: light dark; --ink: #1b2733; --paper: #ffffff; --line: #d5dde5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe7ee; --paper: #14191f; --line: #36424e; }
}
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif;
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3, h4 { line-height: 1.2; margin: 2rem 0 .6rem; }
img { width: 100%; background: #ffffff; border: 1px solid var(--line); border-radius: 6px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: .8rem 0; white-space: nowrap; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
.words { text-align: left; }
.words:last-child { white-space: normal; min-width: 24rem; }
tbody tr:nth-child(even) { background: color-mix(in srgb, var(--ink) 4%, transparent); }
code { font-size: 90%; }
"""


def page(records: Sequence[Record]) -> str:
    """One HTML file with everything in it."""
    body = []
    for part in parts(records):
        if part.level:
            body.append(f"<h{part.level}>{html.escape(part.text)}</h{part.level}>\n")
        elif part.table is not None:
            body.append(f'<div class="wide">{part.table.html()}</div>\n')
        elif part.figure is None:
            body.append(f"<p>{_inline(part.text)}</p>\n")
        else:
            source = base64.b64encode(_svg(part.figure())).decode()
            body.append(
                f'<img alt="{html.escape(part.text)}" src="data:image/svg+xml;base64,{source}">\n'
            )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>dyncc: benchmarks</title><style>\n{_STYLE}</style></head><body>\n"
        f"{''.join(body)}</body></html>\n"
    )


def _inline(text: str) -> str:
    """A paragraph of Markdown as HTML: code and emphasis."""
    escaped = html.escape(text.removeprefix("- "))
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escaped)


def _svg(figure: Figure) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
        file = Path(folder) / "figure.svg"
        save(figure, file)
        return file.read_bytes()
