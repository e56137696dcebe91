"""A program without loops as expressions: what each value is, over all paths.

Where paths meet, a value that differs between them is a ``phi`` of the branch's condition. Equal
expressions are one object. Operations that move no number are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.ir.hcfg import (
    Block,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Operand,
    Region,
    RegionCall,
    Return,
    TensorOp,
    Value,
    jumps,
    tree_leaves,
)
from dyncc.ir.types import TensorType

#: Operations that yield their first argument where its shape stays.
_SHAPED = ("view", "_unsafe_view", "expand", "reshape")
_SAME = ("clone", "alias", "detach", "contiguous")


@dataclass(frozen=True, eq=False)
class Expr:
    """A value: an operation of expressions and literals.

    Attributes
    ----------
    op
        Name of an ATen operation without its overload, of a host operation, or ``input``,
        ``state``, ``weight``, ``phi``.
    args
        Operands; keyword arguments follow as pairs.
    shape
        Of a tensor; None otherwise.
    """

    op: str
    args: tuple[Any, ...]
    shape: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        """Without its operands' operands: expressions share parts, and are long."""
        shown = ", ".join(a.op if isinstance(a, Expr) else repr(a) for a in self.args[:4])
        return f"{self.op}({shown})"


Key: TypeAlias = tuple[Any, ...]


@dataclass
class Outcome:
    """What a program returns, and the state that it leaves.

    Attributes
    ----------
    result
        The only value of the result.
    state
        By name.
    """

    result: Expr
    state: Mapping[str, Expr]


@dataclass
class _Builder:
    """Makes expressions, each once."""

    made: dict[Key, Expr] = field(default_factory=dict)

    def make(self, op: str, args: tuple[Any, ...], shape: tuple[int, ...] | None) -> Expr:
        key = (op, tuple(id(a) if isinstance(a, Expr) else (type(a), a) for a in args), shape)
        return self.made.setdefault(key, Expr(op, args, shape))

    def phi(self, condition: Expr, then: Expr, orelse: Expr) -> Expr:
        """`then` if the condition holds; what is known of the condition is used on both sides."""
        if then.op == "phi" and then.args[0] is condition:
            then = then.args[1]
        if orelse.op == "phi" and orelse.args[0] is condition:
            orelse = orelse.args[2]
        if then is condition:
            then = self.make("const", (True,), None)
        if orelse is condition:
            orelse = self.make("const", (False,), None)
        if then is orelse:
            return then
        if then.op == orelse.op == "const" and (then.args, orelse.args) == ((True,), (False,)):
            return condition
        return self.make("phi", (condition, then, orelse), then.shape)


def expressions(program: Hcfg) -> Outcome:
    """What a program computes.

    Raises
    ------
    UnsupportedError
        If it has loops, several results, or branches that do not meet again pairwise.
    """
    builder = _Builder()
    order = _order(program)
    edges: dict[str, list[tuple[str, int, Jump]]] = {name: [] for name in program.blocks}
    for name, index, jump in program.edges():
        edges[jump.target].append((name, index, jump))
    values: dict[str, dict[str, Expr]] = {}
    conditions: dict[str, Expr] = {}
    #: For each block the branches that lead to it, as (block of the branch, side).
    paths: dict[str, tuple[tuple[str, int], ...]] = {}
    returned: list[Outcome] = []
    for name in order:
        block = program.blocks[name]
        if name == program.entry.name:
            bound = _entry(program, builder)
            paths[name] = ()
        else:
            bound, paths[name] = _join(block, edges[name], values, conditions, paths, builder)
        values[name] = bound
        for op in block.ops:
            if isinstance(op, RegionCall):
                _call(program.regions[op.region], op, bound, builder)
            else:
                _host(op, bound, builder)
        if isinstance(block.terminator, Branch):
            conditions[name] = bound[block.terminator.condition.name]
        if isinstance(block.terminator, Return):
            returned.append(_return(block.terminator, bound))
    if len(returned) != 1:
        raise _refuse(program, f"it has {len(returned)} returns", "Return in one place.")
    return returned[0]


def _order(program: Hcfg) -> list[str]:
    """Blocks in an order in which each comes after those that lead to it."""
    waiting = dict.fromkeys(program.blocks, 0)
    for _, _, jump in program.edges():
        waiting[jump.target] += 1
    ready = [name for name, count in waiting.items() if not count]
    found = []
    while ready:
        name = ready.pop(0)
        found.append(name)
        for jump in jumps(program.blocks[name].terminator):
            waiting[jump.target] -= 1
            if not waiting[jump.target]:
                ready.append(jump.target)
    if len(found) != len(program.blocks):
        raise _refuse(program, "it has a loop", "Decode one token in each call of forward.")
    return found


def _entry(program: Hcfg, builder: _Builder) -> dict[str, Expr]:
    bound = {}
    for name, tree in program.signature:
        for leaf in tree_leaves(tree):
            bound[leaf.name] = builder.make("input", (name,), _shape(leaf))
    for slot in program.state:
        if slot.value is not None:
            bound[slot.value.name] = builder.make("state", (slot.name,), _shape(slot.value))
    return bound


def _join(
    block: Block,
    incoming: list[tuple[str, int, Jump]],
    values: dict[str, dict[str, Expr]],
    conditions: dict[str, Expr],
    paths: dict[str, tuple[tuple[str, int], ...]],
    builder: _Builder,
) -> tuple[dict[str, Expr], tuple[tuple[str, int], ...]]:
    """Parameters of a block, and the path to it."""
    arriving = []
    for name, index, jump in incoming:
        path = paths[name]
        if name in conditions:
            path = (*path, (name, index))
        arriving.append((path, [values[name][arg.name] for arg in jump.args]))
    while len(arriving) > 1:
        # The two whose paths differ in the last branch alone meet first.
        arriving.sort(key=lambda item: -len(item[0]))
        (first, own), (second, other) = arriving[:2]
        if not first or len(first) != len(second) or first[:-1] != second[:-1]:
            raise UnsupportedError(
                [
                    Diagnostic(
                        str(block.loc), "DY902", "control flow",
                        "paths meet that did not part here",
                        "Use if and else whose ways meet at their ends.",
                    )
                ]
            )  # fmt: skip
        name, side = first[-1]
        then, orelse = (own, other) if side == 0 else (other, own)
        condition = conditions[name]
        merged = [builder.phi(condition, a, b) for a, b in zip(then, orelse, strict=True)]
        arriving[:2] = [(first[:-1], merged)]
    path, found = arriving[0]
    return {param.name: value for param, value in zip(block.params, found, strict=True)}, path


def _call(region: Region, call: RegionCall, bound: dict[str, Expr], builder: _Builder) -> None:
    local = {p.name: bound[a.name] for p, a in zip(region.params, call.args, strict=True)}
    for weight, name in zip(region.weights, call.weights, strict=True):
        local[weight.name] = builder.make("weight", (name,), _shape(weight))
    for op in region.ops:
        _tensor_op(op, local, builder)
    for result, value in zip(call.results, region.results, strict=True):
        bound[result.name] = local[value.name]


def _tensor_op(op: TensorOp, local: dict[str, Expr], builder: _Builder) -> None:
    name = op.target.split(".")[1]
    args = tuple(_operand(a, local) for a in op.args)
    args += tuple((key, _operand(a, local)) for key, a in op.kwargs)
    for place, result in enumerate(op.results):
        if result is None:
            continue
        shape = _shape(result)
        first = args[0] if args and isinstance(args[0], Expr) else None
        if first is not None and (name in _SAME or (name in _SHAPED and first.shape == shape)):
            local[result.name] = first
        elif first is not None and name in _SHAPED and name != "expand":
            # Of several reshapes in a row the last one counts.
            source = first.args[0] if first.op == "view" else first
            same = source.shape == shape
            local[result.name] = source if same else builder.make("view", (source, shape), shape)
        else:
            extra = (place,) if len(op.results) > 1 else ()
            local[result.name] = builder.make(name, (*args, *extra), shape)


def _operand(operand: Operand, local: dict[str, Expr]) -> Any:
    if isinstance(operand, Value):
        return local[operand.name]
    if isinstance(operand, tuple):
        return tuple(_operand(part, local) for part in operand)
    return operand


def _host(op: HostOp, bound: dict[str, Expr], builder: _Builder) -> None:
    args = tuple(_operand(a, bound) for a in op.args)
    for result in op.results:
        # A scalar of a tensor, and a tensor of a scalar, are the same number.
        if op.op in ("item", "tensor") and isinstance(args[0], Expr):
            bound[result.name] = args[0]
        else:
            bound[result.name] = builder.make(op.op, args, None)


def _return(terminator: Return, bound: dict[str, Expr]) -> Outcome:
    leaves = list(tree_leaves(terminator.result))
    result = bound[leaves[0].name] if len(leaves) == 1 else Expr("tuple", tuple(leaves))
    state = {
        name: bound[leaf.name] for name, tree in terminator.state for leaf in tree_leaves(tree)
    }
    return Outcome(result, state)


def _shape(value: Value) -> tuple[int, ...] | None:
    kind = value.type
    if not isinstance(kind, TensorType):
        return None
    if not kind.is_static:
        raise UnsupportedError(
            [Diagnostic(str(value), "DY902", "shape", f"{kind} is not static", "Give all sizes.")]
        )
    return tuple(int(extent) for extent in kind.shape)


def _refuse(program: Hcfg, why: str, hint: str) -> UnsupportedError:
    return UnsupportedError([Diagnostic(str(program.entry.loc), "DY902", program.name, why, hint)])
