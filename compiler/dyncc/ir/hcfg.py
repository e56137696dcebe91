"""The HCFG (heterogeneous control-flow graph): the one program form between all stages.

A program is a graph of *blocks*. A block has parameters and uses nothing defined in another block:
values cross an edge only as arguments (SSA with block parameters). Inside a block run, in order,
*host operations* on scalars and lists, and calls of *regions*: straight-line tensor programs that a
back end compiles. A terminator leaves the block. Regions take their weights as arguments, so that
equal structure with other weights is one region.

The graph and its name follow Chen et al., "DyCL", ISSTA 2023 (arXiv 2307.04963), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dyncc.ir.types import TensorType, Type


@dataclass(frozen=True)
class Loc:
    """A place in the user's source (1-based line, 0-based column)."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column + 1}"


@dataclass(frozen=True)
class Value:
    """An SSA value; its name is unique in the program."""

    name: str
    type: Type

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Symbolic:
    """A torch constant that is no Python literal: a dtype, layout, device or memory format."""

    kind: str
    name: str


#: The keyword with the state of its generator, of an operation that draws random numbers.
GENERATOR = "generator"
#: The name of module state that is the state of torch's default generator.
DEFAULT_GENERATOR = "torch.default_generator"

#: A literal, or a value, or a list of them: an argument of an operation.
Operand: TypeAlias = (
    "Value | Symbolic | bool | int | float | complex | str | tuple[Operand, ...] | None"
)


@dataclass(frozen=True)
class TensorOp:
    """One ATen operation inside a region, for example ``aten.add.Tensor``.

    ``None`` in `results` stands for a result that nothing uses. One without results asserts
    something; it is never left out. One that draws random numbers takes the state of its generator
    as `GENERATOR`, and its last result is the next state.
    """

    target: str
    args: tuple[Operand, ...]
    kwargs: tuple[tuple[str, Operand], ...]
    results: tuple[Value | None, ...]


def draws(op: TensorOp) -> bool:
    """Whether an operation draws random numbers."""
    return any(name == GENERATOR and isinstance(arg, Value) for name, arg in op.kwargs)


@dataclass(frozen=True)
class Region:
    """A static sub-network: parameters, then weights, then operations, then results."""

    name: str
    params: tuple[Value, ...]
    weights: tuple[Value, ...]
    ops: tuple[TensorOp, ...]
    results: tuple[Value, ...]


def is_static(region: Region) -> bool:
    """Whether all sizes in a region are known."""
    values = (*region.params, *region.weights, *(v for op in region.ops for v in op.results))
    kinds = (value.type for value in values if value is not None)
    return all(isinstance(kind, TensorType) and kind.is_static for kind in kinds)


#: Operations that give nothing, and raise for some tensors.
ASSERTIONS = frozenset(
    {"aten._assert_scalar.default", "aten._assert_async.default", "aten._assert_async.msg"}
)


def only_torch(region: Region) -> str | None:
    """Why PyTorch runs a region whatever the back end; None if it need not."""
    # TVM builds some with open extents, and gives tensors of wrong sizes for a mixture of experts.
    if not is_static(region):
        return "some of its sizes are known at run time only"
    if any(draws(op) for op in region.ops):
        return "it draws random numbers"
    if any(op.target in ASSERTIONS for op in region.ops):
        return "it asserts what its tensors hold"
    made = (value for op in region.ops for value in op.results if value is not None)
    # TVM writes constants of no elements into a library, and cannot load it.
    if any(isinstance(value.type, TensorType) and 0 in value.type.shape for value in made):
        return "one of its tensors has no elements"
    return None


@dataclass(frozen=True)
class HostOp:
    """A host operation on scalars and lists; the operations are listed in `dyncc.ir.hostops`."""

    op: str
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    loc: Loc | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RegionCall:
    """A call of a region with activations and the names of the weights bound to it."""

    region: str
    args: tuple[Value, ...]
    weights: tuple[str, ...]
    results: tuple[Value, ...]


BlockOp: TypeAlias = HostOp | RegionCall


# --- structured values at the entry and the exits -------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """A value in a tree."""

    value: Value


@dataclass(frozen=True)
class Literal:
    """A Python constant in a tree (None, bool, int, float, complex or str)."""

    value: bool | int | float | complex | str | None


@dataclass(frozen=True)
class Series:
    """A tuple or a list of known length."""

    kind: str
    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Record:
    """A dict with literal keys, in insertion order."""

    items: tuple[tuple[str | int | bool | float | None, Tree], ...]


@dataclass(frozen=True)
class Each:
    """A list of run-time length; the leaves of `element` are lists of that length."""

    element: Tree


@dataclass(frozen=True)
class Struct:
    """An object of a class of the user's, whose parts have names.

    Attributes
    ----------
    kind
        ``namedtuple``, ``dataclass``, ``mapping`` (a dict whose keys can be read as attributes) or
        ``output`` (a ``mapping`` of declared fields, of which those that are None are no keys).
    name
        Name of the class.
    items
        Names and contents, in order.
    """

    kind: str
    name: str
    items: tuple[tuple[str, Tree], ...]


Tree: TypeAlias = Leaf | Literal | Series | Record | Struct | Each

#: The kinds of `Struct`.
STRUCTS = ("namedtuple", "dataclass", "mapping", "output")


def tree_leaves(tree: Tree) -> Iterator[Value]:
    """All values of a tree, left to right."""
    match tree:
        case Leaf(value):
            yield value
        case Series(_, items):
            for item in items:
                yield from tree_leaves(item)
        case Record(pairs) | Struct(_, _, pairs):
            for _, item in pairs:
                yield from tree_leaves(item)
        case Each(element):
            yield from tree_leaves(element)
        case Literal():
            return


def map_leaves(tree: Tree, values: Mapping[Value, Value]) -> Tree:
    """`tree` with each leaf replaced as `values` says (leaves not in it stay)."""
    match tree:
        case Leaf(value):
            return Leaf(values.get(value, value))
        case Series(kind, items):
            return Series(kind, tuple(map_leaves(item, values) for item in items))
        case Record(pairs):
            return Record(tuple((key, map_leaves(item, values)) for key, item in pairs))
        case Struct(kind, name, fields):
            parts = tuple((key, map_leaves(item, values)) for key, item in fields)
            return Struct(kind, name, parts)
        case Each(element):
            return Each(map_leaves(element, values))
        case Literal():
            return tree


#: Begins the name, among the state that a call sets, of an argument that it changes in place.
ARGUMENT = "&"


def argument_leaves(signature: tuple[tuple[str, Tree], ...]) -> Iterator[tuple[str, Value]]:
    """Every value of the arguments with its place, as in ``batch['x'][0]``."""
    for name, tree in signature:
        yield from _places(name, tree)


def _places(where: str, tree: Tree) -> Iterator[tuple[str, Value]]:
    match tree:
        case Leaf(value):
            yield where, value
        case Series(_, items):
            for index, item in enumerate(items):
                yield from _places(f"{where}[{index}]", item)
        case Record(pairs):
            for key, item in pairs:
                yield from _places(f"{where}[{key!r}]", item)
        case Struct(_, _, fields):
            for key, item in fields:
                yield from _places(f"{where}.{key}", item)


# --- terminators ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Jump:
    """Go to `target`; `args` become its parameters."""

    target: str
    args: tuple[Value, ...]


@dataclass(frozen=True)
class Branch:
    """Go one of two ways on a host bool; `text` is the predicate's source."""

    condition: Value
    then: Jump
    orelse: Jump
    text: str = field(default="", compare=False)
    loc: Loc | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Return:
    """Leave the program with `result`, and with new values for state (by its name).

    A name that starts with `ARGUMENT` is the place of an argument, whose tensor gets the value.
    """

    result: Tree
    state: tuple[tuple[str, Tree], ...] = ()
    loc: Loc | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Raise:
    """Leave the program by raising the builtin exception `exception` with `args`."""

    exception: str
    args: tuple[Operand, ...]
    loc: Loc | None = field(default=None, compare=False)


Terminator: TypeAlias = Jump | Branch | Return | Raise


@dataclass(frozen=True)
class Block:
    """Parameters, operations, terminator."""

    name: str
    params: tuple[Value, ...]
    ops: tuple[BlockOp, ...]
    terminator: Terminator
    loc: Loc | None = field(default=None, compare=False)


def jumps(terminator: Terminator) -> tuple[Jump, ...]:
    """The edges out of a block: for a branch, first the one taken when true."""
    match terminator:
        case Jump():
            return (terminator,)
        case Branch(_, then, orelse):
            return (then, orelse)
        case _:
            return ()


def map_jumps(terminator: Terminator, change: Callable[[Jump], Jump]) -> Terminator:
    """`terminator` with each of its edges changed."""
    match terminator:
        case Jump():
            return change(terminator)
        case Branch(_, then, orelse):
            return replace(terminator, then=change(then), orelse=change(orelse))
        case _:
            return terminator


def reachable(blocks: Mapping[str, Block]) -> set[str]:
    """Names of the blocks to which edges lead from the first; edges into nowhere lead nowhere."""
    found: set[str] = set()
    pending = [next(iter(blocks))]
    while pending:
        name = pending.pop()
        if name in blocks and name not in found:
            found.add(name)
            pending += [jump.target for jump in jumps(blocks[name].terminator)]
    return found


def operand_values(operand: Operand) -> Iterator[Value]:
    """All values of an operand, left to right; several operands are given as a tuple."""
    if isinstance(operand, Value):
        yield operand
    elif isinstance(operand, tuple):
        for part in operand:
            yield from operand_values(part)


def map_operand(operand: Operand, change: Callable[[Value], Operand]) -> Operand:
    """`operand` with `change` applied to every value in it."""
    if isinstance(operand, Value):
        return change(operand)
    if isinstance(operand, tuple):
        return tuple(map_operand(part, change) for part in operand)
    return operand


def used_by(op: TensorOp) -> Iterator[Value]:
    """All values that a tensor operation uses."""
    yield from operand_values(op.args)
    for _, arg in op.kwargs:
        yield from operand_values(arg)


def terminator_values(terminator: Terminator) -> Iterator[Value]:
    """All values that a terminator uses, edges first."""
    for jump in jumps(terminator):
        yield from jump.args
    match terminator:
        case Branch(condition):
            yield condition
        case Return(result, state):
            yield from tree_leaves(result)
            for _, tree in state:
                yield from tree_leaves(tree)
        case Raise(_, args):
            yield from operand_values(args)


@dataclass(frozen=True)
class StateSlot:
    """Module state that a call changes: a buffer (tensor) or an attribute.

    Attributes
    ----------
    name
        Dotted name, as in ``module.named_buffers()``.
    value
        The entry block's parameter with the value at the start of the call, or None where no path
        reads the old value.
    initial
        Value before the first call: a literal, or None for a tensor, whose initial value is the
        weight of the same name.
    """

    name: str
    value: Value | None
    initial: bool | int | float | complex | None = None


@dataclass(frozen=True)
class Hcfg:
    """A whole program.

    Attributes
    ----------
    name
        Name of the network.
    signature
        Entry parameters in the order of ``forward``: name and tree of values and literals. A name
        that starts with ``*`` or ``**`` takes the other positional or keyword arguments.
    optional
        Names in `signature` that may be left out in a call (they have a default in ``forward``).
    state
        Module state that calls read and change.
    weights
        Name and type of every constant tensor.
    blocks
        By name; the first is the entry, whose parameters are the leaves of `signature`, then the
        state.
    regions
        By name.
    """

    name: str
    signature: tuple[tuple[str, Tree], ...]
    optional: tuple[str, ...]
    state: tuple[StateSlot, ...]
    weights: Mapping[str, TensorType]
    blocks: Mapping[str, Block]
    regions: Mapping[str, Region]

    @property
    def entry(self) -> Block:
        """The block where a call starts."""
        return next(iter(self.blocks.values()))

    def edges(self) -> Iterator[tuple[str, int, Jump]]:
        """Every edge as (block, index in its terminator, jump)."""
        for block in self.blocks.values():
            for index, jump in enumerate(jumps(block.terminator)):
                yield block.name, index, jump
