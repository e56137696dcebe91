"""The paths of a program's natural inputs: which there are, what to call them, which to time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dyncc.ir.hcfg import Branch, Hcfg, RegionCall, Return, jumps
from dyncc.proof.paths import Graph

#: How often each edge was taken in a call, in a fixed order.
Trace = tuple[tuple[tuple[str, int], int], ...]

#: Characters of a predicate in a name.
_LONGEST = 40


@dataclass(frozen=True)
class Path:
    """A path that is timed.

    Attributes
    ----------
    name
        For a person: which exit, how many turns, how many branches were true.
    inputs
        Numbers of the inputs that take it.
    weight
        The share of all inputs that it stands for, 0..1.
    blocks
        How many blocks it goes through.
    """

    name: str
    inputs: tuple[int, ...]
    weight: float
    blocks: int


def key(counts: Mapping[tuple[str, int], int]) -> Trace:
    """A trace from the counts of one call."""
    return tuple(sorted(counts.items()))


def choose(program: Hcfg | None, traces: Sequence[Trace], most: int) -> list[Path]:
    """The paths to time, from the shortest to the longest.

    If there are more than `most`, some stand for others of about their length: the inputs, in
    order of the length of their paths, are cut into `most` equal parts, and each part is
    represented by the path in its middle.

    Parameters
    ----------
    program
        The program, or None if it is not known: all inputs are then taken to go one way.
    traces
        Of each input.
    most
        Greatest number of paths.
    """
    if program is None:
        return [Path("all inputs", tuple(range(len(traces))), 1.0, 0)]
    groups: dict[Trace, list[int]] = {}
    for index, trace in enumerate(traces):
        groups.setdefault(trace, []).append(index)
    ordered = sorted(groups, key=lambda trace: (_length(trace), trace))
    shares: Mapping[Trace, float]
    if len(ordered) <= most:
        shares = {trace: len(groups[trace]) / len(traces) for trace in ordered}
    else:
        one_by_one = [trace for trace in ordered for _ in groups[trace]]
        bounds = [round(part * len(one_by_one) / most) for part in range(most + 1)]
        found: Counter[Trace] = Counter()
        for begin, end in pairwise(bounds):
            found[one_by_one[(begin + end) // 2]] += end - begin
        shares = {trace: count / len(traces) for trace, count in found.items()}
    names = _distinct([name_of(program, trace) for trace in shares])
    return [
        Path(name, tuple(groups[trace]), share, 1 + _length(trace))
        for name, (trace, share) in zip(names, shares.items(), strict=True)
    ]


def _length(trace: Trace) -> int:
    return sum(count for _, count in trace)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names, with a letter behind those that several have."""
    seen: Counter[str] = Counter()
    often = Counter(names)
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({_letters(seen[name])})" if often[name] > 1 else name)
    return result


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ... for 1, 2, ..."""
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def name_of(program: Hcfg, trace: Trace) -> str:
    """What to call a path: its exit, the turns of its loops, or how its branches went."""
    counts = dict(trace)
    parts = []
    early = _early_exits(program)
    last = _returns(program, without=set(early))
    if len(early) + last > 1:
        taken = next((i for i, edge in enumerate(early) if counts.get(edge)), len(early))
        parts.append(f"exit {taken + 1} of {len(early) + last}")
    back = [edge for loop in Graph(program).loops for edge in loop.back]
    if back:
        turns = sum(counts.get(edge, 0) for edge in back)
        parts.append(f"{turns} {'turn' if turns == 1 else 'turns'}")
    return ", ".join(parts or [_branches(program, counts)])


def _early_exits(program: Hcfg) -> list[tuple[str, int]]:
    """Ways of branches after which no region is run any more, where the other way goes on."""
    busy = {
        name
        for name, block in program.blocks.items()
        if any(isinstance(op, RegionCall) for op in block.ops)
    }
    pending = True
    while pending:
        before = len(busy)
        busy |= {
            name
            for name, block in program.blocks.items()
            if any(jump.target in busy for jump in jumps(block.terminator))
        }
        pending = len(busy) > before
    return [
        (name, way)
        for name, block in program.blocks.items()
        if isinstance(block.terminator, Branch) and name in busy
        for way, jump in enumerate(jumps(block.terminator))
        if jump.target not in busy
        and any(other.target in busy for other in jumps(block.terminator))
    ]


def _returns(program: Hcfg, without: set[tuple[str, int]]) -> bool:
    """Whether the program can return without taking some edges."""
    seen: set[str] = set()
    pending = [program.entry.name]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        terminator = program.blocks[name].terminator
        if isinstance(terminator, Return):
            return True
        pending += [
            jump.target for way, jump in enumerate(jumps(terminator)) if (name, way) not in without
        ]
    return False


def _branches(program: Hcfg, counts: Mapping[tuple[str, int], int]) -> str:
    """How the branches of a path went: how many of the predicate that it asks most were true."""
    asked: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for (block, way), count in counts.items():
        terminator = program.blocks[block].terminator
        if isinstance(terminator, Branch):
            asked[terminator.text] += count
            true[terminator.text] += count if way == 0 else 0
    if not asked:
        return "the only path"
    text, number = asked.most_common(1)[0]
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"`{shown}` true {true[text]} of {number} times"
