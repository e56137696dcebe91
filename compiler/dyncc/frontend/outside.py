"""Objects that existed before the call: what a network may not do to them, and context variables.

They are plain Python objects here, shared by all paths and by the model itself. A change of one
would happen once, when the network is compiled, and be seen by every path; so it is refused. A
context variable is set for a time: its value is kept with the path, and must be as before when the
network returns.
"""

from __future__ import annotations

import contextvars
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.values import InstanceObj, Ref

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter

_ITEMS = {"__setitem__", "__delitem__", "clear", "pop"}
_IN_PLACE = {"__iadd__", "__imul__", "__ior__", "__iand__", "__isub__", "__ixor__"}
_LIST = _ITEMS | _IN_PLACE | {"append", "extend", "insert", "remove", "reverse", "sort"}
_DICT = _ITEMS | _IN_PLACE | {"popitem", "setdefault", "update", "move_to_end", "__missing__"}
_SET = _IN_PLACE | {
    "add", "clear", "difference_update", "discard", "intersection_update", "pop", "remove",
    "symmetric_difference_update", "update",
}  # fmt: skip
_DEQUE = _LIST | {"appendleft", "extendleft", "popleft", "rotate"}
#: Methods that change an object, by the builtin class that has them.
_CHANGES: dict[type, set[str]] = {
    list: _LIST, bytearray: _LIST, dict: _DICT, OrderedDict: _DICT, defaultdict: _DICT, set: _SET,
    deque: _DEQUE, object: {"__setattr__", "__delattr__"},
}  # fmt: skip

#: Where states keep the values of context variables, as attributes of owners of that name.
_CONTEXT = "<context>"


def outside_method(
    run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A method, written in C, of an object that existed before; NotImplemented if it may run.

    Raises
    ------
    Unsupported
        If it changes the object.
    """
    if function is next and args and isinstance(args[0], Iterator):
        raise _change(type(args[0]), "next")
    if isinstance(function, types.BuiltinMethodType | types.MethodWrapperType):
        owner, rest = function.__self__, args
    elif isinstance(function, types.MethodDescriptorType | types.WrapperDescriptorType) and args:
        owner, rest = args[0], args[1:]
    else:
        return NotImplemented
    name = function.__name__
    if isinstance(owner, contextvars.ContextVar):
        return _context_variable(run, owner, name, rest)
    if isinstance(owner, Ref | type | types.ModuleType):
        return NotImplemented
    if isinstance(owner, Iterator) and name in ("__next__", "send", "throw", "close"):
        raise _change(type(owner), name)
    if any(isinstance(owner, kind) and name in names for kind, names in _CHANGES.items()):
        raise _change(type(owner), name)
    return NotImplemented


def _change(kind: type, name: str) -> Unsupported:
    return Unsupported(
        "DY603",
        f"`{name}` of a {kind.__name__} that existed before the call",
        "the change would have to outlive the call",
        "Copy the object first, or keep such state in a buffer or in an attribute of the module.",
    )


# --- context variables ------------------------------------------------------------------------


def _context_variable(
    run: Interpreter, variable: contextvars.ContextVar[Any], name: str, args: tuple[Any, ...]
) -> Any:
    key = (_CONTEXT, run.machine.outside_name(variable))
    held = run.state.attributes.get(key)
    if name == "get":
        if held is not None:
            return held[0]
        try:
            return variable.get(*args)
        except LookupError as error:
            problem = Unsupported("DY106", "a context variable", "it has no value", "Set it first.")
            raise PythonError(LookupError, error.args, problem) from error
    if name == "set":
        run.state.attributes[key] = args
        # The token tells what to go back to.
        fields = (("var", variable), ("before", () if held is None else held))
        return run.state.new(InstanceObj(contextvars.Token, fields))
    if name == "reset":
        token = run.state.heap[args[0]] if isinstance(args[0], Ref) else None
        held_by = token.fields if isinstance(token, InstanceObj) else ()
        if token is not None and held_by[:1] == (("var", variable),) and len(held_by) == 2:
            _restore(run, key, token.get("before"))
            run.state.heap[args[0]] = token.set("used", True)
            return None
    raise Unsupported(
        "DY505",
        f"`.{name}()` of a context variable",
        "it is not compiled here",
        "Use get, set and reset.",
    )


def _restore(run: Interpreter, key: tuple[str, str], before: tuple[Any, ...]) -> None:
    if before:
        run.state.attributes[key] = before
    else:
        del run.state.attributes[key]


def check_outside(run: Interpreter) -> None:
    """Refuse to return while a context variable holds what the network set."""
    for owner, _ in run.state.attributes:
        if owner == _CONTEXT:
            raise Unsupported(
                "DY604",
                "a context variable that is set when the network returns",
                "the change would have to outlive the call",
                "Reset it with the token that `set` gave.",
            )
