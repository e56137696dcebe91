"""Properties, and what it takes to believe a proof of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any
from unittest.mock import patch

from dyncc_sim.formal.design import Design
from dyncc_sim.formal.sby import Mode, Verdict, run, task

#: Makes a wrong design of a right one, while it is built.
Fault = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Property:
    """Something that a design does whatever its inputs are.

    Attributes
    ----------
    name
        Short name.
    claim
        What holds, a sentence.
    of
        Of which design it is proved: its size.
    build
        Puts components, assumptions, claims and situations into a design.
    depth
        Cycles of the induction, or from reset.
    mode
        Whether it is proved for all time, or for the first cycles.
    suffices
        Of a bounded proof: why these cycles are all there is.
    reach
        Cycles within which each situation occurs, so that the claim says something.
    faults
        Wrong designs, by what is wrong with them: each has to be refuted within `reach` cycles.
    slow
        Whether it takes minutes.
    """

    name: str
    claim: str
    of: str
    build: Callable[[Design], None]
    depth: int
    mode: Mode = Mode.PROVE
    suffices: str = ""
    reach: int = 20
    faults: Mapping[str, Fault] = field(default_factory=dict)
    slow: bool = False

    def __post_init__(self) -> None:
        if (self.mode is Mode.BOUNDED) != bool(self.suffices):
            raise ValueError(f"{self.name}: only a bounded proof says why its depth suffices")
        if not self.faults:
            raise ValueError(f"{self.name}: without a fault nobody knows whether it can fail")


def stateless(
    name: str,
    claim: str,
    of: str,
    build: Callable[[Design], None],
    faults: Mapping[str, Fault],
) -> Property:
    """A property of a design without registers."""
    return Property(
        name, claim, of, build,
        depth=1, mode=Mode.BOUNDED, suffices="there is no state: a cycle shows all",
        reach=1, faults=faults,
    )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What was found for a property, its situations and its faults."""

    item: Property
    proof: Verdict
    cover: Verdict
    refuted: Mapping[str, Verdict]

    @property
    def problems(self) -> list[str]:
        """Why the property is not to be believed; empty if it is."""
        found = []
        if self.proof.status != "PASS":
            found.append(f"it is not proved: {_shown(self.proof)}")
        if self.cover.status != "PASS":
            found.append(f"a situation does not occur: {_shown(self.cover)}")
        found += [
            f"with the fault {name!r} it is not refuted: {_shown(verdict)}"
            for name, verdict in self.refuted.items()
            if verdict.status != "FAIL"
        ]
        return found

    @property
    def seconds(self) -> float:
        """Time that all of it took."""
        verdicts = (self.proof, self.cover, *self.refuted.values())
        return sum(verdict.seconds for verdict in verdicts)


def _shown(verdict: Verdict) -> str:
    where = verdict.trace or verdict.folder
    return f"{verdict.status} {verdict.reason} (see {where})"


def replaced(target: str, by: Any) -> Fault:
    """A fault: another object under the name ``package.module.name`` while the design is built."""
    return lambda: patch(target, by)


def size_of(*parts: Any) -> str:
    """Parameters of a core that are not the usual ones, for `Property.of`."""
    usual = {"neurons": None} | {
        item.name: item.default for part in parts for item in fields(part) if item.name != "neurons"
    }
    values = {name: value for part in parts for name, value in vars(part).items()}
    return ", ".join(f"{name}={value}" for name, value in values.items() if value != usual[name])


def prove(item: Property) -> Outcome:
    """Prove a property, reach its situations, refute its faults; as many at a time as it can.

    Raises
    ------
    MissingToolError, ToolError
        As `dyncc_sim.formal.sby.run`.
    """
    right = _built(item)
    tasks = [task(right, item.mode, item.depth), task(right, Mode.COVER, item.reach)]
    for fault in item.faults.values():
        with fault():
            tasks.append(task(_built(item, lemmas=False), Mode.BOUNDED, item.reach))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        proof, cover, *refuted = pool.map(run, tasks)
    return Outcome(item, proof, cover, dict(zip(item.faults, refuted, strict=True)))


def _built(item: Property, lemmas: bool = True) -> Design:
    design = Design(lemmas)
    item.build(design)
    return design
