"""Passes over programs: pure functions from HCFG to HCFG, one in each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dyncc.ir.hcfg import Hcfg
from dyncc.ir.verifier import verify
from dyncc.passes.drop_dead_values import drop_dead_values
from dyncc.passes.drop_idle_branches import drop_idle_branches
from dyncc.passes.drop_unused import drop_unused
from dyncc.passes.fold_predicates import fold_predicates
from dyncc.passes.forward_jumps import forward_jumps
from dyncc.passes.hoist_common_code import hoist_common_code
from dyncc.passes.hoist_invariants import hoist_invariants
from dyncc.passes.merge_blocks import merge_blocks
from dyncc.passes.merge_equal_blocks import merge_equal_blocks

#: In the order in which they run.
PASSES: tuple[Callable[[Hcfg], Hcfg], ...] = (
    fold_predicates,
    forward_jumps,
    merge_equal_blocks,
    hoist_common_code,
    drop_idle_branches,
    merge_blocks,
    hoist_invariants,
    drop_dead_values,
    drop_unused,
)


def stages(program: Hcfg) -> Iterator[tuple[str, Hcfg]]:
    """Run every pass, again and again until none changes anything.

    What one pass removes lets another find more; each makes the program smaller, or what is done in
    its loops, so that there is an end.

    Yields
    ------
    str, Hcfg
        The name of each pass that changed something, and the program that it made.

    Raises
    ------
    InternalError
        If a pass, or the front end, breaks a rule of the HCFG.
    """
    verify(program)
    changed = True
    while changed:
        changed = False
        for run in PASSES:
            after = run(program)
            if after != program:
                verify(after)
                changed, program = True, after
                yield run.__name__, after


def run_passes(program: Hcfg) -> Hcfg:
    """What `stages` makes of a program in the end."""
    for _, after in stages(program):
        program = after
    return program
