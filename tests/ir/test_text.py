"""The text form: exact round trip, expected texts, and damage."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from frontend.differential import linear, network
from hypothesis import given, settings
from hypothesis import strategies as st
from ir.programs import programs
from torch import Tensor

import dyncc
from dyncc.core.errors import ArtifactError
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.parser import parse
from dyncc.ir.text import FORMAT, to_text
from dyncc.ir.verifier import verify
from dyncc_models import halting
from dyncc_models.dycl import captioning

GOLDENS = Path(__file__).parent / "goldens"


def expose(item: Any) -> Any:
    """Everything a program holds, also what its equality leaves out."""
    if dataclasses.is_dataclass(item):
        return (
            type(item).__name__,
            *(expose(getattr(item, field.name)) for field in dataclasses.fields(item)),
        )
    if isinstance(item, dict):
        return {key: expose(value) for key, value in item.items()}
    if isinstance(item, tuple):
        return tuple(expose(part) for part in item)
    return type(item).__name__, repr(item)


@given(programs())
@settings(max_examples=150)
def test_a_program_is_what_its_text_says(program: Hcfg) -> None:
    verify(program)
    text = to_text(program)
    again = parse(text)
    assert expose(again) == expose(program)
    assert to_text(again) == text


def many_constructs() -> Hcfg:
    def forward(self: Any, x: Tensor, mode: str = "up", **rest: Tensor) -> Any:
        self.calls += 1
        seen = []
        x.mul_(2)
        while x.abs().max() > 1 and len(seen) < 9:
            x = self.layer(x) * 0.5
            seen.append(x)
        if x.isnan().any():
            raise ValueError(f"after {len(seen)} turns: {mode}")
        return {"last": x, "all": seen, "pair": (int(x.argmax()), rest["y"] if x.sum() > 0 else 1)}

    module = network(forward, calls=0, layer=linear())
    x = torch.ones(1, 4)
    return dyncc.compile(module, {"x": x, "y": x}, backend="eager", name="many").hcfg


def recursion() -> Hcfg:
    def forward(self: Any, x: Tensor) -> Tensor:
        def go(y: Tensor) -> Tensor:
            if y.norm() < 1:
                return y
            return go(y * 0.5) + y

        return go(x)

    return dyncc.compile(network(forward), (torch.ones(1, 4),), backend="eager", name="go").hcfg


EXPECTED = {
    "halting": lambda: (
        dyncc.compile(halting.build(), halting.example_inputs(), backend="eager").hcfg
    ),
    "captioning": lambda: (
        dyncc.compile(
            captioning.build(small=True), captioning.example_inputs(small=True), backend="eager"
        ).hcfg
    ),
    "many_constructs": many_constructs,
    "recursion": recursion,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_expected_text(name: str, request: pytest.FixtureRequest) -> None:
    # Places in the source move with every edit of the file: only the file names are kept.
    text = re.sub(r' at "[^"]*?([^/"]+)":\d+:\d+', r" at \1", to_text(EXPECTED[name]()))
    golden = GOLDENS / f"{name}.hcfg"
    if request.config.getoption("--update-goldens"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_text_is_refused_or_read_as_a_program(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 12))
        with_ = data.draw(st.text(st.sampled_from('%@^"{}()[]:=,.-+ \n\\x01ab'), max_size=4))
        text = text[:place] + with_ + text[place + length :]
    try:
        found = parse(text)
    except ArtifactError as error:
        assert re.match(r"line \d+: ", str(error))
    else:
        assert parse(to_text(found)) == found


TEXT = """\
hcfg 1 "small"
input x = %v1: f32[1,4]
input n = 3 optional
state "count" = %v2: int initial 0
weight "w" : f32[4]

region @r0 (%a: f32[1,4]) weights (%b: f32[4]) {
  %c: f32[1,4] = aten.add.Tensor(%a, %b, alpha=1)
  %d: f32[] = aten.sum.default(%c, dtype=dtype:f32)
  yield (%c, %d)
}

block ^b0(%v1: f32[1,4], %v2: int) at "model.py":3:4 {
  %v3: f32[1,4], %v4: f32[] = call @r0(%v1) weights ("w")
  %v5: float = item(%v4)
  %v6: bool = gt(%v5, -1.5e-3)
  branch %v6 then ^b1(%v3) else ^b2() "x > 0"
}

block ^b1(%v7: f32[1,4]) {
  return tuple(%v7, {"key": [1, none]}, list(true)) set "count" = 1
}

block ^b2() {
  raise ValueError("no")
}
"""


def test_a_newer_format_says_so() -> None:
    with pytest.raises(ArtifactError, match=f"has format {FORMAT + 1}, and this dyncc reads"):
        parse(TEXT.replace("hcfg 1", f"hcfg {FORMAT + 1}"))
