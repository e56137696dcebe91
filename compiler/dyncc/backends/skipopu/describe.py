"""What runs where, in words: of a decoder that was compiled for the overlay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dyncc.arch.skipopu.assembler import disassemble
from dyncc.arch.skipopu.isa import ENGINES, Engine, Pred, decode
from dyncc.backends.skipopu.artifact import PROGRAMS, Overlay
from dyncc.backends.skipopu.image import Region
from dyncc.backends.skipopu.weights import summary


def describe(overlay: Overlay) -> str:
    """The split between host and overlay, instructions, memory, rounding."""
    return "\n".join(
        (*_head(overlay), "", *_host(overlay), "", *_overlay(overlay), "", *_memory(overlay))
    )


def program_text(overlay: Overlay, name: str) -> str:
    """A program in assembler."""
    return disassemble(decode(word) for word in overlay.programs[name]).rstrip("\n")


def _head(overlay: Overlay) -> Iterable[str]:
    plan, arch = overlay.plan, overlay.arch
    yield (
        f"{overlay.name} for {arch.name}: {arch.rows} x {arch.columns} multipliers with "
        f"{arch.products} products at {arch.clk_hz / 1e6:g} MHz, {arch.memory_bytes_s / 1e9:g} GB/s"
    )
    yield (
        f"  activations of {arch.mantissa_bits} bits in blocks of {arch.block}, keys and values in "
        f"{arch.kv.name}, batches of up to {arch.tokens} tokens"
    )
    yield (
        f"  {len(plan.layers)} layers, width {plan.width}, MLP {plan.hidden}, {plan.heads} heads "
        f"of {plan.head_size} on {plan.kv_heads} of keys, vocabulary {plan.vocabulary}, "
        f"context {plan.context}"
    )


def _host(overlay: Overlay) -> Iterable[str]:
    own = "by the tokenizer of the artifact" if overlay.text else "by the caller: no tokenizer"
    yield "host"
    yield f"  text to tokens and back, {own}"
    yield "  tokens of a batch into memory; registers: their count and position, the next free slot"
    yield "  the next token: as the program 'token' leaves it, or chosen from those of 'logits'"


def _overlay(overlay: Overlay) -> Iterable[str]:
    plan = overlay.plan
    yield "overlay"
    yield "  embedding, all layers, the last norm, the output matrix, the most likely token"
    if overlay.routers:
        yield (
            f"  {overlay.routers} routers decide here, as predicates; keys and values of tokens "
            f"that skip attention: {plan.policy}"
        )
    else:
        yield "  no routers: no token skips anything"
    yield f"  {'instructions':<16}" + "".join(f"{engine.name:>11}" for engine in Engine)
    for name, leaves in PROGRAMS.items():
        instructions = [decode(word) for word in overlay.programs[name]]
        count = Counter(ENGINES[item.op] for item in instructions)
        yield f"  {name:<16}" + "".join(f"{count[engine]:>11}" for engine in Engine)
        preds = Counter(item.pred for item in instructions)
        shown = ", ".join(f"{preds[pred]} {pred.name}" for pred in Pred if preds[pred])
        yield f"    {len(instructions)} in all; predicates: {shown}; leaves {leaves}"


def _memory(overlay: Overlay) -> Iterable[str]:
    plan, memory = overlay.plan, overlay.memory
    matrices = {item.name for item in overlay.matrices}
    yield f"memory: {memory.size} bytes, of which the image fills {overlay.image.size}"
    yield f"  {'address':>12}{'bytes':>14}  what"
    groups: dict[str, list[Region]] = {}
    for region in memory.regions.values():
        groups.setdefault(_group(region, plan.embedding, matrices), []).append(region)
    for group, regions in groups.items():
        size = sum(region.size for region in regions)
        written = ", written by programs" if regions[0].writable else ""
        count = f"{len(regions)} " if len(regions) > 1 else ""
        yield f"  {regions[0].address:>#12x}{size:>14}  {count}{group}{written}"
    yield f"  slots of keys and values: {memory.slots}"
    yield f"  {summary(list(overlay.matrices))}"


def _group(region: Region, embedding: str, matrices: set[str]) -> str:
    if region.name == embedding or region.writable or region.name in ("tokens", "rotations"):
        return region.name
    if region.name in matrices:
        return "matrices"
    return "routers" if region.name.startswith("router.") else "norms"
