"""The order of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dyncc.ir.hcfg import Block, jumps


def reverse_postorder(blocks: Mapping[str, Block]) -> list[str]:
    """Names of the blocks that the first leads to: each before those it leads to, but for loops."""

    def ways(name: str) -> Iterator[str]:
        # Against their order, so that the first comes first when all is reversed.
        return reversed([jump.target for jump in jumps(blocks[name].terminator)])

    entry = next(iter(blocks))
    seen, finished = {entry}, []
    pending = [(entry, ways(entry))]
    while pending:
        name, rest = pending[-1]
        target = next(rest, None)
        if target is None:
            finished.append(name)
            pending.pop()
        elif target not in seen:
            seen.add(target)
            pending.append((target, ways(target)))
    return finished[::-1]
