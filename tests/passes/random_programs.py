"""Random programs that can be run, with much for passes to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Loc,
    Operand,
    Raise,
    Region,
    RegionCall,
    Return,
    Series,
    TensorOp,
    Terminator,
    Value,
    jumps,
    reachable,
)
from dyncc.ir.types import BOOL, FLOAT, INT, STR, TensorType, Type
from dyncc.passes.renaming import renamed_op, renamed_terminator

TENSOR = TensorType("f32", (2,))
TYPES: tuple[Type, ...] = (INT, INT, BOOL, FLOAT, TENSOR)
LITERALS: dict[Type, tuple[Operand, ...]] = {
    INT: (0, 1, -1, 2, 10**30),
    BOOL: (True, False),
    FLOAT: (0.0, -0.0, 1.5, float("nan"), float("-inf"), 1e308),
}
#: Operations by the type of their result, with the types of their operands.
OPERATIONS: dict[Type, tuple[tuple[str, tuple[Type, ...]], ...]] = {
    INT: (
        ("add", (INT, INT)), ("sub", (INT, INT)), ("mul", (INT, INT)), ("floordiv", (INT, INT)),
        ("mod", (INT, INT)), ("lshift", (INT, INT)), ("add", (BOOL, BOOL)), ("int", (FLOAT,)),
        ("min", (INT, INT)),
    ),
    BOOL: (
        ("lt", (INT, INT)), ("eq", (INT, INT)), ("eq", (INT, BOOL)), ("eq", (FLOAT, FLOAT)),
        ("not", (BOOL,)), ("and", (BOOL, BOOL)), ("math.isnan", (FLOAT,)), ("ge", (FLOAT, INT)),
    ),
    FLOAT: (
        ("mul", (FLOAT, FLOAT)), ("truediv", (INT, INT)), ("math.sqrt", (FLOAT,)),
        ("math.copysign", (FLOAT, FLOAT)), ("neg", (FLOAT,)), ("float", (INT,)),
        ("max", (FLOAT, FLOAT)), ("pow", (FLOAT, FLOAT)),
    ),
}  # fmt: skip


def _region(name: str, target: str) -> Region:
    a, b = Value("a", TENSOR), Value("b", TENSOR)
    return Region(name, (a,), (), (TensorOp(target, (a,), (), (b,)),), (b,))


def _costly() -> Region:
    """A region that is worth to be moved for what depends on its first parameter alone."""
    x, y, total, left = (Value(name, TENSOR) for name in ("x", "y", "total", "left"))
    column, row = (
        Value("column", TensorType("f32", (2, 1))),
        Value("row", TensorType("f32", (1, 2))),
    )
    wide, high = (
        Value("wide", TensorType("f32", (2, 80))),
        Value("high", TensorType("f32", (80, 2))),
    )
    square = Value("square", TensorType("f32", (80, 80)))
    summed = Value("summed", TensorType("f32", ()))
    ops = (
        TensorOp("aten.unsqueeze.default", (x, 1), (), (column,)),
        TensorOp("aten.expand.default", (column, (2, 80)), (), (wide,)),
        TensorOp("aten.unsqueeze.default", (x, 0), (), (row,)),
        TensorOp("aten.expand.default", (row, (80, 2)), (), (high,)),
        TensorOp("aten.mm.default", (high, wide), (), (square,)),
        TensorOp("aten.sum.default", (square,), (), (summed,)),
        TensorOp("aten.mul.Tensor", (x, summed), (), (total,)),
        TensorOp("aten.add.Tensor", (y, total), (), (left,)),
    )
    return Region("costly", (x, y), (), ops, (total, left))


REGIONS = {name: _region(name, f"aten.{name}.default") for name in ("neg", "abs")}
REGIONS["costly"] = _costly()


T = TypeVar("T")


class _Chance:
    """Choices, each of them a bounded integer that hypothesis draws, so that it can shrink them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def randint(self, least: int, most: int) -> int:
        return self._draw(st.integers(least, most))

    def randrange(self, start: int, stop: int) -> int:
        return self.randint(start, stop - 1)

    def random(self) -> float:
        return self.randint(0, 99) / 100

    def choice(self, items: Sequence[T]) -> T:
        return items[self.randint(0, len(items) - 1)]


class _Maker:
    def __init__(self, chance: _Chance) -> None:
        self.chance = chance
        self.count = 0
        self.heads: list[tuple[Value, ...]] = []

    def value(self, kind: Type) -> Value:
        self.count += 1
        return Value(f"v{self.count}", kind)

    def program(self) -> Hcfg:
        """A program of up to eight blocks."""
        count = self.chance.randint(2, 8)
        models: dict[int, int] = {}
        for index in range(count):
            kinds = [TENSOR, *(self.chance.choice(TYPES) for _ in range(self.chance.randint(0, 3)))]
            if index == 0:
                kinds = [TENSOR, INT, BOOL, FLOAT]
            elif index > 1 and self.chance.random() < 0.4:
                models[index] = self.chance.randrange(1, index)
                kinds = [value.type for value in self.heads[models[index]]]
            self.heads.append(tuple(map(self.value, kinds)))
        blocks: list[Block] = []
        for index in range(count):
            like = blocks[models[index]] if index in models else None
            blocks.append(self.block(index, like))
        table = {block.name: block for block in blocks}
        for block in blocks:
            if isinstance(block.terminator, Branch) and self.chance.random() < 0.3:
                self.sides(table, block, block.terminator)
            if isinstance(block.terminator, Jump) and self.chance.random() < 0.15:
                self.turns(table, block, block.terminator)
            elif self.chance.random() < 0.3:
                self.calls(table, block)
        reached = reachable(table)
        table = {name: block for name, block in table.items() if name in reached}
        signature = tuple((name, Leaf(v)) for name, v in zip("xnpq", self.heads[0], strict=True))
        return Hcfg("random", signature, (), (), {}, table, REGIONS)

    def block(self, index: int, like: Block | None) -> Block:
        """A block; one like another has the same operations, and often the same end."""
        params = self.heads[index]
        loc = Loc("net.py", self.chance.randint(1, 2))
        known = list(params)
        if index and self.chance.random() < 0.2 and (copy := self.copy(index, params)) is not None:
            return Block(f"b{index}", params, (), copy, loc)
        if like is None:
            ops: list[BlockOp] = []
            for _ in range(self.chance.choice((0, 0, 1, 2, 4))):
                self.operation(ops, known)
            terminator = self.terminator(index, ops, known)
            return Block(f"b{index}", params, tuple(ops), terminator, loc)
        return self.like(f"b{index}", params, like, self.chance.random() < 0.3)

    def like(self, name: str, params: tuple[Value, ...], model: Block, other: bool) -> Block:
        """A block with the operations of another, and its end or, if `other`, one of its own."""
        values = dict(zip(model.params, params, strict=True))
        ops: list[BlockOp] = []
        for op in model.ops:
            results = tuple(self.value(value.type) for value in op.results)
            ops.append(replace(renamed_op(op, values), results=results))
            values |= zip(op.results, results, strict=True)
        terminator = renamed_terminator(model.terminator, values)
        if other:
            terminator = self.terminator(int(model.name[1:]), ops, list(values.values()))
        return Block(name, params, tuple(ops), terminator, model.loc)

    def sides(self, table: dict[str, Block], block: Block, branch: Branch) -> None:
        """Give a branch two sides of its own that begin with the same operations."""
        model = table[branch.then.target]
        for name, other in ((f"{block.name}t", False), (f"{block.name}f", True)):
            params = tuple(self.value(value.type) for value in model.params)
            found = self.like(name, params, model, other and self.chance.random() < 0.5)
            table[name] = replace(found, loc=Loc("net.py", 3 + other))
        then = replace(branch.then, target=f"{block.name}t")
        orelse = replace(then, target=f"{block.name}f")
        end = replace(branch, then=then, orelse=orelse)
        table[block.name] = replace(block, terminator=end)

    def turns(self, table: dict[str, Block], block: Block, onward: Jump) -> None:
        """Put a loop of two turns, which may change some of what is given, into an edge."""
        if not onward.args:
            return
        params = tuple(self.value(arg.type) for arg in onward.args)
        count = self.value(INT)
        start, more, limit, again = (self.value(kind) for kind in (INT, INT, INT, BOOL))
        known: list[Value] = [*params]
        ops: list[BlockOp] = []
        self.call(ops, known)
        ops += [
            HostOp("const", (1,), (limit,)),
            HostOp("lt", (count, limit), (again,)),
            HostOp("add", (count, limit), (more,)),
        ]
        kept = [p if self.chance.random() < 0.7 else self.given(p.type, ops, known) for p in params]
        head = Jump(f"{block.name}w", (*kept, more))
        left = tuple(self.given(param.type, ops, known) for param in params)
        end = Branch(again, head, Jump(onward.target, left), "turn")
        table[head.target] = Block(head.target, (*params, count), tuple(ops), end, Loc("net.py", 5))
        table[block.name] = replace(
            block,
            ops=(*block.ops, HostOp("const", (0,), (start,))),
            terminator=Jump(head.target, (*onward.args, start)),
        )

    def calls(self, table: dict[str, Block], block: Block) -> None:
        """Call a region before the first edge of a block, and another one on it."""
        block = table[block.name]
        ways = jumps(block.terminator)
        known, ops = [*block.params], list(block.ops)
        for op in ops:
            known += op.results
        if not ways or any(isinstance(op, RegionCall) for op in ops):
            return
        self.call(ops, known)
        params = tuple(self.value(arg.type) for arg in (*ways[0].args, *known))
        more: list[BlockOp] = []
        self.call(more, [*params])
        after = f"{block.name}n"
        args = params[: len(ways[0].args)]
        table[after] = Block(
            after, params, tuple(more), replace(ways[0], args=args), Loc("net.py", 6)
        )
        first = Jump(after, (*ways[0].args, *known))
        end: Terminator = first
        if isinstance(block.terminator, Branch):
            end = replace(block.terminator, then=first)
        table[block.name] = replace(block, ops=tuple(ops), terminator=end)

    def copy(self, index: int, params: tuple[Value, ...]) -> Jump | None:
        """An edge for a block that does nothing else, if one fits."""
        for target in range(index + 1, len(self.heads)):
            by_type = {value.type: value for value in params}
            if all(value.type in by_type for value in self.heads[target]):
                args = tuple(by_type[value.type] for value in self.heads[target])
                return Jump(f"b{target}", args)
        return None

    def given(self, kind: Type, ops: list[BlockOp], known: list[Value]) -> Value:
        """A value of a type; a scalar may be made for it."""
        found = [value for value in known if value.type == kind]
        if kind == TENSOR or (found and self.chance.random() < 0.6):
            return self.chance.choice(found)
        made = self.value(kind)
        ops.append(HostOp("const", (self.chance.choice(LITERALS[kind]),), (made,)))
        known.append(made)
        return made

    def operation(self, ops: list[BlockOp], known: list[Value]) -> None:
        kind = self.chance.choice((*TYPES, STR))
        if kind == TENSOR:
            if not any(isinstance(op, RegionCall) for op in ops):
                self.call(ops, known)
            return
        if kind == STR:
            text = self.value(STR)
            ops.append(HostOp("repr", (self.given(INT, ops, known),), (text,)))
            ops.append(HostOp("print", (text,), ()))
            return
        name, wanted = self.chance.choice(OPERATIONS[kind])
        operands = tuple(self.given(one, ops, known) for one in wanted)
        result = self.value(kind)
        ops.append(HostOp(name, operands, (result,)))
        known.append(result)

    def call(self, ops: list[BlockOp], known: list[Value]) -> None:
        """Call a region, if there is a tensor to give it."""
        if not any(value.type == TENSOR for value in known):
            return
        region = REGIONS[self.chance.choice(sorted(REGIONS))]
        args = tuple(self.given(TENSOR, ops, known) for _ in region.params)
        made = tuple(self.value(TENSOR) for _ in region.results)
        ops.append(RegionCall(region.name, args, (), made))
        known += made

    def jump(self, index: int, ops: list[BlockOp], known: list[Value]) -> Jump:
        """An edge, mostly ahead."""
        count = len(self.heads)
        back = index + 1 >= count or self.chance.random() < 0.2
        target = (
            self.chance.randrange(1, count) if back else self.chance.randint(index + 1, count - 1)
        )
        args = tuple(self.given(param.type, ops, known) for param in self.heads[target])
        return Jump(f"b{target}", args)

    def terminator(self, index: int, ops: list[BlockOp], known: list[Value]) -> Terminator:
        kind = self.chance.choice("jjbbbbr" if index + 1 < len(self.heads) else "rrrrx")
        if kind == "b":
            condition = self.given(BOOL, ops, known)
            then = self.jump(index, ops, known)
            orelse = then if self.chance.random() < 0.2 else self.jump(index, ops, known)
            return Branch(condition, then, orelse, "test")
        if kind == "j":
            return self.jump(index, ops, known)
        if kind == "x":
            return Raise("ValueError", (self.given(INT, ops, known),))
        return Return(Series("tuple", tuple(map(Leaf, known))))


@st.composite
def programs(draw: st.DrawFn) -> Hcfg:
    """A program over a tensor, an int, a bool and a float that ends, raises or turns for ever."""
    return _Maker(_Chance(draw)).program()
