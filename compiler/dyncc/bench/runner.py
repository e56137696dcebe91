"""Where one peer runs; lives in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments, leaves
from dyncc.bench.peers.base import Contestant, Leaves, Peer
from dyncc.timing import times_within

if TYPE_CHECKING:
    from torch import nn

#: Seconds for threads of the peer before this one to stop looking for work.
_SETTLE = 0.005
#: Seconds from which on a call needs no call before it that wakes threads up.
_LONG = 0.05


@dataclass
class _Loaded:
    contestant: Contestant
    prepared: list[Any]
    last: float = 0.0


class Runner:
    """Loads what a peer built, answers, and measures how long that takes.

    Parameters
    ----------
    peer
        The peer.
    threads
        Of torch, if it is used.
    """

    def __init__(self, peer: Peer, threads: int) -> None:
        self._peer = peer
        self._threads = threads
        self._loaded: dict[str, _Loaded] = {}
        self._modules: dict[str, nn.Module] = {}

    def ready(self, key: str, reference: str, weights: Path) -> None:
        """Import what the peer runs on, and build the network if it needs that."""
        for name in self._peer.imports:
            import_module(name)
        if not self._peer.needs_module:
            return
        import torch

        from dyncc.bench.subjects import open_source

        torch.set_num_threads(self._threads)
        module = open_source(reference).module
        module.load_state_dict(torch.load(weights))
        self._modules[key] = module

    def load(self, key: str, folder: Path, inputs: Sequence[Arguments]) -> dict[str, float]:
        """Load the network, and answer the first input; says how many seconds each took."""
        started = time.perf_counter()
        contestant = self._peer.load(self._modules.pop(key, None), folder)
        loaded = time.perf_counter()
        prepared = [contestant.prepare(each) for each in inputs]
        begun = time.perf_counter()
        contestant.answer(prepared[:1])
        now = time.perf_counter()
        self._loaded[key] = _Loaded(contestant, prepared)
        return {"load_seconds": loaded - started, "first_call_seconds": now - begun}

    def answer(self, key: str) -> tuple[list[list[Any]], Leaves, float]:
        """The leaves of all answers, which of them they are, and the seconds it took."""
        item = self._loaded[key]
        started = time.perf_counter()
        # Copied at once: a peer may write its next result where this one is.
        answers = [leaves(item.contestant.answer([each])[0]) for each in item.prepared]
        return answers, item.contestant.leaves, time.perf_counter() - started

    def time(self, key: str, batches: Sequence[Sequence[int]], seconds: float) -> list[float]:
        """Answer batches again and again.

        Parameters
        ----------
        batches
            Numbers of inputs; each batch is answered at least once.
        seconds
            How long to go on.

        Returns
        -------
        list of float
            Seconds that one batch took, one number for each time that all were answered.
        """
        item = self._loaded[key]
        answer = item.contestant.answer
        prepared = [[item.prepared[index] for index in batch] for batch in batches]

        def answer_all() -> None:
            for batch in prepared:
                answer(batch)

        time.sleep(_SETTLE)
        if item.last < _LONG:
            answer(prepared[0])
        times = [whole / len(prepared) for whole in times_within(answer_all, seconds)]
        item.last = times[-1]
        return times

    def notes(self, key: str) -> dict[str, Any]:
        """What the peer has to say, and the greatest memory that the process ever had."""
        return {
            "peak_memory_bytes": peak_memory(),
            "notes": dict(self._loaded[key].contestant.notes()),
        }


def peak_memory() -> int:
    """The greatest resident memory that this process ever had, in bytes."""
    # getrusage would count what the parent had before this process became another program.
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell how much memory a process had")
