"""``torch.autograd.Function``: its forward is entered, with a context that nobody asks later."""

from __future__ import annotations

import types
from typing import Any

from torch.autograd import Function

from dyncc.frontend import library
from dyncc.frontend.builtin_calls import knows
from dyncc.frontend.calls import inline, is_torch
from dyncc.frontend.instances import ENTERED
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import InstanceObj


@knows(Function.apply.__func__)  # type: ignore[attr-defined]  # a class method
def _apply(run: Interpreter, kind: Any, *args: Any, **kwargs: Any) -> Any:
    forward = kind.forward
    if is_torch(kind) or not isinstance(forward, types.FunctionType | types.MethodType):
        return NotImplemented
    if kind.setup_context is Function.setup_context:
        args = (run.state.new(InstanceObj(library.FunctionContext)), *args)
    if isinstance(forward, types.MethodType):
        args, forward = (kind, *args), forward.__func__
    inline(run, forward, args, kwargs)
    return ENTERED
