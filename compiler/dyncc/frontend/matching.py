"""Handlers of the tests that ``match`` makes."""

from __future__ import annotations

from typing import Any

from dyncc.frontend.builtin_calls import type_of
from dyncc.frontend.code import Instr
from dyncc.frontend.containers import pairs_of
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import ENTERED, has_attribute, instance, read_attribute
from dyncc.frontend.interpreter import Interpreter, handles
from dyncc.frontend.objects import iterate
from dyncc.frontend.values import DictObj

#: Builtin classes that match as a whole with one positional pattern.
_WHOLE = (bool, bytearray, bytes, dict, float, frozenset, int, list, set, str, tuple)


@handles("is sequence")
def _is_sequence(run: Interpreter, instr: Instr) -> None:
    subject = run.use()
    if not issubclass(type_of(run, subject), tuple | list):
        run.done(False)
        return
    count, star = instr.const
    length = len(iterate(run, subject))
    run.done(length == count if star is None else length >= count - 1)


@handles("is mapping")
def _is_mapping(run: Interpreter, instr: Instr) -> None:
    subject, *keys = run.uses()
    known = pairs_of(run, subject)
    run.done(known is not None and all(key in known for key in keys))


@handles("mapping rest")
def _mapping_rest(run: Interpreter, instr: Instr) -> None:
    subject, *keys = run.uses()
    rest = {key: item for key, item in (pairs_of(run, subject) or {}).items() if key not in keys}
    run.done(run.state.new(DictObj(tuple(rest.items()))))


@handles("is instance")
def _is_instance(run: Interpreter, instr: Instr) -> None:
    subject, kind = run.uses()
    run.done(issubclass(type_of(run, subject), kind))


@handles("has attribute")
def _has_attribute(run: Interpreter, instr: Instr) -> None:
    subject = run.use()
    if instance(run, subject) is not None:
        run.done(has_attribute(run, subject, instr.const))
    else:
        run.done(hasattr(type_of(run, subject), instr.const) or hasattr(subject, instr.const))


@handles("match position")
def _match_position(run: Interpreter, instr: Instr) -> None:
    subject, kind = run.uses()
    position: int = instr.const
    if kind in _WHOLE and position == 0:
        run.done(subject)
        return
    names: Any = getattr(kind, "__match_args__", ())
    if position >= len(names) or instance(run, subject) is None:
        raise Unsupported(
            "DY506",
            f"a positional pattern of `{kind.__name__}`",
            "what it stands for is not known here",
            "Match by keyword, as in Point(x=0).",
        )
    value = read_attribute(run, subject, names[position])
    if value is not ENTERED:
        run.done(value)
