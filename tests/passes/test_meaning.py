"""Passes keep results, effects and exceptions of random programs, and find something to do."""

from __future__ import annotations

import contextlib
import io
import math
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from fuzz.drawing import drawing_from
from hypothesis import given, settings
from passes.profiled import fuse_paths
from passes.random_programs import programs

from dyncc.backends.eager import EagerRegions
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.verifier import verify
from dyncc.passes import PASSES, run_passes
from dyncc.proof.trace import follow, natural
from dyncc.runtime.program import Program

#: Arguments of each run.
INPUTS = [
    (number, truth, real)
    for number, truth, real in ((0, True, 0.5), (3, False, -0.0), (-2, True, math.nan))
]
#: Of 100 random programs, those that a pass has to change at least: at most half of those that it
#: does change, so that a change of what it or the programs are like does not fail by chance.
LEAST = {
    "fold_predicates": 30,
    "forward_jumps": 7,
    "merge_equal_blocks": 4,
    "hoist_common_code": 2,
    "drop_idle_branches": 9,
    "merge_blocks": 18,
    "hoist_invariants": 2,
    "fuse_paths": 5,
    "drop_dead_values": 30,
    "drop_unused": 30,
}
#: Blocks after which a run is taken to go on for ever.
ENOUGH = 200


def exact(value: Any) -> Any:
    """A value in a form that is equal only to its like, with signs of zeros and of NaNs."""
    if isinstance(value, numpy.ndarray | torch.Tensor):
        return numpy.asarray(value).tobytes()
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    return type(value).__name__, value


def outcomes(program: Hcfg) -> list[Any]:
    """What runs give: printed text, and the result or the exception; None for one without end."""
    found: list[Any] = []
    runnable = Program(program, EagerRegions(program), {}, {})
    for number, truth, real in INPUTS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            x = torch.tensor([1.0, -2.0])
            trace = follow(runnable, (x, number, truth, real), {}, natural, ENOUGH)
        if trace.cut:
            found.append(None)
        elif trace.error is not None:
            found.append((printed.getvalue(), type(trace.error).__name__, str(trace.error)))
        else:
            found.append((printed.getvalue(), exact(trace.result)))
    return found


@pytest.mark.parametrize("run", [*PASSES, fuse_paths, run_passes], ids=lambda run: run.__name__)
def test_meaning_is_kept(run: Callable[[Hcfg], Hcfg]) -> None:
    changed: Counter[bool] = Counter()

    @given(programs())
    # Drawn from the seed alone, so that what passes find to do is no matter of luck.
    @settings(max_examples=100, backend=drawing_from(1))
    def check(program: Hcfg) -> None:
        verify(program)
        after = run(program)
        verify(after)
        assert run(after) == after
        changed[after != program] += 1
        for here, there in zip(outcomes(program), outcomes(after), strict=True):
            # Without its empty blocks a loop without end takes longer to be found out.
            assert here is None or here == there

    check()
    assert changed[True] >= LEAST.get(run.__name__, 50) * changed.total() / 100
