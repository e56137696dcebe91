"""Methods of dicts, sets and tuples."""

from __future__ import annotations

import math
from typing import Any

from dyncc.frontend.bridge import is_static
from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.values import DictObj, InstanceObj, Ref, SetObj, Sym

_NO_VALUE = object()


def pairs_of(run: Interpreter, value: Any) -> dict[Any, Any] | None:
    """The entries of a dict, whatever stands for it, or None."""
    from dyncc.frontend.instances import is_output_class, output_entries
    from dyncc.frontend.operations import external

    found = run.state.heap[value] if isinstance(value, Ref) else value
    if isinstance(found, InstanceObj):
        if is_output_class(found.kind):
            return dict(output_entries(found).items)
        return pairs_of(run, found.content) if isinstance(found.content, Ref) else None
    if isinstance(found, DictObj):
        return dict(found.items)
    if isinstance(found, dict):
        return {key: external(run, item) for key, item in found.items()}
    return None


def make_dict(run: Interpreter, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DictObj:
    """What ``dict(*args, **kwargs)`` holds."""
    from dyncc.frontend.operations import sequence

    pairs: list[tuple[Any, Any]] = []
    if args:
        known = pairs_of(run, args[0])
        if known is not None:
            pairs = list(known.items())
        else:
            for item in sequence(run, args[0]):
                pair = sequence(run, item)
                if len(pair) != 2:
                    raise Unsupported(
                        "DY107",
                        "a dict of pairs",
                        f"one of them has {len(pair)} items",
                        "Give a key and a value for each entry.",
                    )
                pairs.append((pair[0], pair[1]))
    result = DictObj(())
    for key, value in (*pairs, *kwargs.items()):
        result = result.set(static_key(run, key), value)
    return result


def static_key(run: Interpreter, key: Any) -> Any:
    """A key that is known when the network is compiled."""
    if not run.is_tensor(key):
        key = run.static(run.scalar(key), "a dict key")
    if not is_static(run.state, key):
        raise Unsupported(
            "DY407",
            "a dict key or element of a set",
            "it is a tensor or holds what is known at run time only",
            "Use strings or constants as keys, or a list.",
        )
    try:
        hash(key)
    except TypeError as error:
        raise Unsupported("DY407", "a dict key", str(error), "Use a tuple or a string.") from error
    return key


def dict_method(
    run: Interpreter,
    owner: Any,
    found: DictObj,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A method of a dict, which is at `owner`."""
    heap = run.state.heap
    if name in ("keys", "values", "items"):
        return {
            "keys": tuple(key for key, _ in found.items),
            "values": tuple(value for _, value in found.items),
            "items": found.items,
        }[name]
    if name in ("update", "__init__", "__ior__"):
        for key, value in make_dict(run, args, kwargs).items:
            found = found.set(key, value)
        heap[owner] = found
        return None
    if name == "copy":
        return run.state.new(found)
    if name == "clear":
        heap[owner] = DictObj(())
        return None
    if name == "popitem" and found.items:
        last = kwargs.get("last", args[0] if args else True)
        taken = found.items[-1 if last else 0]
        heap[owner] = DictObj(found.items[:-1] if last else found.items[1:])
        return taken
    if name == "move_to_end":
        key, last = static_key(run, args[0]), kwargs.get("last", True)
        moved = ((key, found.get(key)),)
        rest = tuple(pair for pair in found.items if pair[0] != key)
        heap[owner] = DictObj(rest + moved if last else moved + rest)
        return None
    return _keyed(run, owner, found, name, args)


def _keyed(run: Interpreter, owner: Any, found: DictObj, name: str, args: tuple[Any, ...]) -> Any:
    """A method of a dict whose first argument is a key."""
    heap = run.state.heap
    key = static_key(run, args[0]) if args else None
    value = dict(found.items).get(key, _NO_VALUE) if args else _NO_VALUE
    default = args[1] if len(args) > 1 else None
    if name == "get" and args:
        return default if value is _NO_VALUE else value
    if name == "__contains__":
        return value is not _NO_VALUE
    if name == "__getitem__" and value is not _NO_VALUE:
        return value
    if name == "__setitem__":
        heap[owner] = found.set(key, args[1])
        return None
    if name == "setdefault" and args:
        if value is not _NO_VALUE:
            return value
        heap[owner] = found.set(key, default)
        return default
    if name == "pop" and args and (value is not _NO_VALUE or len(args) > 1):
        heap[owner] = DictObj(tuple(pair for pair in found.items if pair[0] != key))
        return default if value is _NO_VALUE else value
    if name in ("pop", "__getitem__"):
        raise Unsupported(
            "DY106", f"`.{name}({key!r})`", f"the dict has no key {key!r}", "Correct the key."
        )
    raise Unsupported(
        "DY408", f"`.{name}()` of a dict", "it is not compiled", "Write it otherwise."
    )


def make_set(run: Interpreter, values: tuple[Any, ...]) -> SetObj:
    """A set of some values."""
    return SetObj(frozenset(static_key(run, value) for value in values))


_SET_UPDATES = {
    "update": "union", "intersection_update": "intersection", "difference_update": "difference",
    "symmetric_difference_update": "symmetric_difference",
}  # fmt: skip
_SET_RESULTS = frozenset(
    {"union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset",
     "isdisjoint"}
)  # fmt: skip


#: Operators of dicts and sets: methods in place for a dict and for a set, and the set's other.
SET_OPERATORS = {
    "or": ("update", "update", "union"),
    "and": ("", "intersection_update", "intersection"),
    "sub": ("", "difference_update", "difference"),
    "xor": ("", "symmetric_difference_update", "symmetric_difference"),
}


def set_method(
    run: Interpreter,
    owner: Ref,
    found: SetObj,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A method of a set."""
    from dyncc.frontend.operations import sequence

    heap = run.state.heap
    if name in ("add", "discard", "remove", "__contains__"):
        key = static_key(run, args[0])
        if name == "__contains__":
            return key in found.items
        if name == "remove" and key not in found.items:
            raise Unsupported("DY106", "`.remove()`", f"the set has no {key!r}", "Use discard.")
        heap[owner] = SetObj(found.items | {key} if name == "add" else found.items - {key})
        return None
    if name == "clear":
        heap[owner] = SetObj(frozenset())
        return None
    if name == "copy":
        return run.state.new(found)
    if name in _SET_UPDATES or name in _SET_RESULTS:
        others = [make_set(run, sequence(run, arg)).items for arg in args]
        result = getattr(found.items, _SET_UPDATES.get(name, name))(*others)
        if name in _SET_UPDATES:
            heap[owner] = SetObj(result)
            return None
        return run.state.new(SetObj(result)) if isinstance(result, frozenset) else result
    raise Unsupported(
        "DY408",
        f"`.{name}()` of a set",
        "it is not compiled; the order of a set is no order to rely on",
        "Use a list.",
    )


def tuple_method(run: Interpreter, found: tuple[Any, ...], name: str, args: tuple[Any, ...]) -> Any:
    """A method of a tuple, or of the shape of a tensor."""
    from dyncc.frontend.operations import evaluate

    if name == "numel":
        return math.prod(found)
    if name in ("index", "count") and is_static(run.state, (found, args)):
        return evaluate(run, getattr(found, name), *args)
    if name == "count" and all(isinstance(item, Sym | bool | int | float) for item in found):
        total: Any = 0
        for item in found:
            total = run.host("add", total, run.host("eq", item, args[0]))
        return total
    raise Unsupported(
        "DY406",
        f"`.{name}()` of a tuple",
        "it compares what is known at run time only",
        "Compare the items in a loop.",
    )
