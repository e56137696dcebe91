"""Bypasses blocks that do nothing but jump on."""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import Block, Hcfg, Jump, map_jumps, reachable


def forward_jumps(program: Hcfg) -> Hcfg:
    """`program` with every edge into an empty block led to where that block jumps."""
    empty = {
        name: block
        for name, block in program.blocks.items()
        if not block.ops
        and isinstance(block.terminator, Jump)
        and block is not program.entry
        and block.terminator.target != name
    }

    def follow(jump: Jump) -> Jump:
        seen: set[str] = set()
        while jump.target in empty and jump.target not in seen:
            seen.add(jump.target)
            block = empty[jump.target]
            onward = block.terminator
            assert isinstance(onward, Jump)
            values = dict(zip(block.params, jump.args, strict=True))
            jump = Jump(onward.target, tuple(values[arg] for arg in onward.args))
        return jump

    blocks: dict[str, Block] = {
        name: replace(block, terminator=map_jumps(block.terminator, follow))
        for name, block in program.blocks.items()
    }
    reached = reachable(blocks)
    return replace(program, blocks={name: blocks[name] for name in blocks if name in reached})
