"""Makes a jump of a branch whose two ways are one: the same block with the same values.

Its condition is then no longer needed, nor what computes it, down to the region. ``dyncc verify``
still leads the source both ways there (`dyncc.ir.places.Either`): that both are the same is a claim
of the front end's, and is checked as such.
"""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import Branch, Hcfg


def drop_idle_branches(program: Hcfg) -> Hcfg:
    """`program` with a jump for each branch that leads to one place."""
    return replace(
        program,
        blocks={
            name: replace(block, terminator=block.terminator.then)
            if isinstance(block.terminator, Branch)
            and block.terminator.then == block.terminator.orelse
            else block
            for name, block in program.blocks.items()
        },
    )
