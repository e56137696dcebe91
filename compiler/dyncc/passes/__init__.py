"""Passes over programs: pure functions from HCFG to HCFG, one in each file."""

from __future__ import annotations

from collections.abc import Callable

from dyncc.ir.hcfg import Hcfg
from dyncc.ir.verifier import verify
from dyncc.passes.drop_dead_values import drop_dead_values
from dyncc.passes.forward_jumps import forward_jumps
from dyncc.passes.merge_blocks import merge_blocks

#: In the order in which they run.
PASSES: tuple[Callable[[Hcfg], Hcfg], ...] = (forward_jumps, merge_blocks, drop_dead_values)


def run_passes(program: Hcfg) -> Hcfg:
    """Run every pass, and verify what comes in and what each makes of it.

    Raises
    ------
    InternalError
        If a pass, or the front end, breaks a rule of the HCFG.
    """
    verify(program)
    for run in PASSES:
        program = run(program)
        verify(program)
    return program
