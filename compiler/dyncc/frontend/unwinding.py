"""Where exceptions go: through protected ranges and callers to code that handles them."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from typing import Any

from dyncc.frontend import library
from dyncc.frontend.code import GENERATOR, Handler
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.values import Frame, GeneratorObj, InstanceObj, Ref, State


def unwind(state: State, error: Ref) -> bool:
    """Go on where the exception `error`, raised by the next instruction, is handled.

    Returns
    -------
    bool
        Whether there is such a place; if not, the state is in the entry's frame.
    """
    # That of a context manager goes on when its `with` is left.
    managed = {
        item.get("generator")
        for item in state.heap.values()
        if isinstance(item, InstanceObj) and item.kind is library.GeneratorManager
    }
    waiting = [
        item
        for ref, item in state.heap.items()
        if isinstance(item, GeneratorObj) and ref not in managed
    ]
    if any(item.frame is not None and waits_in_try(item.frame) for item in waiting):
        raise Unsupported(
            "DY306",
            "an exception that leaves a loop over a generator",
            "the generator waits inside of `try` or `with`, and Python runs what is left of that "
            "when the generator is dropped",
            "Yield outside of it, or catch the exception inside of the loop.",
        )
    while True:
        frame = state.frames[-1]
        handler = frame.code.instrs[frame.pc].handler
        if handler is not None:
            frame.registers[handler.register] = error
            frame.pc = handler.target
            return True
        if len(state.frames) == 1:
            return False
        left = state.frames.pop()
        generator = left.registers.get(GENERATOR)
        if generator is not None:
            state.heap[generator] = GeneratorObj(None)
        # The caller stands behind its call.
        state.frames[-1].pc -= 1


def waits_in_try(frame: Frame) -> bool:
    """Whether dropping a generator would run code of its own: ``finally``, ``with``, ``except``."""
    handler = frame.code.instrs[frame.pc - 1].handler
    while handler is not None:
        names = {getattr(item, "id", None) for item in handler.classes or ()}
        if not handler.classes or names & {"BaseException", "GeneratorExit"}:
            return True
        handler = handler.outer
    return False


def handlers(state: State) -> Iterator[tuple[Frame, int, Handler]]:
    """Active handlers from the innermost: frame, program point of the protected instruction."""
    for depth, frame in reversed(list(enumerate(state.frames))):
        pc = frame.pc if depth == len(state.frames) - 1 else frame.pc - 1
        found = frame.code.instrs[pc].handler
        while found is not None:
            yield frame, pc, found
            found = found.outer


def may_catch(state: State, *kinds: type[BaseException]) -> bool:
    """Whether code around the next instruction catches one of these exceptions, or may do so."""
    return any(_catches(state, frame, handler, kinds) for frame, _, handler in handlers(state))


def _catches(
    state: State, frame: Frame, handler: Handler, kinds: tuple[type[BaseException], ...]
) -> bool:
    """Whether a handler catches one of these exceptions, or may do so."""
    if handler.classes is None or _may_swallow(state, frame, handler.manager, kinds):
        return True
    for expression in handler.classes:
        classes = _resolve(frame, expression)
        if classes is None or any(issubclass(kind, classes) for kind in kinds):
            return True
    return False


def _may_swallow(
    state: State, frame: Frame, register: str | None, kinds: tuple[type[BaseException], ...]
) -> bool:
    """Whether the ``__exit__`` of a context manager, written by the user, may end an exception."""
    if register is None:
        return False
    manager = frame.registers.get(register)
    found = state.heap[manager] if isinstance(manager, Ref) else None
    kind = found.kind if isinstance(found, InstanceObj) else type(manager)
    if kind is library.GeneratorManager and isinstance(found, InstanceObj):
        generator = state.heap[found.get("generator")]
        waiting = generator.frame if isinstance(generator, GeneratorObj) else None
        if waiting is None:
            return False
        inner = waiting.code.instrs[waiting.pc - 1].handler
        while inner is not None:
            if _catches(state, waiting, inner, kinds):
                return True
            inner = inner.outer
        return False
    return not kind.__module__.startswith(("torch", "contextlib"))


def _resolve(frame: Frame, expression: ast.expr) -> tuple[type, ...] | None:
    """The classes that an expression names, or None where only running it would tell."""
    if isinstance(expression, ast.Tuple):
        parts = [_resolve(frame, part) for part in expression.elts]
        return None if None in parts else tuple(cls for part in parts for cls in part or ())
    try:
        found = _lookup(frame, expression)
    except (LookupError, AttributeError, ValueError):
        return None
    if isinstance(found, type):
        return (found,)
    if isinstance(found, tuple) and all(isinstance(part, type) for part in found):
        return found
    return None


def _lookup(frame: Frame, expression: ast.expr) -> Any:
    if isinstance(expression, ast.Attribute):
        return getattr(_lookup(frame, expression.value), expression.attr)
    if not isinstance(expression, ast.Name):
        raise LookupError
    name = expression.id
    if name in frame.registers:
        return frame.registers[name]
    function = frame.function
    if name in function.__code__.co_freevars:
        return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents
    if name in function.__globals__:
        return function.__globals__[name]
    return getattr(builtins, name)
