"""Random programs that keep the rules of the HCFG."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dyncc.ir.hcfg import (
    STRUCTS,
    Block,
    Branch,
    Each,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Literal,
    Loc,
    Raise,
    Record,
    Region,
    RegionCall,
    Return,
    Series,
    StateSlot,
    Struct,
    Symbolic,
    TensorOp,
    Tree,
    Value,
    tree_leaves,
)
from dyncc.ir.types import BOOL, DTYPES, FLOAT, INT, ListType, TensorType, Type

LOCS = st.none() | st.builds(Loc, st.text(max_size=8), st.integers(1, 10**6), st.integers(0, 200))
TENSORS = st.builds(
    TensorType,
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 70), max_size=3).map(tuple),
)
TYPES: st.SearchStrategy[Type] = (
    TENSORS
    | st.sampled_from((BOOL, INT, FLOAT))
    | st.builds(ListType, TENSORS | st.sampled_from((INT, FLOAT)))
)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.builds(complex, st.floats(-9, 9), st.floats(-9, 9))
    | st.text(max_size=6)
    | st.none()
)
OPERANDS = st.recursive(
    SCALARS | st.builds(Symbolic, st.just("dtype"), st.sampled_from(sorted(DTYPES))),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


class _Names:
    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.count = 0

    def value(self, kind: Type) -> Value:
        self.count += 1
        return Value(f"v{self.count}", kind)

    def values(self, most: int = 3, kinds: Any = TYPES) -> tuple[Value, ...]:
        return tuple(self.value(kind) for kind in self.draw(st.lists(kinds, max_size=most)))

    def tree(self, known: tuple[Value, ...], depth: int = 2) -> Tree:
        """A tree of some of the known values."""
        kind = self.draw(st.sampled_from(("leaf", "literal", "series", "record", "struct")))
        if kind == "leaf" and known:
            return Leaf(self.draw(st.sampled_from(known)))
        if kind == "series" and depth:
            items = tuple(self.tree(known, depth - 1) for _ in range(self.draw(st.integers(0, 2))))
            return Series(self.draw(st.sampled_from(("tuple", "list"))), items)
        if kind == "record" and depth:
            keys = self.draw(st.lists(st.text(max_size=4), max_size=2, unique=True))
            return Record(tuple((key, self.tree(known, depth - 1)) for key in keys))
        if kind == "struct" and depth:
            fields = self.draw(st.lists(st.sampled_from("abc"), max_size=2, unique=True))
            items = tuple((field, self.tree(known, depth - 1)) for field in fields)
            return Struct(self.draw(st.sampled_from(STRUCTS)), "Result", items)
        lists = [value for value in known if isinstance(value.type, ListType)]
        if lists and self.draw(st.booleans()):
            return Each(Leaf(self.draw(st.sampled_from(lists))))
        return Literal(self.draw(SCALARS))


@st.composite
def programs(draw: Any) -> Hcfg:
    """A program of up to four blocks and two regions."""
    names = _Names(draw)
    arguments = names.values()
    signature = tuple((f"arg{i}", Leaf(value)) for i, value in enumerate(arguments))
    weights = {f"w.{i}": kind for i, kind in enumerate(draw(st.lists(TENSORS, max_size=2)))}
    slots = [StateSlot(name, names.value(kind)) for name, kind in weights.items()]
    if draw(st.booleans()):
        slots.append(StateSlot("count", names.value(INT), draw(st.integers())))
    regions = {f"r{i}": _region(names, f"r{i}") for i in range(draw(st.integers(0, 2)))}
    for region in regions.values():
        weights |= {f"{region.name}.{i}": w.type for i, w in enumerate(region.weights)}  # type: ignore[misc]
    count = draw(st.integers(1, 4))
    heads = [(*arguments, *(slot.value for slot in slots if slot.value is not None))]
    heads += [names.values() for _ in range(count - 1)]
    blocks = {
        f"b{i}": _block(names, i, heads, regions, tuple(slot.name for slot in slots))
        for i in range(count)
    }
    return Hcfg("random", signature, (), tuple(slots), weights, blocks, regions)


def _region(names: _Names, name: str) -> Region:
    params, weights = names.values(kinds=TENSORS), names.values(kinds=TENSORS)
    known = [*params, *weights]
    ops = []
    for _ in range(names.draw(st.integers(0, 2))):
        args = tuple(names.draw(st.lists(OPERANDS, max_size=2)))
        if known:
            args += (names.draw(st.sampled_from(known)),)
        results = names.values(2, TENSORS) + (None,) * names.draw(st.integers(0, 1))
        results = results or (None,)
        keywords = (("dtype", names.draw(OPERANDS)),) if names.draw(st.booleans()) else ()
        ops.append(TensorOp("aten.some_op.default", args, keywords, results))
        known += [value for value in results if value is not None]
    return Region(name, params, weights, tuple(ops), tuple(known[-2:]))


def _block(
    names: _Names,
    index: int,
    heads: list[tuple[Value, ...]],
    regions: dict[str, Region],
    slots: tuple[str, ...],
) -> Block:
    draw, params = names.draw, heads[index]
    ops: list[HostOp | RegionCall] = []
    known = [*params]

    def make(kind: Type) -> Value:
        """A value of a type, made here if there is none."""
        found = [value for value in known if value.type == kind]
        if found:
            return draw(st.sampled_from(found))
        value = names.value(kind)
        if isinstance(kind, ListType):
            ops.append(HostOp("list.of", (), (value,)))
        elif isinstance(kind, TensorType):
            # Of no fixed shape: the declaration tells.
            empty = make(ListType(kind))
            ops.append(HostOp("list.get", (empty, 0), (value,), draw(LOCS)))
        else:
            literal = {BOOL: True, INT: 3, FLOAT: 0.5}[kind]
            ops.append(HostOp("const", (literal,), (value,), draw(LOCS)))
        known.append(value)
        return value

    if regions and draw(st.booleans()):
        region = regions[draw(st.sampled_from(sorted(regions)))]
        args = tuple(make(param.type) for param in region.params)
        results = tuple(names.value(value.type) for value in region.results)
        bound = tuple(f"{region.name}.{i}" for i in range(len(region.weights)))
        ops.append(RegionCall(region.name, args, bound, results))
        known += results
    numbers = [value for value in known if value.type == INT]
    if numbers:
        result = names.value(INT)
        ops.append(HostOp("add", (numbers[0], draw(st.integers())), (result,), draw(LOCS)))
        known.append(result)

    def jump(target: int) -> Jump:
        return Jump(f"b{target}", tuple(make(param.type) for param in heads[target]))

    terminator: Any
    later = index + 1
    if later < len(heads):
        # Every block is reached from the one before.
        if draw(st.booleans()):
            other = draw(st.integers(1, len(heads) - 1))
            ways = jump(later), jump(other)
            terminator = Branch(make(BOOL), *ways, draw(st.text(max_size=5)), draw(LOCS))
        else:
            terminator = jump(later)
    elif draw(st.booleans()):
        state = tuple((name, Literal(0)) for name in slots)
        terminator = Return(names.tree(tuple(known)), state, draw(LOCS))
    else:
        terminator = Raise("ValueError", tuple(draw(st.lists(SCALARS, max_size=2))), draw(LOCS))
    return Block(f"b{index}", params, tuple(ops), terminator, draw(LOCS))


__all__ = ["programs", "tree_leaves"]
