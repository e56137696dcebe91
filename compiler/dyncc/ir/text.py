"""The text form of an HCFG; `dyncc.ir.parser` reads it back.

One line per operation; types stand where a value is defined; ``at "file":line:column`` gives the
user's source.
"""

from __future__ import annotations

import json
import math

from dyncc.ir.hcfg import (
    Block,
    Branch,
    Each,
    Hcfg,
    HostOp,
    Jump,
    Leaf,
    Literal,
    Loc,
    Operand,
    Raise,
    Record,
    Region,
    RegionCall,
    Return,
    Series,
    Struct,
    Symbolic,
    TensorOp,
    Terminator,
    Tree,
    Value,
)

#: Version of this text form and of the artifact that holds it.
FORMAT = 1


def to_text(program: Hcfg) -> str:
    """The whole program as text."""
    lines = [f"hcfg {FORMAT} {json.dumps(program.name)}"]
    for name, tree in program.signature:
        mark = " optional" if name in program.optional else ""
        lines.append(f"input {name} = {_tree(tree, typed=True)}{mark}")
    for slot in program.state:
        value = "none" if slot.value is None else _typed(slot.value)
        lines.append(f"state {json.dumps(slot.name)} = {value} initial {_operand(slot.initial)}")
    for name, kind in program.weights.items():
        lines.append(f"weight {json.dumps(name)} : {kind}")
    for region in program.regions.values():
        lines += ["", f"region @{region.name} {region_body(region)}"]
    for block in program.blocks.values():
        lines += ["", *_block(block)]
    return "\n".join(lines) + "\n"


def region_body(region: Region) -> str:
    """A region without its name: equal text is equal structure."""
    params = ", ".join(map(_typed, region.params))
    weights = ", ".join(map(_typed, region.weights))
    lines = [f"({params}) weights ({weights}) {{"]
    lines += [f"  {_tensor_op(op)}" for op in region.ops]
    lines.append(f"  yield ({', '.join(map(str, region.results))})")
    return "\n".join([*lines, "}"])


def _block(block: Block) -> list[str]:
    head = f"block ^{block.name}({', '.join(map(_typed, block.params))}){_at(block.loc)} {{"
    body = [_call(op) if isinstance(op, RegionCall) else _host(op) for op in block.ops]
    return [head, *(f"  {line}" for line in [*body, _terminator(block.terminator)]), "}"]


def _tensor_op(op: TensorOp) -> str:
    results = ", ".join("_" if value is None else _typed(value) for value in op.results)
    arguments = [_operand(arg) for arg in op.args]
    arguments += [f"{name}={_operand(arg)}" for name, arg in op.kwargs]
    left = f"{results} = " if op.results else ""
    return f"{left}{op.target}({', '.join(arguments)})"


def _host(op: HostOp) -> str:
    return f"{_left(op.results)}{op.op}({', '.join(map(_operand, op.args))}){_at(op.loc)}"


def _call(call: RegionCall) -> str:
    args = ", ".join(map(str, call.args))
    weights = ", ".join(map(json.dumps, call.weights))
    return f"{_left(call.results)}call @{call.region}({args}) weights ({weights})"


def _left(results: tuple[Value, ...]) -> str:
    return f"{', '.join(map(_typed, results))} = " if results else ""


def _jump(jump: Jump) -> str:
    return f"^{jump.target}({', '.join(map(str, jump.args))})"


def _terminator(terminator: Terminator) -> str:
    match terminator:
        case Jump():
            return f"jump {_jump(terminator)}"
        case Branch(condition, then, orelse, text, loc):
            ways = f"{_jump(then)} else {_jump(orelse)}"
            return f"branch {condition} then {ways} {json.dumps(text)}{_at(loc)}"
        case Return(result, state, loc):
            updates = "".join(f" set {json.dumps(name)} = {_tree(t)}" for name, t in state)
            return f"return {_tree(result)}{updates}{_at(loc)}"
        case Raise(exception, args, loc):
            return f"raise {exception}({', '.join(map(_operand, args))}){_at(loc)}"


def _at(loc: Loc | None) -> str:
    return "" if loc is None else f" at {json.dumps(loc.file)}:{loc.line}:{loc.column}"


def _typed(value: Value) -> str:
    return f"%{value.name}: {value.type}"


def _tree(tree: Tree, typed: bool = False) -> str:
    match tree:
        case Leaf(value):
            return _typed(value) if typed else str(value)
        case Literal(value):
            return _operand(value)
        case Series(kind, items):
            return f"{kind}({', '.join(_tree(item, typed) for item in items)})"
        case Record(pairs):
            inner = ", ".join(f"{_operand(key)}: {_tree(item, typed)}" for key, item in pairs)
            return f"{{{inner}}}"
        case Struct(kind, name, fields):
            inner = ", ".join(f"{json.dumps(key)}: {_tree(item, typed)}" for key, item in fields)
            return f"{kind} {json.dumps(name)} {{{inner}}}"
        case Each(element):
            return f"each({_tree(element, typed)})"


def _operand(operand: Operand) -> str:
    match operand:
        case Value():
            return str(operand)
        case Symbolic(kind, name):
            return f"{kind}:{name}"
        case None:
            return "none"
        case bool():
            return "true" if operand else "false"
        case float():
            return repr(operand) if math.isfinite(operand) else f"float:{operand!r}"
        case complex():
            return f"complex:{operand.real!r}:{operand.imag!r}"
        case int():
            return repr(operand)
        case str():
            return json.dumps(operand)
        case tuple():
            return f"[{', '.join(map(_operand, operand))}]"
