"""Handlers of instructions that say what comes next: jumps, branches, returns."""

from __future__ import annotations

from dyncc.frontend import recursion
from dyncc.frontend.code import STACK, Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.exits import leave
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.iteration import leave_generator
from dyncc.frontend.operations import source_text
from dyncc.frontend.values import Sym


@handles("jump")
def _jump(run: Interpreter, instr: Instr) -> None:
    run.frame.pc = instr.targets[0]


@handles("branch")
def _branch(run: Interpreter, instr: Instr) -> None:
    truth = run.truth(run.use())
    if not isinstance(truth, Sym):
        run.builder.passed.append((run.loc, instr))
        run.frame.pc = instr.targets[0 if truth else 1]
        return
    run.expect_join()
    then, orelse = run.state.copy(), run.state.copy()
    then.frames[-1].pc, orelse.frames[-1].pc = instr.targets
    run.fork(truth.value, then, orelse, source_text(instr))


@handles("return")
def _return(run: Interpreter, instr: Instr) -> None:
    value = run.use()
    if len(run.state.frames) == 1:
        run.finish(leave(run, value))
    if STACK in run.frame.registers and recursion.give_back(run, value):
        return
    frame = run.state.frames.pop()
    if frame.code.is_generator:
        leave_generator(run, frame, value)
    else:
        assert frame.result is not None
        run.frame.registers[frame.result] = value
    if frame.joins:
        run.cut()


@handles("unsupported")
def _unsupported(run: Interpreter, instr: Instr) -> None:
    if str(instr.const).startswith("assignment to the global"):
        raise Unsupported(
            "DY603",
            str(instr.const),
            "the change would have to outlive the call",
            "Keep such state in a buffer or in an attribute of the module.",
        )
    raise Unsupported(
        "DY301",
        str(instr.const),
        "this construct is not compiled yet",
        "Write it with if, while, for, or a helper function; it may stay where no path reaches.",
    )
