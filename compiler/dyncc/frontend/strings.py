"""Strings with parts that are known at run time only: f-strings, formatting, print.

Such a string is a run-time scalar like a number. Printing and logging are effects: the compiled
network prints and logs what the module would, when it would.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
import string
import sys
from collections.abc import Callable
from typing import Any

from dyncc.frontend import raising
from dyncc.frontend.bridge import field_names, is_static
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.values import DictObj, InstanceObj, ListObj, Ref, SetObj, Sym
from dyncc.ir.types import STR

#: What `!s`, `!r` and `!a` do, by the number that ast gives them; -1 is for none.
_CONVERSIONS = {-1: "", 115: "s", 114: "r", 97: "a"}
_STATIC: dict[str, Callable[[Any], Any]] = {"": lambda v: v, "s": str, "r": repr, "a": ascii}


@handles("format")
def _format(run: Interpreter, instr: Instr) -> None:
    value, spec = run.uses()
    run.done(text_of(run, value, _CONVERSIONS[instr.const], run.static(spec, "a format")))


@handles("concat")
def _concat(run: Interpreter, instr: Instr) -> None:
    run.done(concatenated(run, run.uses()))


def concatenated(run: Interpreter, parts: list[Any]) -> Any:
    """Strings put together."""
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    joined: list[Any] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return joined[0] if len(joined) == 1 else run.host("str.concat", *joined)


def text_of(run: Interpreter, value: Any, conversion: str = "", spec: str = "") -> Any:
    """The text of a value as an f-string shows it."""
    from dyncc.frontend.operations import evaluate

    if isinstance(value, Sym):
        if value.value.type == STR and conversion in ("", "s") and not spec:
            return value
        return run.host("format", value, conversion, spec, types=(STR,))
    if is_static(run.state, value):
        return evaluate(run, format, _STATIC[conversion](value), spec)
    if spec and not run.is_tensor(value):
        raise Unsupported(
            "DY801",
            "a format of a container",
            "a format applies to numbers and strings",
            "Format its items.",
        )
    if run.is_tensor(value):
        tensor = run.builder.materialised(run.read(value))
        return run.host("format", Sym(tensor), conversion, spec, types=(STR,))
    return _container_text(run, value)


def _container_text(run: Interpreter, value: Any) -> Any:
    found = run.state.heap[value] if isinstance(value, Ref) else value
    if isinstance(found, ListObj):
        return concatenated(run, ["[", *_commas(run, [("", i) for i in found.items]), "]"])
    if type(found) is tuple:
        end = ",)" if len(found) == 1 else ")"
        return concatenated(run, ["(", *_commas(run, [("", item) for item in found]), end])
    if isinstance(found, DictObj):
        pairs = [(f"{key!r}: ", item) for key, item in found.items]
        return concatenated(run, ["{", *_commas(run, pairs), "}"])
    if isinstance(found, SetObj):
        return repr(set(found.items))
    if isinstance(found, InstanceObj) and _has_own_text(found.kind):
        names = field_names(found.kind) if isinstance(found.content, tuple) else ()
        pairs = list(zip(names, found.content or (), strict=True)) or list(found.fields)
        shown = _commas(run, [(f"{name}=", item) for name, item in pairs])
        return concatenated(run, [f"{found.kind.__qualname__}(", *shown, ")"])
    if isinstance(found, InstanceObj) and issubclass(found.kind, BaseException):
        return raising.text_of(run, value)
    raise Unsupported(
        "DY801",
        "the text of an object",
        "it depends on code that is not compiled, or on the object's address",
        "Format the numbers and tensors in it.",
    )


def _commas(run: Interpreter, pairs: list[tuple[str, Any]]) -> list[Any]:
    parts: list[Any] = []
    for before, item in pairs:
        parts += [", " if parts else "", before, text_of(run, item, "r")]
    return parts


def _has_own_text(kind: Any) -> bool:
    """Whether the text of an object is the one that named tuples and data classes have."""
    if inspect.getattr_static(kind, "__str__", None) is not object.__str__:
        return False
    if issubclass(kind, tuple):
        return hasattr(kind, "_fields")
    made = getattr(getattr(kind, "__repr__", None), "__wrapped__", None)
    return made is not None and not issubclass(kind, dict) and dataclasses.is_dataclass(kind)


# --- functions and methods --------------------------------------------------------------------


def to_text(run: Interpreter, value: Any = "") -> Any:
    """``str(value)``."""
    if is_static(run.state, value):
        return NotImplemented
    return text_of(run, value, "s")


def representation(run: Interpreter, value: Any) -> Any:
    """``repr(value)`` and ``ascii(value)``, which agree on what is not static."""
    return NotImplemented if is_static(run.state, value) else text_of(run, value, "r")


def format_value(run: Interpreter, value: Any, spec: str = "") -> Any:
    """``format(value, spec)``."""
    return NotImplemented if is_static(run.state, value) else text_of(run, value, "", spec)


def print_values(
    run: Interpreter,
    *values: Any,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,
    flush: bool = False,
) -> None:
    """``print``: the compiled network prints too."""
    if file is not None and file is not sys.stdout:
        raise Unsupported(
            "DY802",
            "`print` to a file",
            "a compiled network writes to standard output only",
            "Print without `file`, or return what it would print.",
        )
    parts: list[Any] = []
    for value in values:
        parts += [" " if sep is None else sep] if parts else []
        parts.append(text_of(run, value, "s"))
    text = concatenated(run, [*parts, "\n" if end is None else end])
    operand = text.value if isinstance(text, Sym) else text
    run.builder.host("print", (operand,), (), run.loc)


def logs(level: int | None) -> Callable[..., None]:
    """A method of a logger: the compiled network logs too."""

    def log(run: Interpreter, logger: logging.Logger, *args: Any) -> None:
        chosen, (message, *values) = (level, args) if level is not None else (args[0], args[1:])
        if values and not is_static(run.state, (message, *values)):
            message = percent(run, message, tuple(values))
        elif values:
            message = message % tuple(values)
        text = concatenated(run, [text_of(run, message, "s")])
        operand = text.value if isinstance(text, Sym) else text
        run.builder.host("log", (logger.name, chosen, operand), (), run.loc)

    return log


#: What stands for the methods of a logger.
LOGGING: dict[Any, Callable[..., None]] = {
    logging.Logger.debug: logs(logging.DEBUG),
    logging.Logger.info: logs(logging.INFO),
    logging.Logger.warning: logs(logging.WARNING),
    logging.Logger.error: logs(logging.ERROR),
    logging.Logger.critical: logs(logging.CRITICAL),
    logging.Logger.log: logs(None),
}


def string_method(run: Interpreter, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A method of a string that is called with what is known at run time only."""
    from dyncc.frontend.operations import sequence

    owner, name = function.__self__, function.__name__
    if name == "join" and len(args) == 1:
        parts: list[Any] = []
        for item in sequence(run, args[0]):
            parts += [owner, item] if parts else [item]
        return concatenated(run, parts)
    if name == "format":
        return _format_method(run, owner, args, kwargs)
    return NotImplemented


def _format_method(run: Interpreter, template: str, args: Any, kwargs: dict[str, Any]) -> Any:
    parts: list[Any] = []
    position = 0
    for literal, field, spec, conversion in string.Formatter().parse(template):
        parts.append(literal)
        if field is None:
            continue
        if field == "":
            field, position = str(position), position + 1
        known = args[int(field)] if field.isdigit() and int(field) < len(args) else None
        if (known is None and field not in kwargs) or "{" in (spec or ""):
            raise Unsupported(
                "DY803",
                "`.format()` of a string",
                f"the field {{{field}}} is no plain name or number",
                "Use an f-string.",
            )
        value = kwargs.get(field, known)
        parts.append(text_of(run, value, conversion or "", spec or ""))
    return concatenated(run, parts)


_PERCENT = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[sdifeEgGrxXo])")


def percent(run: Interpreter, template: str, values: Any) -> Any:
    """``template % values``."""
    items = values if type(values) is tuple else (values,)
    kinds = [found[-1] for found in _PERCENT.findall(template) if found != "%%"]
    if len(kinds) != len(items) or template.count("%") != sum(
        part.count("%") for part in _PERCENT.findall(template)
    ):
        raise Unsupported(
            "DY107",
            "the operator `%` on a string",
            f"its format takes {len(kinds)} values and there are {len(items)}",
            "Use an f-string.",
        )
    operands = [
        text_of(run, item, "s" if kind == "s" else "r") if kind in "sr" else run.scalar(item)
        for item, kind in zip(items, kinds, strict=True)
    ]
    # A text is put in as it is.
    fixed = iter(kinds)
    shown = _PERCENT.sub(lambda m: _as_text(m.group(), fixed), template)
    return run.host("str.percent", shown, *operands)


def _as_text(directive: str, kinds: Any) -> str:
    if directive == "%%":
        return directive
    return directive[:-1] + "s" if next(kinds) == "r" else directive
