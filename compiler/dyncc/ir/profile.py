"""What runs of a program on a user's inputs took: how often each edge, and how long each region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dyncc.ir.hcfg import Branch, Hcfg, RegionCall

Edge = tuple[str, int]


@dataclass(frozen=True)
class Profile:
    """Counts and times.

    Attributes
    ----------
    inputs
        How many calls of the program were counted.
    edges
        How often each edge (block, index in its terminator) was taken in all of them.
    seconds
        Time of a call of each region.
    before
        What an average call took in regions before paths were fused, in seconds; None if none were.
    """

    inputs: int
    edges: Mapping[Edge, int]
    seconds: Mapping[str, float] = field(default_factory=dict)
    before: float | None = None

    def entered(self, program: Hcfg) -> dict[str, int]:
        """How often each block was entered."""
        found = dict.fromkeys(program.blocks, 0)
        found[program.entry.name] = self.inputs
        for block, way, jump in program.edges():
            found[jump.target] += self.edges.get((block, way), 0)
        return found

    def expected(self, program: Hcfg) -> float:
        """Seconds that an average call of a program spends in its regions."""
        total = 0.0
        for name, count in self.entered(program).items():
            for op in program.blocks[name].ops:
                if isinstance(op, RegionCall):
                    total += count * self.seconds.get(op.region, 0.0)
        return total / self.inputs

    def to_json(self) -> dict[str, Any]:
        """As lists and dicts."""
        return {
            "inputs": self.inputs,
            "edges": [[block, way, count] for (block, way), count in self.edges.items()],
            "seconds": {name: float(f"{value:.4g}") for name, value in self.seconds.items()},
            "before": self.before,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Profile:
        """Back from `to_json`."""
        edges = {(str(block), int(way)): int(count) for block, way, count in found["edges"]}
        return Profile(int(found["inputs"]), edges, dict(found["seconds"]), found["before"])


def described(found: Mapping[str, Any] | None, program: Hcfg) -> Iterator[str]:
    """A profile for a person, line by line: the expected time, and how often branches go where.

    Parameters
    ----------
    found
        As of `Profile.to_json`; None gives no lines.
    program
        The program that it is of.
    """
    if found is None:
        return
    profile = Profile.from_json(found)
    before = "" if profile.before is None else f"; {_micro(profile.before)} before paths were fused"
    yield (
        f"profile of {profile.inputs} input{'s' if profile.inputs != 1 else ''}: "
        f"{_micro(profile.expected(program))} in regions a call{before}"
    )
    entered = profile.entered(program)
    for name, block in program.blocks.items():
        if isinstance(block.terminator, Branch):
            then, orelse = (profile.edges.get((name, way), 0) for way in (0, 1))
            yield (
                f"^{name}: {entered[name] / profile.inputs:.3g} times a call; "
                f"`{block.terminator.text}` true {then}, false {orelse}"
            )


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs"
