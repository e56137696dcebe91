"""Exceptions of the user's program: made, raised, matched by class, and what they carry.

An exception is an object of its class on the symbolic heap, with its arguments in the field
``args``.
"""

from __future__ import annotations

import builtins
import inspect
import types
from typing import TYPE_CHECKING, Any

from dyncc.core.errors import Diagnostic
from dyncc.frontend.code import UNCAUGHT, Instr
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.interpreter import handles
from dyncc.frontend.unwinding import unwind
from dyncc.frontend.values import InstanceObj, Ref, State, Sym
from dyncc.ir.hcfg import Operand, Raise

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter

#: The field with the diagnostic of an exception that was found while the network was compiled.
_PROBLEM = ".problem"


def new_error(
    state: State,
    kind: type[BaseException],
    args: tuple[Any, ...],
    problem: Diagnostic | None = None,
) -> Ref:
    """A new exception object."""
    fields: tuple[tuple[str, Any], ...] = (("args", args),)
    if problem is not None:
        fields += ((_PROBLEM, problem),)
    return state.new(InstanceObj(kind, fields))


def construct_error(
    run: Interpreter, kind: type[BaseException], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A new exception object; ENTERED if its ``__init__`` is entered."""
    from dyncc.frontend.calls import inline
    from dyncc.frontend.instances import ENTERED

    ref = new_error(run.state, kind, args)
    init = inspect.getattr_static(kind, "__init__")
    if isinstance(init, types.FunctionType):
        # The result of the call is the object, not what __init__ returns.
        run.frame.registers[run.instr.dest[0]] = ref
        inline(run, init, (ref, *args), kwargs, ".void")
        return ENTERED
    if kwargs:
        raise PythonError(
            TypeError,
            (f"{kind.__name__}() takes no keyword arguments",),
            Unsupported(
                "DY101", f"a call of `{kind.__name__}`", "it takes no keywords", "Correct it."
            ),
        )
    return ref


def text_of(run: Interpreter, error: Ref) -> Any:
    """``str(error)``."""
    from dyncc.frontend import strings

    found: InstanceObj = run.state.heap[error]
    if isinstance(inspect.getattr_static(found.kind, "__str__"), types.FunctionType):
        raise Unsupported(
            "DY801",
            f"the text of a {found.kind.__name__}",
            "its class has a __str__ of its own",
            "Call a method with another name instead.",
        )
    args = found.get("args")
    if not args:
        return ""
    if len(args) > 1:
        return strings.text_of(run, args)
    return strings.text_of(run, args[0], "r" if issubclass(found.kind, KeyError) else "s")


def known_method(run: Interpreter, error: Ref, name: str, args: tuple[Any, ...]) -> Any:
    """A method of ``BaseException``; NotImplemented for others."""
    found: InstanceObj = run.state.heap[error]
    if name == "__init__":
        run.state.heap[error] = found.set("args", args)
        return None
    if name == "__str__":
        return text_of(run, error)
    if name in ("with_traceback", "add_note"):
        return error if name == "with_traceback" else None
    return NotImplemented


def throw(run: Interpreter, state: State, error: Ref) -> None:
    """Go on where `error` is handled; if nowhere, end the block, whose state is to be `state`."""
    at = run.loc
    if not unwind(state, error):
        if state is run.state:
            leave(run, error, at)
        frame = state.frames[-1]
        frame.registers[UNCAUGHT] = error
        frame.pc = len(frame.code.instrs) - 1


def leave(run: Interpreter, error: Ref, at: Any) -> None:
    """End the program with an exception that nobody caught.

    The runtime knows no classes of the user's: such an exception becomes one of its builtin base,
    whose text begins with the name of the class.
    """
    from dyncc.frontend import strings

    found: InstanceObj = run.state.heap[error]
    fields = dict(found.fields)
    if _PROBLEM in fields:
        run.machine.report(fields[_PROBLEM])
        run.finish(Raise("NotImplementedError", (), at))
    kind = next(cls for cls in found.kind.__mro__ if getattr(builtins, cls.__name__, None) is cls)
    args = fields["args"]
    if kind is not found.kind:
        parts = [f"{found.kind.__name__}: ", text_of(run, error)]
        args = (strings.concatenated(run, parts),)
    run.finish(Raise(kind.__name__, tuple(_argument(run, arg) for arg in args), at))


def _argument(run: Interpreter, value: Any) -> Operand:
    """An argument of an exception that leaves the network."""
    if isinstance(value, Sym):
        return value.value
    if run.is_tensor(value):
        return run.builder.materialised(run.read(value))
    if value is None or isinstance(value, bool | int | float | complex | str):
        found: Operand = value
        return found
    from dyncc.frontend.builtin_calls import type_of

    raise Unsupported(
        "DY305",
        "an exception that nobody catches",
        f"it carries a {type_of(run, value).__name__} out of the network",
        "Catch it in the network, or raise it with numbers, strings and tensors.",
    )


def error_of(run: Interpreter, value: Any) -> Ref:
    """The exception object that ``raise value`` raises."""
    if isinstance(value, Ref):
        found = run.state.heap[value]
        if isinstance(found, InstanceObj) and issubclass(found.kind, BaseException):
            return value
    if isinstance(value, BaseException):  # made before the network was compiled
        return new_error(run.state, type(value), value.args)
    raise PythonError(
        TypeError,
        ("exceptions must derive from BaseException",),
        Unsupported("DY108", "`raise`", "it raises no exception object", "Raise an exception."),
    )


@handles("exception")
def _exception(run: Interpreter, instr: Instr) -> None:
    from dyncc.frontend.calls import call

    value = run.use()
    if isinstance(value, type) and issubclass(value, BaseException):
        call(run, value, (), {})
    else:
        run.done(error_of(run, value))


@handles("raise")
def _raise(run: Interpreter, instr: Instr) -> None:
    throw(run, run.state, run.use())


@handles("forget")
def _forget(run: Interpreter, instr: Instr) -> None:
    for name in instr.dest:
        run.frame.registers.pop(name, None)
    run.frame.pc += 1


@handles("matches")
def _matches(run: Interpreter, instr: Instr) -> None:
    error, kinds = run.uses()
    classes = kinds if isinstance(kinds, tuple) else (kinds,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        raise PythonError(
            TypeError,
            ("catching classes that do not inherit from BaseException is not allowed",),
            Unsupported(
                "DY108", "`except`", "it names no exception classes", "Name exception classes."
            ),
        )
    run.done(issubclass(run.state.heap[error].kind, classes))
