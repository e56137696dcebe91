"""What each pass makes of a small program, as text before and after."""

from __future__ import annotations

from pathlib import Path

import pytest
from passes.profiled import fuse_paths

from dyncc.ir.parser import parse
from dyncc.ir.text import to_text
from dyncc.ir.verifier import verify
from dyncc.passes import PASSES

#: All that are one function of a program.
RUNS = (*PASSES, fuse_paths)
GOLDENS = Path(__file__).parent / "goldens"
BEFORE = sorted(GOLDENS.glob("*.before.hcfg"))
#: Programs that their pass leaves as they are.
LEFT_ALONE = {"hoist_common_code_not", "hoist_invariants_not"}


def name_of(path: Path) -> str:
    """The name of a case: that of a pass, or one that begins with it."""
    return path.name.removesuffix(".before.hcfg")


@pytest.mark.parametrize("before", BEFORE, ids=name_of)
def test_expected_text_after_a_pass(before: Path, request: pytest.FixtureRequest) -> None:
    name = name_of(before)
    run = next(run for run in RUNS if name.startswith(run.__name__))
    text = before.read_text(encoding="utf-8")
    program = parse(text)
    verify(program)
    assert to_text(program) == text
    after = run(program)
    verify(after)
    assert parse(to_text(after)) == after
    assert (after == program) == (name in LEFT_ALONE)
    golden = before.with_name(f"{name}.after.hcfg")
    if request.config.getoption("--update-goldens"):
        golden.write_text(to_text(after), encoding="utf-8")
    assert to_text(after) == golden.read_text(encoding="utf-8")


def test_each_pass_has_a_golden() -> None:
    assert {run.__name__ for run in RUNS} <= {name_of(path) for path in BEFORE}
