"""The page of the error contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dyncc.arch.reference import table
from dyncc.arch.skipopu.formats import KvType, WeightType
from dyncc_models.skipopu.error_contract import bounds, measure
from dyncc_models.skipopu.error_contract.dots import (
    DOTS,
    Dots,
    accumulation,
    attention,
    random_dots,
)
from dyncc_models.skipopu.error_contract.measure import Measured, Operation

if TYPE_CHECKING:
    from dyncc_models.skipopu.error_contract.activations import Activations

OPERATIONS = (
    Operation("binary16 to F25", bounds.EXACT, measure.from_half, everything=True),
    Operation("binary32 to F25", bounds.ROUNDED, measure.conversion),
    Operation("F25 to binary16", bounds.HALF_FLOAT, measure.half, everything=True),
    Operation("F25 sum", bounds.ROUNDED, measure.addition),
    Operation("F25 product", bounds.ROUNDED, measure.product),
    Operation("F25 comparison", bounds.EXACT, measure.comparison),
    Operation("2^x", bounds.TABLE, measure.power_of_two, everything=True),
    Operation("2^x of a softmax", bounds.PROBABILITY, measure.probability, everything=True),
    Operation("1 / x", bounds.TABLE, measure.reciprocal, everything=True),
    Operation("1 / sqrt(x)", bounds.TABLE, measure.inverse_root, everything=True),
    Operation("SwiGLU", bounds.SWIGLU, measure.swiglu),
    Operation("RoPE", bounds.ROPE, measure.rope),
    *(
        Operation(f"to BFP{bits}, block {size}", bounds.BFP, partial(measure.block, bits, size))
        for bits in (8, 10, 12, 16)
        for size in (32, 128)
    ),
    *(
        Operation(
            f"accumulation, {kind.name}, block {size}",
            bounds.ACCUMULATOR,
            partial(accumulation, kind, size),
        )
        for kind in WeightType
        for size in (32, 128)
    ),
    Operation("reconstruction", bounds.RECONSTRUCTION, measure.reconstruction),
    *(
        Operation(
            f"1 / rms of RMSNorm, block {size}", bounds.RMS, partial(measure.inverse_rms_of, size)
        )
        for size in (32, 128)
    ),
    Operation("merge of two softmaxes", bounds.MERGE, measure.merging),
    Operation("attention, keys in BFP8", bounds.ATTENTION, partial(attention, KvType.BFP8, 8)),
    Operation(
        "attention, keys in F16, 12 bits", bounds.ATTENTION, partial(attention, KvType.F16, 12)
    ),
)
_HEAD = """\
# SkipOPU: error contract

What each operation of the overlay may be off by, and what it is off by, measured against float64.
Simulator and hardware have the same bits, so this holds for both. u is 2^-17, half of the last
place of an F25. An operation's bound is for what it gets: errors of its inputs come on top.
`dyncc errors --model -o docs/skipopu-errors.md` writes this page, and the tests measure it again.

## Operations

An error is relative to what the second column says, or in units of it. Where the bound depends on
the numbers, the most that is allowed in the measured cases is shown after its formula. "Used" is
the largest part of its bound that any error takes.
"""
_DOTS = """
## Dot products

64 vectors of 1024 normal numbers become blocks and are multiplied with 256 rows of normal weights
that were rounded to the format; "relative RMS" is the norm of all errors of the results against
float64 with unrounded vectors, as a part of the norm of the exact results. An error may be as large
as, for each block, 2^(1 - bits) times its largest number times the sum of its weights' magnitudes;
plus half of the accumulator's lowest bit for each term; plus u of the result. Routers compare
accumulators of BFP16 as they are.
"""


@dataclass(frozen=True)
class Contract:
    """What was measured: by `OPERATIONS`, and by `DOTS`."""

    operations: tuple[Measured, ...]
    dots: tuple[Dots, ...]

    @property
    def broken(self) -> list[str]:
        """What is above its bound."""
        found = [
            item.name
            for item, measured in zip(OPERATIONS, self.operations, strict=True)
            if measured.used > 1
        ]
        for (kind, group, bits), item in zip(DOTS, self.dots, strict=True):
            if max(item.errors.used, item.accumulated.used) > 1:
                found.append(f"{kind.name} with blocks of {group} and {bits} bits")
        return found


def measure_all() -> Contract:
    """Measure all operations, the same cases each time."""
    return Contract(
        tuple(item.measure() for item in OPERATIONS), tuple(random_dots(*item) for item in DOTS)
    )


def page(contract: Contract, activations: Activations | None) -> str:
    """The page in Markdown.

    Parameters
    ----------
    activations
        What was measured on a model; None leaves that section out.
    """
    parts = [_HEAD, _operations(contract), _DOTS, _dots(contract)]
    if activations is not None:
        parts.append(_activations(activations))
    return "\n".join(parts) + "\n"


def _number(value: float) -> str:
    """Three digits; 0 as it is."""
    return "0" if value == 0 else f"{value:.2e}"


def _operations(contract: Contract) -> str:
    rows = []
    for item, found in zip(OPERATIONS, contract.operations, strict=True):
        most = float(found.allowed.max())
        bound = item.bound.formula if most == 0 else f"{item.bound.formula}: {_number(most)}"
        cases = f"{'all ' if item.everything else ''}{found.errors.size:,}"
        rows.append(
            (
                item.name, item.bound.of, bound, _number(found.worst), _number(found.rms),
                f"{found.used:.0%}", cases,
            )
        )  # fmt: skip
    return table(("Operation", "Relative to", "Bound", "Worst", "RMS", "Used", "Cases"), rows)


def _dots(contract: Contract) -> str:
    rows = []
    for (kind, group, bits), found in zip(DOTS, contract.dots, strict=True):
        rows.append(
            (
                f"`{kind.name}`", group, bits, f"{found.relative_rms:.3%}",
                f"{found.errors.used:.0%}", f"{found.exact.size:,}",
            )
        )  # fmt: skip
    head = ("Weights", "Block", "Bits", "Relative RMS", "Bound used", "Cases")
    return table(head, rows)


def _activations(found: Activations) -> str:
    from dyncc_models.skipopu.error_contract.activations import BITS, LIMIT, Over

    def rate(name: str | None, bits: int, over: Over) -> str:
        return f"{found.relative_rms(name, bits, over):.4%}"

    rows = [
        (
            "all in Q4_1" if name is None else name,
            *(rate(name, bits, Over.RESULTS) for bits in BITS),
            rate(name, 12, Over.LATER), rate(name, 12, Over.RAW),
            f"{sum(found.outputs.values()) if name is None else found.outputs[name]:,}",
        )
        for name in (*found.outputs, None)
    ]  # fmt: skip
    head = (
        "Matrix", *(f"{bits} bits" for bits in BITS), "12, later tokens", "12, unscaled", "Outputs"
    )  # fmt: skip

    def verdict(bits: int, over: Over) -> str:
        value = found.relative_rms(None, bits, over)
        return f"{value:.4%}, {'within' if value <= LIMIT else 'above'} the limit"

    above = [name for name in found.outputs if found.relative_rms(name, 12, Over.RESULTS) > LIMIT]
    return f"""
## Real activations

SmolLM2-135M reads {found.tokens} tokens of held-out text (test split of
`dyncc_models.skipopu.corpus`, SHA-256 {found.digest[:12]}...) in PyTorch, with dequantised weights.
What each matrix of each layer reads is kept: behind a norm, x times the norm's gain, as the
overlay does it. It becomes F25, then blocks of 32, and the twin multiplies it with the weights as
they are in the file. Against that stands float64 with unrounded activations and dequantised
weights. Figures are relative RMS, the norm of all errors as a part of the norm of all exact
results, over all tokens, rows and layers. Columns of bits are over results as the array writes
them: behind a norm times 1 / rms of the token. "Later tokens" leaves out the first token, and
"unscaled" is before that scalar, so that tokens with a large residual count for more.

{table(head, rows)}

SkipOPU states {LIMIT:.3%} for its PE array (arXiv 2603.14785). With 12 bits, over all matrices in
Q4_1:

- results: {verdict(12, Over.RESULTS)};
- results without the first token: {verdict(12, Over.LATER)};
- unscaled: {verdict(12, Over.RAW)}; with 13 bits {verdict(13, Over.RAW)}.

Single matrices above the limit with 12 bits, by their results: {", ".join(above) or "none"}. Their
results are small against the terms that they are sums of; 13 bits halve every figure."""
