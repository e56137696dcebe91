"""``with``: which context managers are understood, and what they do on the way in and out."""

from __future__ import annotations

import contextlib
import types
from typing import TYPE_CHECKING, Any

import torch

from dyncc.frontend.builtin_calls import knows
from dyncc.frontend.calls import inline
from dyncc.frontend.code import Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import instance
from dyncc.frontend.interpreter import handles
from dyncc.frontend.values import InstanceObj, Ref

if TYPE_CHECKING:
    from dyncc.frontend.interpreter import Interpreter


@knows(contextlib.nullcontext)
def _nullcontext(run: Interpreter, enter_result: Any = None) -> Ref:
    fields = (("enter_result", enter_result),)
    return run.state.new(InstanceObj(contextlib.nullcontext, fields))


def is_without_effect(manager: Any) -> bool:
    """Whether a manager changes nothing that compiled code computes."""
    if isinstance(manager, torch.autocast):
        return not manager._enabled
    # Compiled code computes no gradients.
    return type(manager).__module__.startswith("torch.autograd.grad_mode") or isinstance(
        manager, torch.autograd.profiler.record_function
    )


def _method(run: Interpreter, manager: Any, name: str) -> types.FunctionType:
    """``__enter__`` or ``__exit__`` of a class with Python source."""
    found = instance(run, manager)
    kind = type(manager) if found is None else found.kind
    method = getattr(kind, name, None)
    own = isinstance(method, types.FunctionType) and not kind.__module__.startswith(
        ("torch", "contextlib")
    )
    if own:
        assert isinstance(method, types.FunctionType)
        return method
    hint = "Use it outside of forward; torch.no_grad() and torch.inference_mode() are understood."
    if isinstance(manager, torch.autocast):
        raise Unsupported(
            "DY310",
            "`autocast`",
            "compiled code computes in the types of its tensors",
            "Convert the module and its inputs, for example with .bfloat16(), before compiling.",
        )
    raise Unsupported(
        "DY309",
        "a `with` statement",
        f"the effect of {kind.__name__} on compiled code is not known",
        hint,
    )


@handles("enter")
def _enter(run: Interpreter, instr: Instr) -> None:
    manager = run.use()
    found = instance(run, manager)
    if is_without_effect(manager):
        run.done(manager)
    elif found is not None and found.kind is contextlib.nullcontext:
        run.done(found.get("enter_result"))
    else:
        inline(run, _method(run, manager, "__enter__"), (manager,), {})


@handles("exit")
def _exit(run: Interpreter, instr: Instr) -> None:
    manager, error = run.uses()
    found = instance(run, manager)
    if is_without_effect(manager) or (found is not None and found.kind is contextlib.nullcontext):
        run.done(False)
        return
    kind = None if error is None else run.state.heap[error].kind
    inline(run, _method(run, manager, "__exit__"), (manager, kind, error, None), {})
