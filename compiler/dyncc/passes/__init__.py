"""Passes over programs: pure functions from HCFG to HCFG."""

from __future__ import annotations

from collections.abc import Callable

from dyncc.ir.hcfg import Hcfg

PASSES: tuple[Callable[[Hcfg], Hcfg], ...] = ()


def run_passes(program: Hcfg) -> Hcfg:
    """Every pass, in order."""
    for run in PASSES:
        program = run(program)
    return program
