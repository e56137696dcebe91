"""Functions made in the network, and the variables that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dyncc.frontend.binding import arguments
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import handles
from dyncc.frontend.values import CellObj, ClosureObj

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter


# --- shared variables -------------------------------------------------------------------------


@handles("cell")
def _cell(run: Interpreter, instr: Instr) -> None:
    (name,) = instr.dest
    registers = run.frame.registers
    registers[name] = run.state.new(CellObj((registers[name],) if name in registers else ()))
    run.frame.pc += 1


@handles("cell_get")
def _cell_get(run: Interpreter, instr: Instr) -> None:
    found: CellObj = run.state.heap[run.use()]
    if not found.parts:
        raise Unsupported(
            "DY103",
            f"`{instr.const}`",
            "it has no value on a path that leads here",
            "Give it a value before the branch or the loop.",
        )
    run.done(found.parts[0])


@handles("cell_set")
def _cell_set(run: Interpreter, instr: Instr) -> None:
    cell, value = run.uses()
    run.state.heap[cell] = CellObj((value,))
    run.done()


@handles("cell_clear")
def _cell_clear(run: Interpreter, instr: Instr) -> None:
    run.state.heap[run.use()] = CellObj()
    run.done()


# --- functions --------------------------------------------------------------------------------


@handles("closure")
def _closure(run: Interpreter, instr: Instr) -> None:
    made = ClosureObj(instr.const, run.frame.function, tuple(run.uses()))
    run.done(run.state.new(made))


def enter_closure(
    run: Interpreter,
    found: ClosureObj,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: str | None = None,
) -> None:
    """Call a function made in the network."""
    from dyncc.frontend.calls import push

    template = found.template
    registers = arguments(
        run, template.code.name, template.signature, args, kwargs, lambda i: found.parts[i]
    )
    cells = found.parts[template.defaults :]
    registers.update(zip(template.captured, cells, strict=True))
    push(run, template.code, found.function, registers, result)
