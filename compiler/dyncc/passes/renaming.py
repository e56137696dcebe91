"""What passes share: values replaced, new names, and operations and literals told apart."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace

from dyncc.ir.hcfg import (
    Block,
    BlockOp,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Operand,
    Raise,
    RegionCall,
    Return,
    Terminator,
    Value,
    jumps,
    map_jumps,
    map_leaves,
    map_operand,
)


def renamed_operand(operand: Operand, values: Mapping[Value, Operand]) -> Operand:
    """`operand` with the values in it replaced (those not in `values` stay)."""
    return map_operand(operand, lambda value: values.get(value, value))


def renamed_op(op: BlockOp, values: Mapping[Value, Value]) -> BlockOp:
    """`op` with the values that it uses replaced; its results stay."""
    if isinstance(op, RegionCall):
        return replace(op, args=tuple(values.get(arg, arg) for arg in op.args))
    return replace(op, args=tuple(renamed_operand(arg, values) for arg in op.args))


def renamed_terminator(terminator: Terminator, values: Mapping[Value, Value]) -> Terminator:
    """`terminator` with the values that it uses replaced."""

    def jump(edge: Jump) -> Jump:
        return Jump(edge.target, tuple(values.get(arg, arg) for arg in edge.args))

    terminator = map_jumps(terminator, jump)
    match terminator:
        case Branch(condition):
            return replace(terminator, condition=values.get(condition, condition))
        case Return(result, state):
            return replace(
                terminator,
                result=map_leaves(result, values),
                state=tuple((name, map_leaves(tree, values)) for name, tree in state),
            )
        case Raise(_, args):
            return replace(terminator, args=tuple(renamed_operand(part, values) for part in args))
        case Jump():
            return terminator


def defined(block: Block) -> Iterator[Value]:
    """Every value that a block defines."""
    yield from block.params
    for op in block.ops:
        yield from op.results


def fresh_values(program: Hcfg) -> Callable[[Value], Value]:
    """A function that gives a value like another, under a name that `program` does not have."""
    taken = {value.name for block in program.blocks.values() for value in defined(block)}

    def fresh(value: Value) -> Value:
        name, number = value.name, 0
        while name in taken:
            number += 1
            name = f"{value.name}.{number}"
        taken.add(name)
        return Value(name, value.type)

    return fresh


def identity(operand: Operand) -> Hashable:
    """What two operands share only if no program can tell them apart.

    Python's equality does not do: it holds between 1, 1.0 and True, between 0.0 and -0.0, and not
    between a NaN and itself.
    """
    match operand:
        case float():
            return "float", struct.pack("<d", operand)
        case complex():
            return "complex", struct.pack("<dd", operand.real, operand.imag)
        case tuple():
            return "tuple", tuple(map(identity, operand))
        case bool() | int() | str() | None:
            return type(operand).__name__, operand
    return operand


def op_identity(op: BlockOp, values: Mapping[Value, Value]) -> Hashable:
    """What an operation is, its operands replaced, but for the names of its results."""
    named = (op.op,) if isinstance(op, HostOp) else (op.region, op.weights)
    args = identity(tuple(renamed_operand(arg, values) for arg in op.args))
    return type(op), *named, args, tuple(result.type for result in op.results)


def terminator_identity(terminator: Terminator, values: Mapping[Value, Value]) -> Hashable:
    """What a terminator is, its values replaced, but for the blocks that it leads to.

    Branches are the same only if they are one decision of the source.
    """
    renamed = renamed_terminator(terminator, values)
    edges = tuple(jump.args for jump in jumps(renamed))
    match renamed:
        case Branch(condition, text=text, loc=loc):
            return edges, condition, text, loc
        case Return(result, state):
            # Unlike equality, the text of literals tells 1 from True.
            return repr(result), repr(state)
        case Raise(exception, args):
            return exception, identity(args)
    return edges
