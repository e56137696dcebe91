"""Leads a comparison: builds, loads, checks, and times all peers in turns."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dyncc.bench.opened import Opened
from dyncc.bench.paths import Path as TimedPath
from dyncc.bench.peers.base import Peer
from dyncc.bench.processes import Child, Failed

#: Told what is done, and how far it is: (what, step, steps).
Progress = Callable[[str, int, int], None]

#: Rounds that are measured at least, whatever they take.
FEWEST = 5
#: Batches of several inputs that are timed together.
BATCHES = 2
#: Seconds of one turn: the time that one peer is measured before the next one is.
TURN = 0.02


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    threads
        Of every peer.
    batches
        Batch sizes.
    seconds
        Time for the rounds of a subject, without what comes before them.
    paths, inputs
        How many paths are timed at most, and how many inputs of each.
    patience
        Seconds that a peer may take to build, load, or answer.
    seed
        Of the order of turns, and of the inputs in a batch.
    """

    threads: int
    batches: tuple[int, ...] = (1, 8)
    seconds: float = 20.0
    paths: int = 6
    inputs: int = 3
    patience: float = 300.0
    seed: int = 0

    def environment(self) -> dict[str, str]:
        """Variables that give every thread pool of a process the same number of threads."""
        pools = ("DYNCC", "TVM", "OMP", "MKL", "OPENBLAS")
        return {f"{pool}_NUM_THREADS": str(self.threads) for pool in pools}


@dataclass(frozen=True)
class Case:
    """Batches that are timed together.

    Attributes
    ----------
    batch
        Calls in each batch.
    name
        The path, or what the batches are.
    weight
        The share of natural inputs that the case stands for, among those of its batch size.
    blocks
        Blocks that a call goes through; 0 if it is not known or they differ.
    batches
        Numbers of inputs.
    """

    batch: int
    name: str
    weight: float
    blocks: int
    batches: tuple[tuple[int, ...], ...]


@dataclass
class Entry:
    """A peer on a subject.

    Attributes
    ----------
    status
        ``ok``, ``failed`` if it does not run, or ``wrong`` if its results are.
    facts
        What was measured beside the rounds: seconds, bytes, notes.
    rounds
        For each case the median seconds of a batch in each round.
    """

    peer: Peer
    status: str = "ok"
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)


def cases_of(paths: Sequence[TimedPath], settings: Settings) -> list[Case]:
    """What is timed: for single calls each path, for batches the paths as they come."""
    chance = random.Random(settings.seed)
    found = []
    for batch in settings.batches:
        if batch == 1:
            found += [
                Case(1, path.name, path.weight, path.blocks, tuple((i,) for i in path.inputs))
                for path in paths
            ]
            continue
        drawn = _drawn(paths, BATCHES * batch, chance)
        groups = tuple(tuple(drawn[i : i + batch]) for i in range(0, len(drawn), batch))
        found.append(Case(batch, "as they come", 1.0, 0, groups))
    return found


def _drawn(paths: Sequence[TimedPath], count: int, chance: random.Random) -> list[int]:
    """Numbers of inputs, of each path as many as its weight says, in random order."""
    drawn: list[int] = []
    total = 0.0
    for path in paths:
        total += path.weight
        while len(drawn) < round(total * count):
            drawn.append(path.inputs[len(drawn) % len(path.inputs)])
    chance.shuffle(drawn)
    return drawn


class Session:
    """The processes of a comparison; subjects that follow each other may share them.

    Parameters
    ----------
    peers
        The peers, with dyncc first.
    settings
        How to measure.
    report
        Told of progress.
    """

    def __init__(self, peers: Sequence[Peer], settings: Settings, report: Progress) -> None:
        self._peers = list(peers)
        self._settings = settings
        self._report = report
        self._folder = Path()
        self._children: dict[str, Child] = {}

    @contextmanager
    def running(self) -> Iterator[Session]:
        """The session, with a folder of its own, whose processes end with the block."""
        with tempfile.TemporaryDirectory(prefix="dyncc.bench.") as folder:
            self._folder = Path(folder)
            try:
                yield self
            finally:
                for child in self._children.values():
                    child.close()
                self._children = {}

    def measure(self, key: str, reference: str) -> dict[str, Any]:
        """Compare all peers on a subject.

        Parameters
        ----------
        key
            A name that no other subject of the session has, fit for a file.
        reference
            Of `dyncc.bench.subjects.open_source`.

        Returns
        -------
        dict
            The record of the subject; `dyncc.bench.record` describes it. If the network itself
            does not run, it has no peers, and ``problem`` says why.
        """
        self._report(f"paths of {key}", 0, 1)
        try:
            opened = self._open(key, reference)
        except Failed as error:
            return _subject(key, Opened(reference, [], 0, 0, [], error.message), [], [])
        cases = cases_of(opened.paths, self._settings)
        entries = [Entry(peer) for peer in self._peers]
        for step, entry in enumerate(entries):
            self._report(f"building {entry.peer.name} for {key}", step, len(entries))
            self._try(entry, self._build, key, reference)
        weights = self._shop().call("weights", key, timeout=self._settings.patience)
        self._start(entries, key, opened.reference, weights)
        for step, entry in enumerate(entries):
            self._report(f"loading {entry.peer.name} for {key}", step, len(entries))
            self._try(entry, self._load, key, opened.inputs)
        self._rounds([entry for entry in entries if entry.status == "ok"], key, cases)
        for entry in entries:
            self._try(entry, self._finish, key)
        return _subject(key, opened, cases, entries)

    # -- steps ---------------------------------------------------------------------------------

    def _child(self, name: str, make: Callable[[], object]) -> Child:
        if name not in self._children:
            log = self._folder / f"{len(self._children)}.log"
            self._children[name] = Child(make, log, self._settings.environment())
        return self._children[name]

    def _try(self, entry: Entry, step: Callable[..., None], *args: Any) -> None:
        """Carry out a step for a peer, unless it has failed already."""
        if entry.status != "ok":
            return
        try:
            step(entry, *args)
        except Failed as error:
            entry.status, entry.message = "failed", error.message
            entry.facts["details"] = error.details

    def _shop(self) -> Child:
        return self._child("workshop", partial(_workshop, self._folder, self._settings.threads))

    def _open(self, key: str, reference: str) -> Opened:
        settings = self._settings
        opened: Opened = self._shop().call(
            "open", key, reference, settings.paths, settings.inputs, timeout=settings.patience
        )
        return opened

    def _patience(self, entry: Entry) -> float:
        return entry.peer.patience or self._settings.patience

    def _build(self, entry: Entry, key: str, reference: str) -> None:
        folder = self._place(entry, key)
        shop = self._shop()
        try:
            entry.facts |= shop.call(
                "build", key, entry.peer, folder, timeout=self._patience(entry)
            )
        except Failed:
            if not shop.alive:  # the next peer finds a new one
                del self._children["workshop"]
                self._open(key, reference)
            raise

    def _place(self, entry: Entry, key: str) -> Path:
        return self._folder / key / str(self._peers.index(entry.peer))

    def _runner(self, entry: Entry) -> Child:
        return self._child(entry.peer.name, partial(_runner, entry.peer, self._settings.threads))

    def _start(self, entries: Sequence[Entry], key: str, reference: str, weights: Path) -> None:
        """Start the runners all at once: this takes a while and is not measured."""
        for entry in entries:
            if entry.status == "ok":
                self._runner(entry).begin("ready", key, reference, weights)
        for entry in entries:
            self._try(entry, self._ready)

    def _ready(self, entry: Entry) -> None:
        self._runner(entry).finish(self._patience(entry))

    def _load(self, entry: Entry, key: str, inputs: Sequence[Any]) -> None:
        patience = self._patience(entry)
        runner = self._runner(entry)
        folder = self._place(entry, key)
        entry.facts |= runner.call("load", key, folder, inputs, timeout=patience)
        answers, kept, seconds = runner.call("answer", key, timeout=patience)
        entry.facts["all_paths_seconds"] = seconds
        try:
            error = self._shop().call("check", key, answers, kept, timeout=patience)
            entry.facts["max_abs_error"] = error
        except Failed as mismatch:
            entry.status, entry.message = "wrong", mismatch.message
            entry.facts["details"] = mismatch.details

    def _rounds(self, entries: Sequence[Entry], key: str, cases: Sequence[Case]) -> None:
        """Time all cases of all peers, again and again, in turns."""
        seconds, chance = self._settings.seconds, random.Random(self._settings.seed)
        started = time.monotonic()
        for entry in entries:
            entry.rounds = [[] for _ in cases]
        count = 0
        while entries and (count < FEWEST or time.monotonic() - started < seconds):
            share = min(1.0, (time.monotonic() - started) / seconds if seconds else 1.0)
            self._report(f"timing {key}", round(100 * share), 100)
            for index, case in enumerate(cases):
                for entry in chance.sample(entries, len(entries)):
                    self._try(entry, self._turn, key, index, case)
            entries = [entry for entry in entries if entry.status == "ok"]
            count += 1

    def _turn(self, entry: Entry, key: str, index: int, case: Case) -> None:
        runner = self._runner(entry)
        times = runner.call("time", key, case.batches, TURN, timeout=self._patience(entry))
        ordered = sorted(times)
        entry.rounds[index].append(ordered[len(ordered) // 2])

    def _finish(self, entry: Entry, key: str) -> None:
        found = self._runner(entry).call("notes", key, timeout=self._patience(entry))
        entry.facts["peak_memory_bytes"] = found["peak_memory_bytes"]
        entry.facts["notes"] = {**entry.facts.get("notes", {}), **found["notes"]}


def _subject(
    key: str, opened: Opened, cases: Sequence[Case], entries: Sequence[Entry]
) -> dict[str, Any]:
    """The record of a subject."""
    return {
        "name": key,
        "reference": opened.reference,
        "problem": opened.problem,
        "inputs": opened.natural,
        "paths": opened.all_paths,
        "cases": [
            {"batch": c.batch, "name": c.name, "weight": c.weight, "blocks": c.blocks}
            for c in cases
        ],
        "peers": [_record(entry) for entry in entries],
    }


def _record(entry: Entry) -> dict[str, Any]:
    facts: Mapping[str, Any] = entry.facts
    return {
        "name": entry.peer.name,
        "status": entry.status,
        "message": entry.message,
        **facts,
        # Nanoseconds: what a clock can tell apart.
        "rounds": [[round(1e9 * seconds) for seconds in each] for each in entry.rounds]
        if entry.status == "ok"
        else [],
    }


def _workshop(folder: Path, threads: int) -> object:
    from dyncc.bench.workshop import Workshop

    return Workshop(folder, threads)


def _runner(peer: Peer, threads: int) -> object:
    from dyncc.bench.runner import Runner

    return Runner(peer, threads)


def available_threads() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))
