"""How blocks nest in If and Loop: what stands where, and which values need not be passed on.

A block that one way leads to stands where that way leads. One where ways meet stands behind the
block that all of them come through (its immediate dominator), and one outside of a loop behind the
loop (after Ramsey, "Beyond Relooper", ICFP 2022). Values are visible to what stands in or behind
the block that makes them, but for those of a loop, which end with it. A parameter that always is
one value that its block can see is no parameter any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dyncc.ir.hcfg import Hcfg, Raise, Value, jumps
from dyncc.ir.loops import Dominators, natural_loops
from dyncc.ir.order import reverse_postorder

#: A deeper block stands further out: a reader of Protobuf takes 100 levels of messages, of which an
#: If has three.
MAX_DEPTH = 20


class IrreducibleError(Exception):
    """A loop that is entered at two places; `block` is one of them."""

    def __init__(self, block: str) -> None:
        super().__init__(block)
        self.block = block


@dataclass(frozen=True)
class Structure:
    """The shape of a program as If and Loop.

    Blocks that raise are left out: each way to one ends where it begins.

    Attributes
    ----------
    order
        Position of each block in reverse postorder.
    loops
        By the block where a loop begins, the blocks of the loop.
    within
        By block, the blocks that stand behind it, in order; if a loop begins with it, in the loop.
    behind
        By the block where a loop begins, the blocks that stand behind the loop, in order.
    apart
        The blocks in `within` and `behind`; others stand where the way to them leads.
    alias
        For each parameter that is another value, that value.
    passed
        By block, the positions of its other parameters.
    """

    order: Mapping[str, int]
    loops: Mapping[str, frozenset[str]]
    within: Mapping[str, tuple[str, ...]]
    behind: Mapping[str, tuple[str, ...]]
    apart: frozenset[str]
    alias: Mapping[Value, Value]
    passed: Mapping[str, tuple[int, ...]]


def structure_of(program: Hcfg) -> Structure:
    """The shape of a program; raises IrreducibleError if it has none."""
    return _Shaping(program).run()


class _Shaping:
    def __init__(self, program: Hcfg) -> None:
        self._blocks = {
            name: program.blocks[name]
            for name in reverse_postorder(program.blocks)
            if not isinstance(program.blocks[name].terminator, Raise)
        }
        self._order = {name: index for index, name in enumerate(self._blocks)}
        self._entry = program.entry.name
        self._before: dict[str, list[str]] = {name: [] for name in self._blocks}
        for source, target in self._edges():
            self._before[target].append(source)
        self._within: dict[str, list[str]] = {}
        self._behind: dict[str, list[str]] = {}
        #: The blocks whose values each block sees, outermost first.
        self._seen: dict[str, tuple[str, ...]] = {}

    def run(self) -> Structure:
        if self._entry not in self._blocks:
            return Structure({}, {}, {}, {}, frozenset(), {}, {})
        dominators = Dominators(self._entry, self._edges())
        self._loops = self._find_loops(dominators)
        self._place(dominators.above)
        alias = self._aliases()
        passed = {
            name: tuple(i for i, param in enumerate(block.params) if param not in alias)
            for name, block in self._blocks.items()
        }
        within, behind = (
            {name: tuple(group) for name, group in table.items()}
            for table in (self._within, self._behind)
        )
        apart = frozenset(
            b for table in (within, behind) for group in table.values() for b in group
        )
        return Structure(self._order, self._loops, within, behind, apart, alias, passed)

    def _edges(self) -> Iterator[tuple[str, str]]:
        for name, block in self._blocks.items():
            for jump in jumps(block.terminator):
                if jump.target in self._blocks:
                    yield name, jump.target

    def _find_loops(self, dominators: Dominators) -> dict[str, frozenset[str]]:
        loops = natural_loops(self._edges(), dominators)
        found = {head: loop.blocks for head, loop in loops.items()}
        for source, head in self._edges():
            back = self._order[head] <= self._order[source]
            if back and source not in found.get(head, ()):
                raise IrreducibleError(head)
        return found

    def _around(self, block: str) -> list[str]:
        """The loops that a block is in, outermost first."""
        heads = [head for head, body in self._loops.items() if block in body]
        return sorted(heads, key=self._order.__getitem__)

    def _place(self, dominators: Mapping[str, str]) -> None:
        depth = {self._entry: 0}
        self._seen[self._entry] = (self._entry,)
        for name in list(self._blocks)[1:]:
            above = dominators[name]
            left = [head for head in self._around(above) if name not in self._loops[head]]
            forward = [b for b in self._before[name] if self._order[b] < self._order[name]]
            if left:
                head = left[0]
                self._behind.setdefault(head, []).append(name)
                self._seen[name] = (*self._seen[head][:-1], name)
                depth[name] = depth[head] + 1
                continue
            inner = depth[above] + (above in self._loops) + 1
            if len(forward) > 1 or inner > MAX_DEPTH:
                if inner > MAX_DEPTH:
                    above = self._outermost(above, name)
                    inner = depth[above] + (above in self._loops) + 1
                self._within.setdefault(above, []).append(name)
            self._seen[name] = (*self._seen[above], name)
            depth[name] = inner

    def _outermost(self, above: str, name: str) -> str:
        """Of the blocks around, the outermost that is in the same loops."""
        loops = [head for head in self._around(name) if head != name]
        return next(block for block in self._seen[above] if self._around(block) == loops)

    def _aliases(self) -> dict[Value, Value]:
        home: dict[Value, str] = {}
        given: dict[Value, list[Value]] = {}
        for name, block in self._blocks.items():
            home |= dict.fromkeys(block.params, name)
            home |= {value: name for op in block.ops for value in op.results}
            for jump in jumps(block.terminator):
                if jump.target in self._blocks:
                    params = self._blocks[jump.target].params
                    for param, value in zip(params, jump.args, strict=True):
                        given.setdefault(param, []).append(value)
        for param in self._blocks[self._entry].params:
            given.pop(param, None)  # the caller gives them, too
        alias: dict[Value, Value] = {}

        def real(value: Value) -> Value:
            while value in alias:
                value = alias[value]
            return value

        changed = True
        while changed:
            changed = False
            for param, values in given.items():
                sources = {real(value) for value in values} - {param}
                if param in alias or len(sources) != 1:
                    continue
                (source,) = sources
                if home[source] in self._seen[home[param]]:
                    alias[param] = source
                    changed = True
        return {param: real(param) for param in alias}
