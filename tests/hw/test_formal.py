"""Properties of the hardware are proved, and wrong designs are refuted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from amaranth import Signal

from dyncc.arch.neurocorex import CoreSpec
from dyncc.core.tools import FORMAL_TOOLS, find
from dyncc_hw.neurocorex.bus import BusServer
from dyncc_sim.formal.__main__ import main
from dyncc_sim.formal.design import Design
from dyncc_sim.formal.properties import PROPERTIES
from dyncc_sim.formal.prover import Property, prove
from dyncc_sim.formal.sby import Mode

MISSING = [need for need in FORMAL_TOOLS.values() if find(need).path is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason="; ".join(f"{need.name} was not found: {need.source}" for need in MISSING),
)


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(item, id=item.name, marks=[pytest.mark.slow] if item.slow else [])
        for item in PROPERTIES
    ],
)
def test_property(item: Property) -> None:
    assert prove(item).problems == []


# --- the prover itself ------------------------------------------------------------------------


class Counter:
    """What a counter does: it goes to `last` and stays there."""

    last = 5

    @classmethod
    def build(cls, design: Design) -> None:
        count = Signal(4)
        with design.m.If(count != cls.last):
            design.m.d.sync += count.eq(count + 1)
        design.claim(count <= 5, "at most five")
        design.reaches(count == 5, "five")


def beyond() -> Any:
    return patch.object(Counter, "last", 6)


def property_of(**values: Any) -> Property:
    standard = {"build": Counter.build, "depth": 2, "reach": 8, "faults": {"six": beyond}}
    return Property("counter", "It counts to five.", "a counter", **standard | values)


def test_what_holds_has_no_problems_and_is_kept() -> None:
    first, second = prove(property_of()), prove(property_of())
    assert first.problems == []
    assert first == second
    assert first.refuted["six"].reason.startswith("at most five (test_formal.py:")


def test_what_does_not_hold_is_told_with_a_trace() -> None:
    with beyond():
        outcome = prove(property_of(mode=Mode.BOUNDED, depth=8, suffices="it is not to hold"))
    assert outcome.proof.status == "FAIL"
    assert outcome.proof.trace is not None
    assert outcome.problems == [
        f"it is not proved: FAIL {outcome.proof.reason} (see {outcome.proof.trace})"
    ]


def test_what_is_not_reached_is_told() -> None:
    (problem,) = prove(property_of(reach=5, faults={"none": beyond})).problems[:1]
    assert "a situation does not occur: FAIL five (test_formal.py:" in problem


def test_a_fault_that_changes_nothing_is_told() -> None:
    (problem,) = prove(property_of(faults={"none": nullcontext})).problems
    assert problem.startswith("with the fault 'none' it is not refuted: PASS")


def test_properties_say_what_they_rest_on() -> None:
    with pytest.raises(ValueError, match="without a fault nobody knows whether it can fail"):
        property_of(faults={})
    with pytest.raises(ValueError, match="only a bounded proof says why its depth suffices"):
        property_of(mode=Mode.BOUNDED)


def test_names_that_do_not_exist_are_errors() -> None:
    design, server = Design(), BusServer(CoreSpec(2, 1))
    with pytest.raises(ValueError, match="BusServer has no input nothing"):
        design.add(server, "server", nothing=1)
    inside = design.add(server, "server", idle=1)
    with pytest.raises(LookupError, match="0 signals are named 'nothing'"):
        design.signal(inside, "nothing")
    assert design.signal(inside, "clear").name == "clear"
    assert "module" in design.rtlil(locations=False)


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["round_shift"]) == 0
    assert "it rounds down" in " ".join(capsys.readouterr().out.split())
