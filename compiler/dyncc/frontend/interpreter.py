"""Runs the flat code of one block; one handler for each instruction.

A handler changes the state of its path and records into the block under construction. Handlers may
be run again from the start of a new block, so they leave the state as it was when they raise.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, NoReturn

from dyncc.core.errors import InternalError
from dyncc.frontend.builder import BlockBuilder, Late
from dyncc.frontend.code import Instr
from dyncc.frontend.computing import Computing, NeedStatic
from dyncc.frontend.decisions import PythonError, Restart, Unsupported
from dyncc.frontend.environment import is_environment, note_environment
from dyncc.frontend.guards import Guarded
from dyncc.frontend.joins import meeting_point, post_dominators
from dyncc.frontend.machine import Machine
from dyncc.frontend.recorder import DataDependent
from dyncc.frontend.standing import context_of, diagnostic, place_of
from dyncc.frontend.storages import WriteToShared
from dyncc.frontend.values import (
    DynIterObj,
    DynListObj,
    Frame,
    IterObj,
    Ref,
    State,
    Sym,
)
from dyncc.ir.hcfg import Branch, Jump, Loc, Operand, Raise, Value

#: So many relations of sizes may one operation decide by.
MAX_QUESTIONS = 8


class Finished(Exception):
    """The block has its terminator."""


Handler = Callable[["Interpreter", Instr], None]
HANDLERS: dict[str, Handler] = {}


def handles(op: str) -> Callable[[Handler], Handler]:
    """Register a handler of an instruction."""

    def register(function: Handler) -> Handler:
        HANDLERS[op] = function
        return function

    return register


class Interpreter(Computing):
    """Runs one path from the start of a block to its terminator."""

    def __init__(self, machine: Machine, state: State, builder: BlockBuilder) -> None:
        self.machine = machine
        self.state = state
        self.builder = builder
        self.decisions = machine.decisions
        self._guards = 0

    @property
    def frame(self) -> Frame:
        """The active function."""
        return self.state.frames[-1]

    @property
    def instr(self) -> Instr:
        """The instruction about to run."""
        return self.frame.code.instrs[self.frame.pc]

    @property
    def loc(self) -> Loc:
        """Its place in the source."""
        return place_of(self.state)

    # -- running -------------------------------------------------------------------------------

    def run(self) -> None:
        """Build the whole block."""
        fresh = True
        try:
            while True:
                if self._must_cut(fresh) and not fresh:
                    self.cut()
                self._step(fresh)
                fresh = False
        except Finished:
            return

    def _step(self, fresh: bool) -> None:
        before, mark = self.state.copy(), self.builder.mark()
        self.builder.begin()
        frame, self._guards = self.frame, 0
        try:
            try:
                HANDLERS[self.instr.op](self, self.instr)
                frame.cleared = (-1, ())
            except PythonError as error:
                self.state = before.copy()
                self.throw(self.state, error)
        except Late as late:
            self.state = before
            self.builder.rollback(mark)
            if fresh:
                raise InternalError("an instruction cannot be cut", where=str(self.loc)) from late
            self.cut()
        except NeedStatic as need:
            if self.decisions.unroll(need.sym.origins):
                raise Restart from need
            self._give_up(
                before,
                Unsupported(
                    "DY201",
                    need.what,
                    "its value has to be known when the network is compiled, "
                    "and this one comes out of tensor data",
                    "Branch on it, so that each side has a constant, or compute with tensors.",
                ),
            )
        except DataDependent:
            self._give_up(
                before,
                Unsupported(
                    "DY202",
                    "this operation",
                    "library code asks for the content of a tensor",
                    "Use .item() where a number is wanted, or a tensor operation.",
                ),
            )
        except WriteToShared as problem:
            if self.decisions.own_arguments():
                raise Restart from problem
            self._give_up(before, problem)
        except Unsupported as problem:
            self._give_up(before, problem)
        except Guarded as test:
            self.state = before
            try:
                self._branch_before(test)
            except Unsupported as problem:
                self._give_up(before, problem)

    def passed_guard(self) -> bool | None:
        """Count a test that has to precede this instruction; return its outcome if it has."""
        self._guards += 1
        pc, outcomes = self.frame.cleared
        passed = pc == self.frame.pc and self._guards <= len(outcomes)
        return outcomes[self._guards - 1] if passed else None

    def _branch_before(self, test: Guarded) -> None:
        """Branch on whether this instruction raises, or on what it decides by."""
        pc, outcomes = self.frame.cleared
        before = outcomes if pc == self.frame.pc else ()
        # Those whose outcome is known by itself are counted, too.
        before += (True,) * (self._guards - 1 - len(before))
        if len(before) == MAX_QUESTIONS:
            raise Unsupported(
                "DY205",
                "an operation that decides by sizes that are known at run time only",
                f"it asks for more than {MAX_QUESTIONS} relations of them",
                "Use an operation that works alike for every size.",
            )
        self.expect_join(raising=test.kind is not None)
        good, bad = self.state.copy(), self.state.copy()
        good.frames[-1].cleared = (self.frame.pc, (*before, True))
        source = ast.unparse(self.instr.node)  # type: ignore[arg-type]
        if test.kind is None:
            bad.frames[-1].cleared = (self.frame.pc, (*before, False))
            text = f"{source} where {test.arguments[0]}"
        else:
            self.throw(bad, PythonError(test.kind, test.arguments))
            text = f"{source} raises no {test.kind.__name__}"
        self.fork(test.good.value, good, bad, text)

    def throw(self, state: State, error: PythonError) -> None:
        """Let an exception be handled, or end the block with it."""
        from dyncc.frontend.raising import new_error, throw

        problem = None
        if error.problem is not None:
            problem = diagnostic(state, error.problem)
        throw(self, state, new_error(state, error.kind, error.arguments, problem))

    def _give_up(self, before: State, problem: Unsupported) -> NoReturn:
        self.state = before
        self.machine.diagnose(self.state, problem)
        self.finish(Raise("NotImplementedError", (problem.construct,), self.loc))

    def finish(self, terminator: Any) -> NoReturn:
        """End the block."""
        self.machine.finish(self.builder, terminator)
        raise Finished

    def cut(self) -> None:
        """End the block here and go on in another."""
        before = self.state.copy()
        try:
            jump = self.edge(self.state)
        except Unsupported as problem:
            self._give_up(before, problem)
        self.finish(jump)

    def edge(self, state: State) -> Jump:
        """An edge to the block for `state`."""
        return self.machine.edge(state, self.builder, self.value_in)

    def value_in(self, state: State, ref: Ref) -> Value:
        """Value of a heap tensor of another state of this block."""
        return self._recorder(state).read(ref)

    def _must_cut(self, fresh: bool) -> bool:
        """Whether a new block starts at this program point."""
        frame = self.frame
        if frame.pc in frame.joins:
            frame.joins -= {frame.pc}
            return True
        found = self.state.heap[self.use()] if self.instr.op == "next" else None
        if isinstance(found, DynIterObj | IterObj) and self._ends_at_run_time(found):
            frame.visit(frame.pc, self.state.forks)
            return True
        may_roll = isinstance(found, DynIterObj) or (isinstance(found, IterObj) and found.changed)
        if frame.pc in frame.code.loop_heads or may_roll:
            context = context_of(self.state)
            if frame.visit(frame.pc, self.state.forks):
                self.decisions.add_loop(context)
            return context in self.decisions.loops
        return False

    def _ends_at_run_time(self, found: DynIterObj | IterObj) -> bool:
        """Whether the number of turns of a loop is only known at run time."""
        if isinstance(found, DynIterObj):
            return isinstance(found.position, Sym) or isinstance(found.stop, Sym)
        owner = None if found.owner is None else self.state.heap[found.owner]
        return isinstance(found.position, Sym) or isinstance(owner, DynListObj)

    # -- registers -----------------------------------------------------------------------------

    def use(self, index: int = 0) -> Any:
        """Value of a register that the instruction reads."""
        return self.frame.registers[self.instr.uses[index]]

    def uses(self) -> list[Any]:
        """Values of all registers that the instruction reads."""
        return [self.frame.registers[name] for name in self.instr.uses]

    def done(self, value: Any = None) -> None:
        """Write the result and go to the next instruction."""
        if is_environment(value):
            note_environment(self, value)
        if self.instr.dest:
            self.frame.registers[self.instr.dest[0]] = value
        self.frame.pc += 1

    # -- branching -----------------------------------------------------------------------------

    def fork(self, condition: Value, then: State, orelse: State, text: str) -> None:
        """End the block with a branch."""
        then.forks += 1
        orelse.forks += 1
        mark = self.builder.mark()
        try:
            ways = self.edge(then), self.edge(orelse)
        except Late:
            # Packing a list for an edge needs this block's results: branch in a block of its own.
            self.builder.rollback(mark)
            self.cut()
            return
        self.finish(Branch(condition, *ways, text, self.loc))

    def expect_join(self, raising: bool = False) -> None:
        """Note where the paths that are about to fork meet again.

        Parameters
        ----------
        raising
            Whether one of them raises an exception here.
        """
        for frame in self.state.frames[:-1]:
            # A path may come back here by an exception.
            handler = frame.code.instrs[frame.pc - 1].handler
            if handler is not None:
                frame.joins |= {meeting_point(frame.code, frame.pc - 1, handler)}
        frame = self.frame
        handler = self.instr.handler if raising else None
        if handler is not None:
            frame.joins |= {meeting_point(frame.code, frame.pc, handler)}
        else:
            frame.joins |= {post_dominators(frame.code).get(frame.pc, -1)}


def operand(value: Any) -> Operand:
    """A scalar as an operand of a host operation."""
    found: Operand = value.value if isinstance(value, Sym) else value
    return found


__all__ = ["HANDLERS", "DataDependent", "Interpreter", "NeedStatic", "handles", "operand"]
