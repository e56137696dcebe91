"""What else cannot be compiled behind the places where every path of a refused capture ended.

Such a place is passed with results that are `UNKNOWN`, and so are the results of what reads them. A
branch on them goes both ways. What varies from turn to turn of a loop is not learned any more: a
place is entered in so many states only, and the number of instructions is bounded. So this may
overlook a problem, but what it reports does not hang on a value that it does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from dyncc.core.errors import Diagnostic
from dyncc.frontend.builder import BlockBuilder
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Context, PythonError, Unsupported
from dyncc.frontend.differences import shape_of
from dyncc.frontend.interpreter import Finished, Interpreter
from dyncc.frontend.machine import Machine
from dyncc.frontend.reached import Reached
from dyncc.frontend.standing import context_of, diagnostic, place_of, skip_jumps
from dyncc.frontend.unwinding import may_catch
from dyncc.frontend.values import Ref, State
from dyncc.ir.hcfg import Jump, Terminator, Value
from dyncc.ir.types import SCALARS

#: So many instructions are looked at: a few seconds.
MAX_STEPS = 20_000
#: In so many different states with the same modules is one place entered,
MAX_VISITS = 100
#: and in so many where sizes depend on data, since those take longer.
MAX_SIZED_VISITS = 12


class _Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


#: A value that nothing is known of.
UNKNOWN = _Unknown()

#: Instructions that only pass values on, known or not.
_CARRIERS = (
    "cell", "cell_get", "cell_set", "closure", "collect", "dict", "list", "load", "move", "return",
    "set", "tuple", "yield",
)  # fmt: skip
#: Code of what is refused whatever it is given: what depends on the world outside.
_ALWAYS = ("DY601",)


class Recovery(Machine):
    """Explores a program that is refused, for the diagnostics; it makes no blocks."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._met: set[object] = set()
        self._visits: Counter[tuple[Context, object]] = Counter()
        self._steps = 0

    def explore(self, state: State, params: tuple[Value, ...]) -> None:
        """Run every path that can be reached from `state`."""
        ways = [(state, params)]
        while ways:
            state, params = ways.pop()
            builder = BlockBuilder("", params, self.fresh, place_of(state))
            # A state with unknown values may be one that nothing else is made for.
            with suppress(Exception):
                _Explorer(self, state, builder).run()
            ways += [(found.state, tuple(found.params)) for _, found in self._pending]
            self._pending.clear()

    def edge(
        self, state: State, builder: BlockBuilder, read: Callable[[State, Ref], Value]
    ) -> Jump:
        """Note a way to go on."""
        skip_jumps(state)
        context = context_of(state)
        found = self._canonical(state, context, builder, read)
        place = context, shape_of(found.key)
        most = MAX_SIZED_VISITS if found.positive else MAX_VISITS
        if found.key not in self._met and self._visits[place] < most:
            self._met.add(found.key)
            self._visits[place] += 1
            self._pending.append(("", found))
        return Jump("", ())

    def finish(self, builder: BlockBuilder, terminator: Terminator) -> None:
        """End a path."""

    def diagnose(self, state: State, problem: Unsupported) -> None:
        """Record a problem, once for each place."""
        found = diagnostic(state, problem)
        if all(other.where != found.where for other in self.diagnostics):
            self.diagnostics.append(found)

    def report(self, found: Diagnostic) -> None:
        """Leave out what is raised: it may be for what was passed over."""

    def step(self) -> None:
        """Count an instruction."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Finished


class _Explorer(Interpreter):
    """Runs one path, past what cannot be compiled."""

    machine: Recovery

    def _must_cut(self, fresh: bool) -> bool:
        if self.instr.op == "next" and self.use() is UNKNOWN:
            return False
        return super()._must_cut(fresh)

    def _step(self, fresh: bool) -> None:
        self.machine.step()
        before, self._mark = self.state.copy(), self.builder.mark()
        instr, depth = self.instr, len(self.state.frames)
        values = [self.frame.registers.get(name) for name in instr.uses]
        search = _Search(self.state, *values)
        self._hangs = search.found
        if search.directly and instr.op not in (*_CARRIERS, "call"):
            self._pass(before)
            return
        try:
            super()._step(fresh)
        except Finished:
            raise
        except Exception:  # noqa: BLE001 - whatever an operation says to values that it cannot take
            self._pass(before)
            return
        if search.directly and instr.op == "call" and depth == len(self.state.frames):
            self._forget(instr)

    def throw(self, state: State, error: PythonError) -> None:
        """Let an exception be handled, or go on where none would be raised if all were well."""
        if self._hangs or (error.problem is not None and not may_catch(state, error.kind)):
            self._pass(state)
        else:
            super().throw(state, error)

    def _give_up(self, before: State, problem: Unsupported) -> NoReturn:  # type: ignore[misc]
        if not self._hangs or problem.code in _ALWAYS:
            self.machine.diagnose(before, problem)
        self._pass(before)

    def cut(self) -> NoReturn:
        """End the block here and go on in another."""
        self.finish(self.edge(self.state))

    def _pass(self, before: State) -> None:
        """Go on behind the next instruction of a state, with results that are unknown."""
        self.builder.rollback(self._mark)
        self.state, instr = before, before.frames[-1].code.instrs[before.frames[-1].pc]
        if instr.op in ("return", "raise"):
            raise Finished
        if instr.op in ("branch", "next"):
            self.expect_join()
            then, orelse = before.copy(), before.copy()
            ends = (*instr.targets, before.frames[-1].pc + 1)
            then.frames[-1].pc, orelse.frames[-1].pc = ends[:2]
            self.fork(Value("", SCALARS["bool"]), then, orelse, "")
        self._forget(instr)
        self.frame.pc += 1

    def _forget(self, instr: Instr) -> None:
        for name in instr.dest:
            self.frame.registers[name] = UNKNOWN


class _Search(Reached):
    """Whether values lead to what is unknown.

    Attributes
    ----------
    found
        Whether they do.
    directly
        Whether one of them is unknown.
    """

    def __init__(self, state: State, *values: Any) -> None:
        self.found = False
        self.directly = any(value is UNKNOWN for value in values)
        super().__init__(state, *values)

    def add(self, item: Any) -> None:
        """Follow a value."""
        self.found |= item is UNKNOWN
        super().add(item)
