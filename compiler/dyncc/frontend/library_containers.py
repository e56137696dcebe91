"""``collections.deque`` and ``collections.defaultdict``: objects around a list and a dict."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from dyncc.frontend.decisions import Unsupported
from dyncc.frontend.instances import make_default
from dyncc.frontend.interpreter import Interpreter
from dyncc.frontend.lists import dynamic_method, static_method
from dyncc.frontend.values import DictObj, DynListObj, InstanceObj, ListObj, Ref


def make_deque(run: Interpreter, items: Any = (), maxlen: Any = None) -> Any:
    """``deque(items, maxlen)``."""
    from dyncc.frontend.operations import sequence

    limit = run.static(maxlen, "the length of a deque")
    values = sequence(run, items)
    kept = values if limit is None else values[max(len(values) - limit, 0) :]
    content = run.state.new(ListObj(kept))
    return run.state.new(InstanceObj(deque, (("maxlen", limit),), content))


def make_defaultdict(run: Interpreter, factory: Any = None, *args: Any, **kwargs: Any) -> Any:
    """``defaultdict(factory, ...)``."""
    from dyncc.frontend.containers import make_dict

    content = run.state.new(make_dict(run, args, kwargs))
    return run.state.new(InstanceObj(defaultdict, (("default_factory", factory),), content))


def missing_item(run: Interpreter, owner: Any, key: Any) -> None:
    """Put a default where a ``defaultdict`` has no such key."""
    found = run.state.heap[owner] if isinstance(owner, Ref) else None
    if not isinstance(found, InstanceObj) or found.kind is not defaultdict:
        return
    factory = found.get("default_factory")
    entries: DictObj = run.state.heap[found.content]
    if factory is not None and key not in dict(entries.items):
        made = 0 if factory is int else 0.0 if factory is float else make_default(run, factory)
        run.state.heap[found.content] = entries.set(key, made)


_SAME = {"append", "extend", "pop", "clear", "reverse", "index", "count", "insert", "remove"}


def deque_method(run: Interpreter, found: InstanceObj, name: str, args: tuple[Any, ...]) -> Any:
    """A method of a ``deque``."""
    content = found.content
    limit = found.get("maxlen")
    items: ListObj | DynListObj = run.state.heap[content]
    grows = name in ("append", "appendleft", "extend", "insert")
    if limit is not None and grows and isinstance(items, DynListObj):
        raise Unsupported(
            "DY403",
            f"`.{name}()` of a deque with maxlen, whose length depends on data",
            "what it drops is known at run time only",
            "Drop items by hand, or fill the deque before the loop.",
        )
    renamed = {"appendleft": ("insert", (0, *args)), "popleft": ("pop", (0,))}
    name, args = renamed.get(name, (name, args))
    if name not in _SAME:
        raise Unsupported("DY408", f"`.{name}()` of a deque", "it is not compiled", "Use a list.")
    method = dynamic_method if isinstance(items, DynListObj) else static_method
    result = method(run, content, name, args)
    after = run.state.heap[content]
    if limit is not None and grows and isinstance(after, ListObj) and len(after.items) > limit:
        left = name == "insert"
        kept = after.items[:limit] if left else after.items[len(after.items) - limit :]
        run.state.heap[content] = ListObj(kept)
    return result
