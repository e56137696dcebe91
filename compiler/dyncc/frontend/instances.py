"""Objects of the user's classes, made in the network: data classes, named tuples, plain objects.

An object is on the symbolic heap, so that it may be changed, shared, and live across branches. Its
methods and properties are entered like any function. What existed before the call stays a Python
object that is known when the network is compiled.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import inspect
import types
import typing
from collections import OrderedDict, deque
from typing import Any

from torch import nn

from dyncc.frontend.bridge import field_names
from dyncc.frontend.decisions import PythonError, Unsupported
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import Bound, DictObj, InstanceObj, ListObj, Ref, Super

#: Classes without Python source whose meaning for a class derived from them is known here.
_PLAIN_BASES = {object, dict, OrderedDict, list, abc.ABC, typing.Generic, typing.Protocol}
_MISSING = object()
#: What a call gives that has entered a function: its result will come with the return.
ENTERED = object()


def is_named_tuple(kind: Any) -> bool:
    """Whether a class is a named tuple."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def is_data(value: Any) -> bool:
    """Whether a value is an object of a data class."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def is_compared(kind: type) -> bool:
    """Whether objects of a data class are equal if all fields are."""
    params = getattr(kind, "__dataclass_params__", None)
    made = getattr(getattr(kind, "__eq__", None), "__code__", None)
    return params is not None and params.eq and getattr(made, "co_filename", "") == "<string>"


def is_instance_class(kind: Any) -> bool:
    """Whether objects of a class are made on the heap."""
    if not isinstance(kind, type) or issubclass(kind, nn.Module | BaseException | enum.Enum | type):
        return False
    if is_named_tuple(kind):
        return True
    written = [base for base in kind.__mro__ if base not in _PLAIN_BASES]
    return bool(written) and all(_is_written(base) for base in written)


def _is_written(kind: type) -> bool:
    """Whether a class comes from a file that is neither torch's nor the standard library's."""
    from dyncc.frontend.calls import is_library_file, is_torch

    module = inspect.getmodule(kind)
    file = getattr(module, "__file__", None)
    own_new = "__new__" in vars(kind) and kind.__dict__["__new__"] is not object.__new__
    return not is_torch(kind) and file is not None and not is_library_file(file) and not own_new


def is_output_class(kind: type) -> bool:
    """Whether objects are the outputs of transformers or diffusers: dicts of declared fields."""
    return dataclasses.is_dataclass(kind) and any(
        (base.__module__.partition(".")[0], base.__name__)
        in {("transformers", "ModelOutput"), ("diffusers", "BaseOutput")}
        for base in kind.__mro__
    )


def instance(run: Interpreter, value: Any) -> InstanceObj | None:
    """The heap object of a value, if it is an object of a class."""
    found = run.state.heap[value] if isinstance(value, Ref) else None
    return found if isinstance(found, InstanceObj) else None


def output_entries(found: InstanceObj) -> DictObj:
    """The entries of an output: its fields that are not None."""
    return DictObj(tuple((name, value) for name, value in found.fields if value is not None))


# --- making -----------------------------------------------------------------------------------


def construct(run: Interpreter, kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A new object; ENTERED if its ``__init__`` is entered."""
    from dyncc.frontend.calls import inline

    if is_named_tuple(kind):
        values = bind(run, kind, kind.__new__, (kind, *args), kwargs)
        return run.state.new(InstanceObj(kind, (), tuple(values.values())[1:]))
    content = None
    if issubclass(kind, dict) and not is_output_class(kind):
        content = run.state.new(DictObj(()))
    elif issubclass(kind, list):
        content = run.state.new(ListObj(()))
    ref = run.state.new(InstanceObj(kind, (), content))
    init = inspect.getattr_static(kind, "__init__", None)
    if is_generated(kind, init):
        init = _fill_fields(run, ref, init, args, kwargs)
        args, kwargs = (), {}
        if init is None:
            return ref
    if isinstance(init, types.FunctionType):
        # The result of the call is the object, not what __init__ returns.
        register = run.instr.dest[0] if run.instr.dest else ".void"
        run.frame.registers[register] = ref
        inline(run, init, (ref, *args), kwargs, ".void")
        return ENTERED
    if content is not None and (args or kwargs):
        init_content(run, ref, args, kwargs)
    elif args or kwargs:
        raise Unsupported(
            "DY101", f"a call of `{kind.__name__}`", "it takes no arguments", "Correct the call."
        )
    return ref


def init_content(
    run: Interpreter, owner: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """What ``__init__`` of dict or list does for an object of a class made of it."""
    from dyncc.frontend.builtin_calls import KNOWN

    content = run.state.heap[owner].content
    kind = dict if isinstance(run.state.heap[content], DictObj) else list
    made = KNOWN[kind](run, *args, **kwargs)
    if made is ENTERED:
        raise Unsupported(
            "DY506",
            f"a {run.state.heap[owner].kind.__name__} of a sequence whose length depends on data",
            "what a class made of list holds is known when the network is compiled",
            "Use a plain list.",
        )
    run.state.heap[content] = run.state.heap[made]


def is_generated(kind: type, init: Any) -> bool:
    """Whether ``__init__`` is the one that ``dataclass`` made."""
    code = getattr(init, "__code__", None)
    return dataclasses.is_dataclass(kind) and code is not None and code.co_filename == "<string>"


def _fill_fields(
    run: Interpreter, ref: Ref, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> types.FunctionType | None:
    """Carry out the ``__init__`` that ``dataclass`` made; what has to be entered after it."""
    found = run.state.heap[ref]
    kind = found.kind
    given = bind(run, kind, init, (ref, *args), kwargs)
    for field in dataclasses.fields(kind):
        if field.name in given and not _is_factory(given[field.name]):
            found = found.set(field.name, given[field.name])
        elif field.default_factory is not dataclasses.MISSING:
            found = found.set(field.name, make_default(run, field.default_factory))
        elif field.default is not dataclasses.MISSING:
            found = found.set(field.name, field.default)
    run.state.heap[ref] = found
    if is_output_class(kind):
        return None  # what it does is to fill the dict from the fields
    after = inspect.getattr_static(kind, "__post_init__", None)
    return after if isinstance(after, types.FunctionType) else None


def generated_init(
    run: Interpreter, function: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call of the ``__init__`` that ``dataclass`` made, by one around it.

    NotImplemented for any other function.
    """
    from dyncc.frontend.calls import inline

    found = instance(run, args[0]) if args else None
    if found is None or not any(
        is_generated(base, function)
        and inspect.unwrap(base.__dict__.get("__init__", object.__init__)) is function
        for base in found.kind.__mro__
    ):
        return NotImplemented
    after = _fill_fields(run, args[0], function, args[1:], kwargs)
    if after is None:
        return None
    inline(run, after, (args[0],), {})
    return ENTERED


def _is_factory(value: Any) -> bool:
    return type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"


def make_default(run: Interpreter, factory: Any) -> Any:
    """What a default factory makes."""
    from dyncc.frontend.builtin_calls import KNOWN

    known = KNOWN.get(factory)
    made = known(run) if known is not None else NotImplemented
    if made is NotImplemented:
        raise Unsupported(
            "DY506",
            "a default factory of a data class",
            f"what {getattr(factory, '__name__', factory)}() makes is not known here",
            "Use list, dict or set, or pass the value.",
        )
    return made


def bind(
    run: Interpreter, kind: type, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    from dyncc.frontend.operations import external

    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise Unsupported(
            "DY101", f"a call of `{kind.__name__}`", str(error), "Correct the call."
        ) from error
    bound.apply_defaults()
    return {name: external(run, value) for name, value in bound.arguments.items()}


# --- attributes -------------------------------------------------------------------------------


def read_attribute(run: Interpreter, owner: Ref, name: str, *default: Any) -> Any:
    """An attribute of an object; ENTERED if a property is entered."""
    found: InstanceObj = run.state.heap[owner]
    if name in dict(found.fields):
        return found.get(name)
    if name == "__class__":
        return found.kind
    if name == "__dict__":
        return run.state.new(DictObj(found.fields))
    names = field_names(found.kind) if isinstance(found.content, tuple) else ()
    if name in names:
        return found.content[names.index(name)]
    return _class_attribute(run, owner, found.kind, found.kind.__mro__, name, *default)


def super_attribute(run: Interpreter, owner: Super, name: str) -> Any:
    """An attribute looked up in the classes after the one that ``super()`` stands in."""
    kind = run.state.heap[owner.owner].kind
    later = kind.__mro__[kind.__mro__.index(owner.kind) + 1 :]
    return _class_attribute(run, owner.owner, kind, later, name)


def _class_attribute(
    run: Interpreter, owner: Ref, kind: type, classes: tuple[type, ...], name: str, *default: Any
) -> Any:
    from dyncc.frontend.calls import inline
    from dyncc.frontend.operations import external

    found: InstanceObj = run.state.heap[owner]
    item = next((vars(base)[name] for base in classes if name in vars(base)), _MISSING)
    if isinstance(item, property) and item.fget is not None:
        inline(run, item.fget, (owner,), {})
        return ENTERED
    if isinstance(item, staticmethod):
        return item.__func__
    if isinstance(item, classmethod):
        return types.MethodType(item.__func__, kind)
    if isinstance(item, types.FunctionType):
        generated = item.__code__.co_filename == "<string>" and name.startswith("__")
        return Bound(owner, name if generated else item)
    if item is _MISSING:
        getter = inspect.getattr_static(kind, "__getattr__", None)
        if isinstance(getter, types.FunctionType):
            inline(run, getter, (owner, name), {})
            return ENTERED
        if default:
            return default[0]
        problem = Unsupported(
            "DY104",
            f"`.{name}` of a {kind.__name__}",
            "it has no such attribute on a path that leads here",
            "Set it in __init__, or correct the name.",
        )
        why = f"'{kind.__name__}' object has no attribute '{name}'"
        raise PythonError(AttributeError, (why,), problem)
    if callable(item):
        # A method of a builtin base.
        inner = isinstance(found.content, Ref) and found.kind is not deque
        return Bound(found.content if inner else owner, name)
    if hasattr(type(item), "__get__"):
        raise Unsupported(
            "DY505",
            f"`.{name}` of a {kind.__name__}",
            f"it is a {type(item).__name__}, whose effect is not known here",
            "Use a property or a method.",
        )
    return external(run, item)


def has_attribute(run: Interpreter, owner: Ref, name: str) -> bool:
    """Whether an object has an attribute."""
    found: InstanceObj = run.state.heap[owner]
    names = field_names(found.kind) if isinstance(found.content, tuple) else ()
    if name in names or name in dict(found.fields) or hasattr(found.kind, name):
        return True
    if isinstance(inspect.getattr_static(found.kind, "__getattr__", None), types.FunctionType):
        raise Unsupported(
            "DY506",
            f"`hasattr(..., {name!r})`",
            "the class has a __getattr__",
            "Use getattr or a key.",
        )
    return False


def write_attribute(run: Interpreter, owner: Ref, name: str, value: Any) -> bool:
    """Set an attribute; false if a setter was entered, which ends the instruction."""
    from dyncc.frontend.calls import inline

    found: InstanceObj = run.state.heap[owner]
    params = getattr(found.kind, "__dataclass_params__", None)
    if isinstance(found.content, tuple) or (params is not None and params.frozen):
        raise Unsupported(
            "DY109",
            f"assignment to `.{name}`",
            f"{found.kind.__name__} objects cannot be changed",
            "Make a new one, for example with dataclasses.replace or _replace.",
        )
    item = inspect.getattr_static(found.kind, name, None)
    setter = inspect.getattr_static(found.kind, "__setattr__", None)
    if isinstance(setter, types.FunctionType) and not is_output_class(found.kind):
        inline(run, setter, (owner, name, value), {})
        return False
    if isinstance(item, property):
        if item.fset is None:
            raise Unsupported("DY109", f"assignment to `.{name}`", "it has no setter", "Add one.")
        inline(run, item.fset, (owner, value), {})
        return False
    run.state.heap[owner] = found.set(name, value)
    return True


def truth_of(run: Interpreter, owner: Ref) -> Any:
    """The truth of an object: whether it holds something, if it is a container."""
    found: InstanceObj = run.state.heap[owner]
    for name in ("__bool__", "__len__"):
        if special_method(run, owner, name) is not None:
            raise Unsupported(
                "DY506",
                f"the truth of a {found.kind.__name__}",
                f"its `{name}` is not entered here",
                "Compare what it gives, as in `len(x) > 0`.",
            )
    if is_output_class(found.kind):
        return bool(output_entries(found).items)
    if isinstance(found.content, Ref):
        return run.truth(found.content)
    return bool(found.content) if isinstance(found.content, tuple) else True


# --- methods ----------------------------------------------------------------------------------


def special_method(run: Interpreter, owner: Any, name: str) -> types.FunctionType | None:
    """The function of a method with two underscores, if the class is written with one."""
    found = instance(run, owner)
    if found is None or is_output_class(found.kind):
        return None
    item = inspect.getattr_static(found.kind, name, None)
    if isinstance(item, types.FunctionType) and item.__code__.co_filename != "<string>":
        return item
    return None


def known_method(
    run: Interpreter, owner: Ref, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A method that no Python source defines."""
    found: InstanceObj = run.state.heap[owner]
    if isinstance(found.content, tuple):
        names = field_names(found.kind)
        if name == "_replace" and set(kwargs) <= set(names):
            values = dict(zip(names, found.content, strict=True)) | kwargs
            return run.state.new(InstanceObj(found.kind, (), tuple(values.values())))
        if name == "_asdict":
            return run.state.new(DictObj(tuple(zip(names, found.content, strict=True))))
        if name in ("index", "count"):
            from dyncc.frontend.containers import tuple_method

            return tuple_method(run, found.content, name, args)
    if issubclass(found.kind, BaseException):
        from dyncc.frontend import raising

        result = raising.known_method(run, owner, name, args)
        if result is not NotImplemented:
            return result
    if found.kind is deque:
        from dyncc.frontend.library_containers import deque_method

        return deque_method(run, found, name, args)
    if name in ("__init__", "__post_init__", "__init_subclass__"):
        return None
    if name in ("__setattr__", "__setitem__") and len(args) == 2:
        run.state.heap[owner] = found.set(args[0], args[1])
        return None
    if is_output_class(found.kind):
        from dyncc.frontend.containers import dict_method

        entries = output_entries(found)
        if name == "to_tuple":
            return tuple(value for _, value in entries.items)
        if name in ("keys", "values", "items", "get", "__contains__"):
            return dict_method(run, owner, entries, name, args, kwargs)
    raise Unsupported(
        "DY505",
        f"`.{name}()` of a {found.kind.__name__}",
        "it is not compiled",
        "Write it otherwise.",
    )
