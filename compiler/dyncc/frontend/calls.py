"""Calls: which functions are entered, which run natively, and which the machine knows itself.

Functions with Python source outside of torch and the standard library are entered, so that their
branches are seen. Modules of ``torch.nn`` without modules of the user's inside, and functions of
torch, run natively under the recorder; where they ask for data, their source is entered too.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sysconfig
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from dyncc.frontend import library, recursion
from dyncc.frontend.arrays import is_data
from dyncc.frontend.binding import arguments, signature_of
from dyncc.frontend.bridge import is_static, scalars_in
from dyncc.frontend.builtin_calls import KNOWN
from dyncc.frontend.closures import enter_closure
from dyncc.frontend.code import Code, Instr
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.environment import is_environment, is_impure, note_environment
from dyncc.frontend.instances import (
    ENTERED,
    construct,
    generated_init,
    is_instance_class,
    special_method,
)
from dyncc.frontend.interpreter import DataDependent, Interpreter, handles
from dyncc.frontend.lower import SourceUnavailable, code_of
from dyncc.frontend.methods import method
from dyncc.frontend.operations import evaluate, external, library_call, spread
from dyncc.frontend.outside import outside_method
from dyncc.frontend.raising import construct_error
from dyncc.frontend.strings import string_method
from dyncc.frontend.values import (
    Bound,
    ClosureObj,
    DictObj,
    Frame,
    GeneratorObj,
    IterObj,
    ListObj,
    PartialObj,
    Ref,
    Super,
)

#: The code of what ``contextlib.contextmanager`` makes of a function.
_MANAGER_CODE = contextlib.contextmanager(lambda: iter(())).__code__

#: What a call of a module is, under the names that torch has for it.
_MODULE_CALLS = (nn.Module.__call__, nn.Module._wrapped_call_impl, nn.Module._call_impl)

_LIBRARY_ROOTS = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))
#: Items of a library's iterator that are taken at once.
MAX_ITEMS = 10_000


@handles("call")
def _call(run: Interpreter, instr: Instr) -> None:
    function, *values = run.uses()
    stars, names = instr.const
    count = len(values) - len(names)
    args = spread(run, values[:count], stars)
    kwargs: dict[str, Any] = {}
    for name, value in zip(names, values[count:], strict=True):
        if name is None:
            kwargs.update(_mapping(run, value))
        else:
            kwargs[name] = value
    call(run, function, args, kwargs)


def _mapping(run: Interpreter, value: Any) -> dict[str, Any]:
    found = run.state.heap[value] if isinstance(value, Ref) else value
    if isinstance(found, DictObj):
        return dict(found.items)
    if isinstance(found, dict):
        return {key: external(run, item) for key, item in found.items()}
    raise Unsupported("DY101", "`**` in a call", "the value is no dict", "Pass a dict.")


def call(run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Carry out a call: either write its result, or enter the function."""
    if isinstance(function, Bound) and callable(function.name):
        args, function = (function.owner, *args), function.name
    if isinstance(function, Bound):
        _finish(run, method(run, function, args, kwargs))
        return
    if isinstance(function, types.MethodType):
        args, function = (function.__self__, *args), function.__func__
        if is_environment(args[0]):
            note_environment(run, args[0])
    if function in _MODULE_CALLS and args and isinstance(args[0], nn.Module):
        args, function = args[1:], args[0]
    if isinstance(function, functools.partial):
        args = (*(external(run, arg) for arg in function.args), *args)
        kwargs = {name: external(run, arg) for name, arg in function.keywords.items()} | kwargs
        call(run, function.func, args, kwargs)
        return
    special = special_method(run, function, "__call__")
    if special is not None:
        args, function = (function, *args), special
    found = run.state.heap[function] if isinstance(function, Ref) else None
    if isinstance(found, ClosureObj):
        enter_closure(run, found, args, kwargs)
        return
    if len(args) == 1 and isinstance(args[0], Ref):
        from dyncc.frontend.contexts import is_without_effect

        # As a decorator of a function made in the network.
        if isinstance(run.state.heap[args[0]], ClosureObj) and is_without_effect(function):
            run.done(args[0])
            return
    if any(isinstance(value, Ref) for value in args):
        from dyncc.frontend.iteration import with_generators

        if with_generators(run, function, args, kwargs):
            return
    if isinstance(found, PartialObj):
        call(run, found.function, (*found.args, *args), dict(found.keywords) | kwargs)
        return
    if isinstance(function, nn.Module):
        _module(run, function, args, kwargs)
        return
    if function is super and len(args) in (0, 2):
        kind, first = args or _class_and_first(run)
        run.done(Super(kind, first) if isinstance(first, Ref) else super(kind, first))
        return
    try:
        known = KNOWN.get(function)
    except TypeError:
        known = None
    if known is not None:
        result: Any
        try:
            inspect.signature(known).bind(run, *args, **kwargs)
        except TypeError:
            result = NotImplemented
        else:
            result = known(run, *args, **kwargs)
        if result is not NotImplemented:
            _finish(run, result)
            return
    cached = isinstance(function, functools._lru_cache_wrapper)
    if cached and any(is_impure(arg) for arg in args):
        # It acts on the world outside, if only once; entered, it says what it does.
        call(run, function.__wrapped__, args, kwargs)
        return
    if isinstance(function, type) and issubclass(function, BaseException):
        _finish(run, construct_error(run, function, args, kwargs))
        return
    text = getattr(function, "__self__", None)
    if isinstance(text, str) and not is_static(run.state, (args, tuple(kwargs.values()))):
        made = string_method(run, function, args, kwargs)
        if made is not NotImplemented:
            run.done(made)
            return
    if is_instance_class(function):
        _finish(run, construct(run, function, args, kwargs))
        return
    if getattr(function, "__code__", None) is _MANAGER_CODE:
        inline(run, library.managed, (inspect.unwrap(function), *args), kwargs)
        return
    result = outside_method(run, function, args, kwargs)
    if result is not NotImplemented:
        run.done(result)
        return
    if is_environment(function):
        note_environment(run, function)
    elif is_impure(function):
        raise Unsupported(
            "DY601",
            f"a call of `{_name(function)}`",
            "each call may give another result or act outside of the network, and compiled code "
            "would do so once, at compile time",
            "Do it outside of forward and pass the result in.",
        )
    if isinstance(function, types.FunctionType) and not is_library(function):
        result = generated_init(run, function, args, kwargs)
        if result is NotImplemented:
            inline(run, function, args, kwargs)
        else:
            _finish(run, result)
        return
    native(run, function, args, kwargs)


def _finish(run: Interpreter, result: Any) -> None:
    """End a call with its result, unless a function was entered for it."""
    if result is not ENTERED:
        run.done(result)


def native(run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run library code, or enter it where it branches on data."""
    everything = (*args, *kwargs.values())
    if is_data(run, everything):
        raise Unsupported(
            "DY703",
            f"a call of `{_name(function)}` with a NumPy array of data",
            "what it does to arrays is not known here",
            "Use the torch function on the tensor.",
        )
    if is_static(run.state, everything) and not is_torch(function):
        run.done(external_copy(run, _evaluated(run, function, args, kwargs)))
        return
    try:
        found = library_call(run, function, args, kwargs, f"a call of `{_name(function)}`")
        run.done(external_copy(run, found) if isinstance(found, Iterator) else found)
    except DataDependent:
        dynamic = [sym for arg in everything for sym in scalars_in(run.state, arg)]
        if dynamic:
            run.static(dynamic[0], f"a call of `{_name(function)}`")
        if isinstance(function, nn.Module):
            inline(run, type(function).forward, (function, *args), kwargs)
        elif isinstance(function, types.FunctionType):
            inline(run, function, args, kwargs)
        else:
            raise Unsupported(
                "DY202",
                f"a call of `{_name(function)}`",
                "it asks for the content of a tensor and has no Python source",
                "Do in Python what it does, or use tensor operations.",
            ) from None


def _evaluated(
    run: Interpreter, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What library code, or the constructor of a module, makes of static values."""
    before = torch.get_rng_state()
    found = evaluate(run, lambda: function(*args, **kwargs))
    if not torch.equal(torch.get_rng_state(), before):
        torch.set_rng_state(before)
        raise Unsupported(
            "DY601",
            f"a call of `{_name(function)}`",
            "it draws random numbers, and compiled code would draw them once, at compile time",
            "Call it in __init__ and keep what it makes.",
        )
    if isinstance(found, nn.Module):
        run.machine.adopt(found)
    return found


def external_copy(run: Interpreter, value: Any) -> Any:
    """A result of native code on static values; new containers go to the heap."""
    if type(value) is list:
        return run.state.new(ListObj(tuple(external_copy(run, item) for item in value)))
    if type(value) is dict:
        items = tuple((key, external_copy(run, item)) for key, item in value.items())
        return run.state.new(DictObj(items))
    if isinstance(value, Iterator):
        # What a path takes from it must not be missing on another.
        items = tuple(itertools.islice(value, MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise Unsupported(
                "DY405", "an iterator", f"it has more than {MAX_ITEMS} items", "Use range()."
            )
        return run.state.new(IterObj(tuple(external_copy(run, item) for item in items)))
    return external(run, value)


def _module(
    run: Interpreter, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    hooks = module._forward_hooks or module._forward_pre_hooks
    if hooks:
        raise Unsupported(
            "DY502",
            f"a call of {type(module).__name__}",
            "it has forward hooks, whose effect is not compiled",
            "Remove the hooks, or write in forward what they do.",
        )
    # Containers of torch.nn are entered too: what they hold may branch.
    leaf = is_torch(type(module)) and all(is_torch(type(sub)) for sub in module.modules())
    if leaf:
        native(run, module, args, kwargs)
    else:
        inline(run, type(module).forward, (module, *args), kwargs)


def is_torch(function: Any) -> bool:
    """Whether a function or class is defined by torch."""
    name = getattr(function, "__module__", None) or getattr(type(function), "__module__", "")
    return str(name).split(".")[0] == "torch"


def is_library(function: types.FunctionType) -> bool:
    """Whether a function belongs to torch or the standard library."""
    return is_torch(function) or is_library_file(function.__code__.co_filename)


def is_library_file(file: str) -> bool:
    """Whether a file belongs to the standard library."""
    frozen = file.startswith("<frozen ")
    return frozen or (file.startswith(_LIBRARY_ROOTS) and "site-packages" not in file)


def _name(function: Any) -> str:
    for attribute in ("__qualname__", "__name__"):
        if isinstance(getattr(function, attribute, None), str):
            return str(getattr(function, attribute))
    return type(function).__name__


def inline(
    run: Interpreter,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: str | None = None,
) -> None:
    """Enter a Python function; its result goes to a register, by default the instruction's."""
    function = inspect.unwrap(function, stop=lambda f: not is_torch_wrapper(f))
    assert isinstance(function, types.FunctionType)
    registers = arguments(
        run,
        _name(function),
        signature_of(function),
        args,
        kwargs,
        lambda default: external(run, default),
    )
    try:
        code = code_of(function)
    except SourceUnavailable as error:
        raise Unsupported(
            "DY501", f"a call of `{_name(function)}`", str(error), "Define the function in a file."
        ) from error
    push(run, code, function, registers, result)


def push(
    run: Interpreter,
    code: Code,
    function: types.FunctionType,
    registers: dict[str, Any],
    result: str | None = None,
) -> None:
    """Enter code; its result goes to a register, by default the instruction's."""
    if result is None:
        result = run.instr.dest[0] if run.instr.dest else ".void"
    frame = Frame(code, function, 0, registers, result)
    recursion.check(run, frame)
    if code.is_generator:
        frame.result = None
        run.done(run.state.new(GeneratorObj(frame)))
        return
    run.frame.pc += 1
    if result.startswith("."):
        # What a turn of a loop before left there would tell states apart that are equal.
        run.frame.registers.pop(result, None)
    recursion.enter(run, frame)


def is_torch_wrapper(function: Any) -> bool:
    """Whether a function is what torch.no_grad() and its like make of a decorated one."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.endswith("torch/utils/_contextlib.py")


def _class_and_first(run: Interpreter) -> tuple[Any, Any]:
    """What ``super()`` means without arguments."""
    function = run.frame.function
    if "__class__" not in function.__code__.co_freevars or run.frame.code is not code_of(function):
        raise Unsupported(
            "DY503",
            "`super()` in a function inside of a method",
            "the class and the object that it means are those of the method",
            "Call super() in the method and use its result.",
        )
    cell = function.__closure__[function.__code__.co_freevars.index("__class__")]
    return cell.cell_contents, run.frame.registers[function.__code__.co_varnames[0]]
