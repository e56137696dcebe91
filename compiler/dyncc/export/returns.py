"""What a program returns and keeps, in C++."""

from __future__ import annotations

from dyncc.export.literals import Unexportable, literal, text, variable
from dyncc.ir.hcfg import Each, Leaf, Literal, Record, Series, Struct, Tree
from dyncc.ir.types import TensorType


def built(tree: Tree) -> str:
    """An expression that makes an ``Out`` of a tree; raises Unexportable."""
    match tree:
        case Leaf(value):
            return f"out({variable(value)})"
        case Literal(None):
            return "out()"
        case Literal(value):
            return f"out({literal(value)})"
        case Series(kind, items):
            return _series(_kind(kind), [built(item) for item in items])
        case Record(pairs):
            return _series("DYNCC_DICT", [_keyed(_key(key), item) for key, item in pairs])
        case Struct(kind, name, pairs):
            made = _series("DYNCC_STRUCT", [_keyed(key, item) for key, item in pairs], name)
            return f"without_none({made})" if kind == "output" else made
        case Each(element):
            return f"series(DYNCC_LIST, {_rows(element)})"


def kept(tree: Tree) -> str:
    """An expression for new state; raises Unexportable."""
    match tree:
        case Leaf(value):
            name = variable(value)
            return f"kept({name})" if isinstance(value.type, TensorType) else name
        case Literal(value) if value is not None:
            return literal(value)
        case _:
            raise Unexportable("state that is no tensor or number is kept in Python")


def _kind(kind: str) -> str:
    return "DYNCC_TUPLE" if kind == "tuple" else "DYNCC_LIST"


def _key(key: object) -> str:
    return key if isinstance(key, str) else repr(key)


def _keyed(key: str, item: Tree) -> str:
    return f"keyed({text(key)}, {built(item)})"


def _series(kind: str, items: list[str], name: str | None = None) -> str:
    named = f", {text(name)}" if name is not None else ""
    return f"series({kind}, {{{', '.join(items)}}}{named})"


def _rows(element: Tree) -> str:
    match element:
        case Leaf(value):
            return f"column({variable(value)})"
        case Series(kind, items):
            return f"rows({_kind(kind)}, {{{', '.join(_rows(item) for item in items)}}})"
        case _:
            raise Unexportable("lists of run-time length are made of values and tuples of them")
