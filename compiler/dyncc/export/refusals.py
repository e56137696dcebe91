"""What keeps a program from being exported, all of it at once, with places in the source."""

from __future__ import annotations

from collections.abc import Iterator

from dyncc.backends.refusals import diagnostic_at
from dyncc.core.errors import Diagnostic
from dyncc.export import host_ops, returns
from dyncc.export.literals import DTYPES, Unexportable, type_name
from dyncc.ir.hcfg import (
    Block,
    Hcfg,
    HostOp,
    Loc,
    Raise,
    RegionCall,
    Return,
    argument_leaves,
)
from dyncc.ir.types import TensorType
from dyncc.runtime.artifact import Contents

#: Codes of diagnostics: an argument, result or state; a region; an operation or value of the host;
#: control flow.
INTERFACE, REGION, HOST, FLOW = "DY911", "DY912", "DY913", "DY914"
_RUN_IT = "Run the artifact with dyncc.load instead, or change this place."


def refusals(artifact: Contents) -> list[Diagnostic]:
    """Diagnostics for regions, operations and values that no library can be made of."""
    program = artifact.program
    found = [*_arguments(program), *_regions(artifact)]
    for block in program.blocks.values():
        found += _host(block)
    return list(dict.fromkeys(found))


def diagnostic(
    block: Block, loc: Loc | None, code: str, what: str, why: str, hint: str = _RUN_IT
) -> Diagnostic:
    """A diagnostic about a place in a block, by default where the block begins."""
    construct = f"{what} (block ^{block.name})"
    return diagnostic_at(loc or block.loc, "the program", code, construct, why, hint)


def _arguments(program: Hcfg) -> Iterator[Diagnostic]:
    for place, value in argument_leaves(program.signature):
        kind = value.type
        if isinstance(kind, TensorType):
            fits = kind.dtype in DTYPES
        else:
            fits = str(kind) in ("bool", "int", "float")
        if not fits:
            yield Diagnostic(
                place, INTERFACE, f"an argument of type {kind}",
                "the interface of a library has no such type",
                "Take a tensor, a bool, an int or a float.",
            )  # fmt: skip
    for slot in program.state:
        if slot.value is not None and isinstance(slot.initial, complex | str):
            yield Diagnostic(
                slot.name, INTERFACE, "state that is no number",
                "libraries keep tensors and numbers", _RUN_IT,
            )  # fmt: skip


def _regions(artifact: Contents) -> Iterator[Diagnostic]:
    eager = artifact.manifest["backend"] == "eager"
    by_torch = artifact.manifest["report"].get("torch", {})
    for block in artifact.program.blocks.values():
        for op in block.ops:
            if not isinstance(op, RegionCall):
                continue
            why = "the artifact was compiled with the eager back end" if eager else None
            why = by_torch.get(op.region, why)
            if why is not None:
                yield diagnostic(
                    block, None, REGION, f"the region @{op.region} runs in PyTorch", why,
                    "Give its tensors sizes that do not depend on data, or run the artifact with "
                    "dyncc.load.",
                )  # fmt: skip


def _host(block: Block) -> Iterator[Diagnostic]:
    for op in block.ops:
        if isinstance(op, HostOp):
            try:
                host_ops.statements(op)
            except Unexportable as refusal:
                yield diagnostic(block, op.loc, HOST, f"the operation {op.op}", refusal.why)
    values = [*block.params, *(value for op in block.ops for value in op.results)]
    end = block.terminator
    try:
        for value in values:
            type_name(value.type)
        match end:
            case Return(result, state):
                returns.built(result)
                for _, tree in state:
                    returns.kept(tree)
            case Raise(_, args):
                host_ops.message(args)
    except Unexportable as refusal:
        loc = end.loc if isinstance(end, Return | Raise) else None
        yield diagnostic(block, loc, HOST, "a value", refusal.why)
