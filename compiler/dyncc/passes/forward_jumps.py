"""Bypasses blocks that do nothing but jump on."""

from __future__ import annotations

from dataclasses import replace

from dyncc.ir.hcfg import Block, Branch, Hcfg, Jump, Terminator, jumps


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

    def redirect(terminator: Terminator) -> Terminator:
        if isinstance(terminator, Jump):
            return follow(terminator)
        if isinstance(terminator, Branch):
            return replace(
                terminator, then=follow(terminator.then), orelse=follow(terminator.orelse)
            )
        return terminator

    blocks: dict[str, Block] = {
        name: replace(block, terminator=redirect(block.terminator))
        for name, block in program.blocks.items()
    }
    return replace(program, blocks=_reached(blocks))


def _reached(blocks: dict[str, Block]) -> dict[str, Block]:
    reached: set[str] = set()
    pending = [next(iter(blocks))]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += [jump.target for jump in jumps(blocks[name].terminator)]
    return {name: block for name, block in blocks.items() if name in reached}
