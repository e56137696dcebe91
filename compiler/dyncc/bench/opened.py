"""What a workshop tells of a subject."""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.bench.arguments import Arguments
from dyncc.bench.paths import Path


@dataclass(frozen=True)
class Opened:
    """What a workshop tells of a subject.

    Attributes
    ----------
    reference
        Where runners find the network.
    inputs
        The inputs that are timed, each with the number of its path; `paths` names those inputs.
    natural
        How many inputs there are.
    all_paths
        How many paths they take.
    paths
        The paths that are timed.
    problem
        Why dyncc cannot capture the network, or "".
    """

    reference: str
    inputs: list[Arguments]
    natural: int
    all_paths: int
    paths: list[Path]
    problem: str = ""
