"""Checks that a program keeps the rules of the HCFG; run after every pass in tests."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping

from dyncc.core.errors import InternalError
from dyncc.ir import hostops
from dyncc.ir.hcfg import (
    ARGUMENT,
    Block,
    Branch,
    Hcfg,
    HostOp,
    Jump,
    Raise,
    Region,
    RegionCall,
    Return,
    Value,
    argument_leaves,
    jumps,
    operand_values,
    reachable,
    terminator_values,
    tree_leaves,
    used_by,
)
from dyncc.ir.types import BOOL, Dim, ListType, TensorType, Type


def verify(program: Hcfg) -> None:
    """Check every rule.

    The rules: regions and blocks are in SSA form and use only what they define before; a block
    calls at most one region, with values and weights of its types; host operations take their
    operands; edges give a target as many values as it has parameters, of their types; branches
    test a bool; the entry's parameters are the inputs and the state; only known state is updated;
    only builtin exceptions are raised; every block is reached.

    Raises
    ------
    InternalError
        Lists every rule that is broken, with the block or region.
    """
    problems = [*_program(program)]
    for region in program.regions.values():
        problems += [f"@{region.name}: {text}" for text in _region(region)]
    for block in program.blocks.values():
        problems += [f"^{block.name}: {text}" for text in _block(program, block)]
    if problems:
        raise InternalError("the program breaks its rules\n  " + "\n  ".join(problems))


def _program(program: Hcfg) -> Iterable[str]:
    expected = [leaf for _, tree in program.signature for leaf in tree_leaves(tree)]
    expected += [slot.value for slot in program.state if slot.value is not None]
    if tuple(expected) != program.entry.params:
        yield "the entry's parameters are not the inputs and the state"
    for name in program.optional:
        if name not in dict(program.signature):
            yield f"optional input {name!r} is not in the signature"
    for slot in program.state:
        tensor = slot.value is not None and isinstance(slot.value.type, TensorType)
        if tensor and slot.name not in program.weights:
            yield f"state {slot.name!r} has no initial value among the weights"
    for table, kind in ((program.blocks, "block"), (program.regions, "region")):
        for name, item in table.items():
            if name != item.name:
                yield f"{kind} {item.name} is listed as {name}"
    defined: set[str] = set()
    for block in program.blocks.values():
        for value in _defined(block):
            if value.name in defined:
                yield f"%{value.name} is defined twice"
            defined.add(value.name)
    reached = reachable(program.blocks)
    for name in program.blocks:
        if name not in reached:
            yield f"^{name} is never reached"


def _defined(block: Block) -> Iterable[Value]:
    yield from block.params
    for op in block.ops:
        yield from op.results


def _region(region: Region) -> Iterable[str]:
    known: dict[str, Value] = {}
    for value in (*region.params, *region.weights):
        if value.name in known:
            yield f"%{value.name} is defined twice"
        known[value.name] = value
        if not isinstance(value.type, TensorType):
            yield f"%{value.name} is no tensor"
    for op in region.ops:
        for value in used_by(op):
            yield from _use(value, known)
        for result in op.results:
            if result is None:
                continue
            if result.name in known:
                yield f"%{result.name} is defined twice"
            known[result.name] = result
    for value in region.results:
        yield from _use(value, known)


def _block(program: Hcfg, block: Block) -> Iterable[str]:
    known: dict[str, Value] = {value.name: value for value in block.params}
    calls = 0
    for op in block.ops:
        for value in operand_values(op.args):
            yield from _use(value, known)
        if isinstance(op, RegionCall):
            calls += 1
            yield from _call(program, op)
        else:
            yield from _host(op)
        known |= {value.name: value for value in op.results}
    if calls > 1:
        yield f"it calls {calls} regions"
    terminator = block.terminator
    for value in terminator_values(terminator):
        yield from _use(value, known)
    for jump in jumps(terminator):
        yield from _jump(program, jump)
    if isinstance(terminator, Branch) and terminator.condition.type != BOOL:
        yield f"it branches on a {terminator.condition.type}"
    if isinstance(terminator, Return):
        slots = {slot.name for slot in program.state}
        slots |= {ARGUMENT + place for place, _ in argument_leaves(program.signature)}
        yield from (
            f"it updates the unknown state {name!r}"
            for name, _ in terminator.state
            if name not in slots
        )
    if isinstance(terminator, Raise):
        kind = getattr(builtins, terminator.exception, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            yield f"it raises {terminator.exception}, which is no builtin exception"


def _use(value: Value, known: Mapping[str, Value]) -> Iterable[str]:
    found = known.get(value.name)
    if found is None:
        yield f"%{value.name} is used but not defined before"
    elif found.type != value.type:
        yield f"%{value.name} is used as {value.type} and defined as {found.type}"


def _call(program: Hcfg, call: RegionCall) -> Iterable[str]:
    region = program.regions.get(call.region)
    if region is None:
        yield f"it calls @{call.region}, which does not exist"
        return
    yield from _match("argument", call.args, region.params)
    yield from _match("result", call.results, region.results)
    if len(call.weights) != len(region.weights):
        yield f"@{region.name} takes {len(region.weights)} weights, not {len(call.weights)}"
    for name, value in zip(call.weights, region.weights, strict=False):
        if name not in program.weights:
            yield f"there is no weight {name!r}"
        elif program.weights[name] != value.type:
            yield f"the weight {name!r} is {program.weights[name]}, not {value.type}"


def _host(op: HostOp) -> Iterable[str]:
    try:
        kinds = hostops.result_types(op.op, op.args)
    except (ValueError, IndexError) as error:
        yield f"{op.op}: {error}"
        return
    if kinds is not None and kinds != tuple(value.type for value in op.results):
        yield f"{op.op} gives {', '.join(map(str, kinds))}"
    if kinds is None and len(op.results) != 1:
        yield f"{op.op} gives one result"


def _jump(program: Hcfg, jump: Jump) -> Iterable[str]:
    target = program.blocks.get(jump.target)
    if target is None:
        yield f"it goes to ^{jump.target}, which does not exist"
        return
    yield from _match(f"^{jump.target} argument", jump.args, target.params)


def _match(what: str, given: tuple[Value, ...], wanted: tuple[Value, ...]) -> Iterable[str]:
    if len(given) != len(wanted):
        yield f"{what}s: {len(given)} given for {len(wanted)}"
        return
    extents: dict[str, Dim] = {}
    for position, (value, slot) in enumerate(zip(given, wanted, strict=True)):
        if not _fits(value.type, slot.type, extents):
            yield f"{what} {position} is {value.type}, not {slot.type}"


def _fits(given: Type, wanted: Type, extents: dict[str, Dim]) -> bool:
    """Whether a type can stand for another, in which names of extents may be bound."""
    if isinstance(given, ListType) and isinstance(wanted, ListType):
        return _fits(given.element, wanted.element, extents)
    if not isinstance(given, TensorType) or not isinstance(wanted, TensorType):
        return given == wanted
    return (
        given.dtype == wanted.dtype
        and len(given.shape) == len(wanted.shape)
        and all(
            extents.setdefault(slot, extent) == extent if isinstance(slot, str) else slot == extent
            for extent, slot in zip(given.shape, wanted.shape, strict=True)
        )
    )
