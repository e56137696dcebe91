"""What one attempt of a capture learns for the next: which places vary at run time.

The machine explores a program with the assumption that every Python value that could be known at
compile time is known. Where two paths meet with different values (a loop counter, a list that
grows), the place is *widened*: it becomes a block parameter. The capture then starts again with
that decision, so that the loop is rolled from its first turn. Where a widened value turns out to be
needed at compile time (it indexes a list of modules), the widening is taken back and the loop is
unrolled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.frontend.canonical import Path
    from dyncc.frontend.templates import Template

#: A place in the program: code and program point of every active function.
Context = tuple[tuple[int, int], ...]

#: The origin of scalars that are arguments of the network.
ENTRY: Context = ()


@dataclass(frozen=True)
class Extent:
    """How a size is widened that differs between the turns of a loop.

    Sizes of one `group` that are equal on the way into the loop are taken to stay equal, until two
    turns show that they do not.
    """

    group: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Body:
    """A loop in one activation of a function.

    Attributes
    ----------
    around
        Code and program point of the functions around that activation.
    code
        Serial number of its code.
    first, last
        Program points.
    deciding
        Places that decide whether there is another turn: variables, and positions of iterators.
    """

    around: Context
    code: int
    first: int
    last: int
    deciding: frozenset[Path]

    def is_around(self, context: Context) -> bool:
        """Whether a program point is in it, or in a function that is called in it."""
        return self.is_in_function_of(context) and (
            self.first <= context[len(self.around)][1] <= self.last
        )

    def is_in_function_of(self, context: Context) -> bool:
        """Whether a program point is in the same activation, or in one that is called there."""
        return _same_function(self.around, self.code, context)


def _same_function(around: Context, code: int, context: Context) -> bool:
    depth = len(around)
    return context[:depth] == around and [code] == [
        found for found, _ in context[depth : depth + 1]
    ]


class Restart(Exception):
    """The current attempt rests on an assumption that turned out to be wrong."""


class Unsupported(Exception):
    """A construct that cannot be compiled at this place; see `dyncc.core.errors.Diagnostic`."""

    def __init__(self, code: str, construct: str, why: str, hint: str) -> None:
        super().__init__(f"{code} {construct}: {why}")
        self.code = code
        self.construct = construct
        self.why = why
        self.hint = hint


class PythonError(Exception):
    """An instruction raises an exception of the user's program.

    `problem` is what to report if nobody catches it, for one that is found while the network is
    compiled and not meant.
    """

    def __init__(
        self, kind: type[BaseException], args: tuple[Any, ...], problem: Unsupported | None = None
    ) -> None:
        super().__init__(kind.__name__, args)
        self.kind = kind
        self.arguments = args
        self.problem = problem


@dataclass
class Decisions:
    """Decisions that are kept between attempts.

    Attributes
    ----------
    widened
        For each program point, the places that vary there.
    kept
        Places that must stay static.
    held
        Loops in which what decides on another turn must, since their turns differ in lists that
        cannot have a run-time length: such a loop ends if it is unrolled, or not at all.
    rolled, released
        Places and loops that can not, since the loop would be unrolled without end.
    chosen
        For each program point, places that stay static, too, since there one path is made for each
        value; these are never rolled.
    empty
        For each program point, labels of sizes there that may be 0.
    together
        For each widening, the fewest that came with it: two states differed in all of them.
    loops
        Heads of loops whose trip count depends on data.
    recursive
        Beginnings of functions whose recursion has a stack, and where they are called from.
    state
        Dotted names of buffers and attributes that a call changes.
    aliased
        For each program point and each storage there with a size that varies: the other places that
        lead to it while it does.
    relaid
        For each program point, places of tensors that eager PyTorch may hold in another order of
        dimensions; see `dyncc.frontend.values.Storage`.
    owned_arguments
        Whether tensors of the caller carry their place along, since a call may change one.
    changed
        Whether this attempt added to any of them.
    """

    widened: dict[Context, dict[Path, Template | Extent | None]] = field(default_factory=dict)
    kept: set[tuple[Context, Path]] = field(default_factory=set)
    held: set[Body] = field(default_factory=set)
    rolled: set[tuple[Context, Path]] = field(default_factory=set)
    released: set[Body] = field(default_factory=set)
    chosen: dict[Context, set[Path]] = field(default_factory=dict)
    empty: dict[Context, set[str]] = field(default_factory=dict)
    together: dict[Any, frozenset[Any]] = field(default_factory=dict)
    loops: set[Context] = field(default_factory=set)
    recursive: dict[Context, tuple[Any, ...]] = field(default_factory=dict)
    state: set[str] = field(default_factory=set)
    aliased: dict[Context, dict[Path, set[Path]]] = field(default_factory=dict)
    relaid: dict[Context, set[Path]] = field(default_factory=dict)
    owned_arguments: bool = False
    changed: bool = False

    def widen(self, context: Context, path: Path, how: Template | Extent | None) -> None:
        """Add a widening."""
        known = self.widened.setdefault(context, {})
        if isinstance(how, Extent) and known.get(path) == how:
            # That did not make turns alike: let it be equal to nothing else.
            how = Extent(("alone", *path)) if isinstance(path[-1], tuple) else None
            if known[path] == how:
                return
        known[path] = how
        self.changed = True

    def choose(self, context: Context, path: Path) -> None:
        """Note a place of which each value has a path of its own, on which it is known."""
        self.chosen.setdefault(context, set()).add(path)
        if self.widened.get(context, {}).pop(path, self) is not self:
            self.changed = True

    def static_at(self, context: Context) -> set[Path]:
        """The places at a program point that are not to be widened."""
        kept = {path for place, path in self.kept if place == context}
        held = {path for body in self.held if body.is_around(context) for path in body.deciding}
        return kept | held | self.chosen.get(context, set())

    def alias(self, context: Context, storage: Path, others: set[Path]) -> None:
        """Note the other places that lead to a storage while a size of it varies."""
        known = self.aliased.setdefault(context, {}).setdefault(storage, set())
        self.changed |= not others <= known
        known |= others

    def varying(
        self, context: Context, aliases: Mapping[Path, set[Path]]
    ) -> dict[Path, Template | Extent | None]:
        """What is widened at a program point, for a state with these aliases.

        A tensor that grows in a loop may start as another, which does not grow. As long as both are
        one, it has the size that they had.
        """
        known = self.aliased.get(context, {})
        return {
            path: how
            for path, how in self.widened.get(context, {}).items()
            if not isinstance(path[-1], tuple)
            or aliases.get(path[:-1], set()) <= known.get(path[:-1], set())
        }

    def keep(self, origins: frozenset[Any]) -> bool:
        """Take widenings back, for good; return whether there are any left to be taken back."""
        origins -= self.rolled
        for context, path in origins:
            self.kept.add((context, path))
            self.widened.get(context, {}).pop(path, None)
        self.changed |= bool(origins)
        return bool(origins)

    def hold(self, bodies: Iterable[Body]) -> bool:
        """Take back what was widened of that which decides on turns; return whether there is any.

        Only for loops with which that is new.
        """
        found = False
        for body in set(bodies) - self.held - self.released:
            for context, known in self.widened.items():
                if body.is_around(context) and not body.deciding.isdisjoint(known):
                    self.held.add(body)
                    for path in body.deciding & known.keys():
                        del known[path]
                    found = True
        self.changed |= found
        return found

    def holds(self, context: Context) -> bool:
        """Whether a program point is in a loop that is held."""
        return any(body.is_around(context) for body in self.held)

    def roll(self, context: Context) -> bool:
        """Widen after all what is kept in loops around a context; return whether there is any."""
        found = {
            (head, path)
            for head, path in self.kept
            # In the same function, wherever in it.
            if head and _same_function(head[:-1], head[-1][0], context)
        }
        self.kept -= found
        loops = {body for body in self.held if body.is_in_function_of(context)}
        self.held -= loops
        self.rolled |= found
        self.released |= loops
        self.changed |= bool(found or loops)
        return bool(found or loops)

    def may_be_empty(self, context: Context, label: str) -> None:
        """Note a size that may be 0."""
        self.empty.setdefault(context, set()).add(label)
        self.changed = True

    def explain(self, origin: Any, reason: frozenset[Any]) -> None:
        """Note that a widening came with others; the fewest say what it has to do with."""
        if len(reason) <= len(self.together.get(origin, reason)):
            self.together[origin] = reason

    def unroll(self, origins: frozenset[Any]) -> bool:
        """Take back what was widened, and all that was for the same reason, as `keep` does."""
        return self.keep(origins.union(*(self.together.get(origin, ()) for origin in origins)))

    def add_loop(self, context: Context) -> None:
        """Note a loop with a data-dependent trip count."""
        if context not in self.loops:
            self.loops.add(context)
            self.changed = True

    def call_from(self, sites: dict[Context, list[Any]]) -> None:
        """Note where functions are called from whose recursion has a stack."""
        for context, found in sites.items():
            if set(found) != set(self.recursive[context]):
                self.recursive[context] = tuple(found)
                self.changed = True

    def relaid_at(self, context: Context) -> set[Path]:
        """The places at a program point that are in `relaid`; may be added to."""
        return self.relaid.setdefault(context, set())

    def count_relaid(self) -> int:
        """How many places are in `relaid`."""
        return sum(map(len, self.relaid.values()))

    def own_arguments(self) -> bool:
        """Let arguments carry their place from now on; return whether that is news."""
        news = not self.owned_arguments
        self.owned_arguments = True
        self.changed |= news
        return news

    def add_state(self, name: str) -> None:
        """Note a buffer or attribute that a call changes."""
        if name not in self.state:
            self.state.add(name)
            self.changed = True
