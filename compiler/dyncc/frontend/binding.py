"""Arguments of a call by the names of its parameters."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import DictObj


def signature_of(function: types.FunctionType) -> inspect.Signature:
    """The parameters of a function's own code, also where `functools.wraps` tells others."""
    plain = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    plain.__kwdefaults__ = function.__kwdefaults__
    return inspect.signature(plain)


def arguments(
    run: Interpreter,
    name: str,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    default: Callable[[Any], Any],
) -> dict[str, Any]:
    """Registers with the arguments of a call; `default` gives the value for a default."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        problem = Unsupported("DY101", f"a call of `{name}`", str(error), "Correct the call.")
        text = _signature_error(name, signature, len(args), tuple(kwargs))
        raise PythonError(TypeError, (text,), problem) from error
    registers: dict[str, Any] = {}
    for key, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            items = tuple(bound.arguments.get(key, {}).items())
            registers[key] = run.state.new(DictObj(items))
        elif key in bound.arguments:
            registers[key] = bound.arguments[key]
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            registers[key] = ()
        else:
            registers[key] = default(parameter.default)
    return registers


def _signature_error(
    name: str, signature: inspect.Signature, count: int, names: tuple[str, ...]
) -> str:
    """What Python says of a call whose arguments do not fit."""
    empty = inspect.Parameter.empty
    plain = [
        item.replace(annotation=empty, default=empty if item.default is empty else None)
        for item in signature.parameters.values()
    ]
    scope: dict[str, Any] = {}
    # Python itself words it; of the user's only names of parameters go in.
    exec(f"def stub{inspect.Signature(plain)}: pass", scope)  # noqa: S102
    scope["stub"].__qualname__ = name
    try:
        scope["stub"](*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    raise AssertionError("the arguments fit")
