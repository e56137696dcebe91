"""``dyncc bench``: compiled networks beside what else could run them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dyncc.bench.peers.base import Peer
    from dyncc.bench.session import Settings

HELP = "measure compiled networks against PyTorch, torch.compile and ONNX Runtime"
DESCRIPTION = """\
Measure networks, for each path of their natural inputs and weighted by how often inputs take it:
compiled by dyncc, and run by its peers. Peers that fail, or give wrong results, are shown as that.

A network is a file MODEL.py[:NAME], a module (dyncc_models.halting), a package with a list NETWORKS
(dyncc_models.dycl), or an artifact of `dyncc compile`. Its inputs are those of coverage_inputs(),
else example_inputs(). A record that -o wrote is shown again instead of measured.

Every peer runs in a process of its own, all with the same number of threads, and is measured in
turns with the others; ratios are those of times of the same round."""
EPILOG = """\
peers:
  eager          PyTorch as it is
  torch.compile  in its default mode
  export         torch.export, for what it accepts
  onnxruntime    ONNX Runtime: each path as a static graph, If/Loop by TorchScript, torch.export

examples:
  dyncc bench dyncc_models.halting --seconds 5
  dyncc bench --all -o benchmarks/results/networks.json --html out/bench.html
  dyncc bench --operators 'depthwise*' 'conv3x3/*'
  dyncc bench benchmarks/results/networks.json --page docs/benchmarks.md"""

_PEERS = "eager,torch.compile,export,onnxruntime"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--all", action="store_true", help="the networks of dyncc_models")
    parser.add_argument(
        "--operators", nargs="*", metavar="PATTERN", help="single operations instead of networks"
    )
    parser.add_argument("--batch", type=_numbers, default="1,8", metavar="N,N", help="default: 1,8")
    parser.add_argument(
        "--peers", type=_names, default=_PEERS, metavar="NAME,NAME", help=f"default: {_PEERS}"
    )
    parser.add_argument(
        "--backend", type=_names, metavar="NAME,NAME",
        help="back ends of dyncc, each measured (default: all but eager)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of every peer; default: one for each CPU"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S",
        help="to time a network, once it is loaded; an operator takes a tenth (default: 20)",
    )  # fmt: skip
    parser.add_argument(
        "--paths", type=int, default=6, metavar="N", help="most paths to time (default: 6)"
    )
    parser.add_argument("-o", "--output", metavar="FILE.json", help="the record")
    parser.add_argument("--json", action="store_true", help="print the record")
    parser.add_argument("--html", metavar="FILE.html", help="a page with plots")
    parser.add_argument(
        "--page", metavar="FILE.md", help="a page in Markdown, with plots in a folder figures"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"sizes of batches are at least 1, not {text}")
    return tuple(sorted(set(numbers)))


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json
    import sys

    found = _records(arguments)
    if arguments.json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=1))
    else:
        for record in found:
            print("\n".join(_shown(record)))
    _write_pages(found, arguments)
    lost = [s for record in found for s in record["subjects"] if not s["peers"]]
    for subject in lost:
        print(f"dyncc: {subject['name']} does not run: {subject['problem']}", file=sys.stderr)
    return 1 if lost else 0


def _write_pages(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """The pages that were asked for."""
    from functools import partial
    from pathlib import Path

    from dyncc.cli.pages import write_page
    from dyncc.core.files import write_text

    if arguments.html is not None or arguments.page is not None:
        from dyncc.bench import pages
    if arguments.html is not None:
        write_text(arguments.html, pages.page(found))
    if arguments.page is not None:
        figures, text = partial(pages.write_figures, found), partial(pages.markdown, found)
        write_page(Path(arguments.page), figures, text)


def _records(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The records that were given, or that of a measurement."""
    from dyncc.bench import record as records
    from dyncc.core.errors import ConfigError

    given = [name for name in arguments.networks if name.endswith(".json")]
    if given and (len(given) < len(arguments.networks) or arguments.output is not None):
        raise ConfigError(
            "records are shown and networks are measured, not both at once",
            hint="Measure first, and then show the record that -o wrote.",
        )
    if given:
        return [records.read(name) for name in given]
    return [_measured(arguments)]


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """The record of a measurement."""
    import shlex
    import sys

    from dyncc.bench import record as records
    from dyncc.bench.session import Session
    from dyncc.cli.progress import progress

    settings = _settings(arguments)
    operators = arguments.operators is not None
    command = shlex.join(("dyncc", *sys.argv[1:]))
    record = records.begin("operators" if operators else "networks", command, settings)
    with progress() as report:
        subjects = list(_subjects(arguments))
        # Operators share processes; networks get new ones, whose memory can be told apart.
        for group in [subjects] if operators else [[each] for each in subjects]:
            peers = _peers(arguments, group[0][1])
            with Session(peers, settings, report).running() as session:
                for name, reference in group:
                    records.add(record, session.measure(name, reference))
                    if arguments.output is not None:  # what takes long may be interrupted
                        records.write(record, arguments.output)
    return record


def _settings(arguments: argparse.Namespace) -> Settings:
    from dyncc.bench.session import Settings, available_threads
    from dyncc.core.errors import ConfigError

    for name in ("threads", "paths", "seconds"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} must be greater than 0, not {value:g}")
    threads = arguments.threads or available_threads()
    if arguments.operators is not None:
        return Settings(threads, (1,), arguments.seconds / 10, 1, 1)
    return Settings(threads, arguments.batch, arguments.seconds, arguments.paths)


def _peers(arguments: argparse.Namespace, reference: str) -> list[Peer]:
    """Dyncc with each back end that was asked for, or that of an artifact, then the others."""
    from dyncc.bench.peers import PEERS, named, ours
    from dyncc.bench.subjects import manifest_of
    from dyncc.core.backends import BACKENDS
    from dyncc.core.errors import ConfigError

    backends = arguments.backend or [name for name in BACKENDS if name != "eager"]
    for what, names, known in (
        ("back end", backends, BACKENDS),
        ("peer", arguments.peers, PEERS),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"there is no {what} {name!r}", hint=f"Choose from {', '.join(known)}."
                )
    if (manifest := manifest_of(reference)) is not None:
        backends = [manifest["backend"]]
    others = [peer for name in arguments.peers for peer in named(name)]
    if arguments.operators is not None:
        # Without control flow a static path is all there is to a graph.
        others = [peer for peer in others if peer.for_operators]
    # An operation makes no decisions in which samples could differ.
    largest = max(arguments.batch) if arguments.operators is None else 1
    return [*(ours(name, largest) for name in backends), *others]


def _subjects(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Names and references of what is measured."""
    from dyncc.core.errors import ConfigError

    if arguments.operators is not None:
        from dyncc.bench.operators import matching

        for operator in matching(arguments.operators):
            yield operator.name, f"operator:{operator.name}"
        return
    names = [*(["dyncc_models"] if arguments.all else []), *arguments.networks]
    if not names:
        raise ConfigError("there is nothing to measure", hint="Name a network, or give --all.")
    for name in names:
        inside = _networks_of(name)
        yield from ((each, f"{name}.{each}") for each in inside)
        if not inside:
            yield name.rstrip("/").rpartition("/")[2].removesuffix(".py"), name


def _networks_of(name: str) -> list[str]:
    """The networks that a package names in its list NETWORKS."""
    from importlib import import_module
    from importlib.util import find_spec

    if "/" in name or name.endswith(".py"):
        return []
    try:
        found = find_spec(name)
    except (ImportError, ValueError):
        return []
    if found is None or found.submodule_search_locations is None:
        return []
    return list(getattr(import_module(name), "NETWORKS", ()))


def _shown(record: dict[str, Any]) -> Iterator[str]:
    """Tables for a terminal, and the conditions of the measurement."""
    from dyncc.bench import tables
    from dyncc.bench.record import conditions

    for batch in tables.batch_sizes(record):
        for ours in tables.our_names(record):
            yield "" if record["kind"] == "operators" else f"batch {batch}, {ours}\n"
            yield tables.speed(record, batch, ours).markdown()
    failures = tables.failures(record)
    if failures.rows:
        yield failures.markdown()
    yield from tables.notes(record)
    yield from conditions(record)
