"""The parts of the study's page: what each table shows, and the table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dyncc.arch.reference import table
from dyncc.arch.skipopu.spec import ARCHS
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.study.bandwidth import SMALL, Bandwidth
from dyncc_sim.skipopu.study.buffers import Hits, slots_taken
from dyncc_sim.skipopu.study.measure import Result
from dyncc_sim.skipopu.study.plan import SKIPPED, Study
from dyncc_sim.skipopu.study.points import ALWAYS, INSTANCE, WEIGHTS, Point
from dyncc_sim.skipopu.study.statistics import Estimate, change, perplexity, skip_rates
from dyncc_sim.skipopu.study.subjects import subject

#: Run lengths that are shown one by one.
LONGEST = 8


@dataclass(frozen=True)
class Derived:
    """What follows from the results without measuring.

    Attributes
    ----------
    slot_bytes
        Of keys and values.
    measured, assumed
        Hits of the history buffer: by the routes of the long window, and by random ones.
    bandwidth
        Runs in the model of time.
    """

    slot_bytes: int
    measured: Hits
    assumed: Mapping[float, Hits]
    bandwidth: Sequence[Bandwidth]


def against_pytorch(study: Study) -> list[str]:
    """The simulator against PyTorch."""
    rows = []
    for name, series in (("nothing skipped", study.base), ("trained routers", study.headline)):
        if series is None:
            continue
        floating = series.floating[: len(series.exact)]
        attention, mlp = skip_rates(series.exact)
        agree = sum(
            int((a.routes == b.routes).sum()) for a, b in zip(series.exact, floating, strict=True)
        )
        routes = sum(result.routes.size for result in series.exact)
        rows.append(
            (
                name, f"{attention:.1%}", f"{mlp:.1%}", number(perplexity(floating)),
                number(perplexity(series.exact)), percent(change(series.exact, floating)),
                f"{agree / routes:.2%}",
            )
        )  # fmt: skip
    return [
        "## The simulator against PyTorch",
        wrapped(f"""\
PyTorch computes in float32 with dequantised weights; the simulator computes every bit as the
hardware does, with mantissas of {study.base.setting.mantissa_bits} bits and keys and values in
{study.base.setting.kv}. Both on the same {tokens(study.base.exact):,} tokens."""),
        table(
            ("", "Attention skipped", "MLPs skipped", "PyTorch", "Simulator", "Difference",
             "Equal routes"),
            rows,
        ),
    ]  # fmt: skip


def skipping(study: Study) -> list[str]:
    """Perplexity by routers and policies."""
    base, rows = study.base, []
    for (name, policy), series in study.routers.items():
        rows.append(
            (
                f"`{name}`", policy, *(f"{rate:.1%}" for rate in skip_rates(series.floating)),
                number(perplexity(series.floating)),
                percent(change(series.floating, base.floating)),
                percent(change(series.exact, base.exact[: len(series.exact)]))
                if series.exact else "",
            )
        )  # fmt: skip
    rows += [
        (
            _routers(series.setting), series.setting.policy,
            *(f"{rate:.1%}" for rate in skip_rates(series.floating)),
            number(perplexity(series.floating)),
            percent(change(series.floating, base.floating)), "",
        )
        for series in study.always
    ]  # fmt: skip
    some = next(iter(study.mantissas.values())).exact
    of = subject(study.plan.subject)
    trained = ", ".join(f"`{name}`: {of.policy(name).value}" for name in of.trained()) or "none yet"
    return [
        "## Skipping",
        wrapped(f"""\
PyTorch on {tokens(base.floating):,} tokens, the simulator on the first {tokens(some):,} of them
({tokens(base.exact):,} for the routers at the top of the page). Changes are against nothing
skipped, on the same tokens. Policies differ in what later tokens see of a token that skipped
attention. Trained routers are used under all three, whichever they were trained for ({trained}).
The last rows skip sublayers whatever the token: those whose skipping alone costs least on
the validation split, for which the policy does not matter."""),
        table(
            ("Routers", "Keys and values", "Attention skipped", "MLPs skipped",
             "Perplexity, PyTorch", "Change", "Change, simulator"),
            rows,
        ),
    ]  # fmt: skip


def mantissas(study: Study) -> list[str]:
    """Perplexity by mantissas, and by formats of keys and values."""
    rows = []
    for kv, found in (("F16", study.mantissas), ("BFP8", study.kv8)):
        for bits, series in found.items():
            floating = study.base.floating[: len(series.exact)]
            same = [
                n
                for n, a in ARCHS.items()
                if (a.mantissa_bits, a.kv.name, a.block) == (bits, kv, 32)
            ]
            rows.append(
                (
                    bits, kv, ", ".join(f"`{name}`" for name in same),
                    number(perplexity(series.exact)), percent(change(series.exact, floating)),
                )
            )  # fmt: skip
    some = next(iter(study.mantissas.values())).exact
    return [
        "## Mantissas of activations, and keys and values",
        wrapped(f"""\
The simulator on {tokens(some):,} tokens, nothing skipped, against PyTorch on the same. What an
instance computes depends on these two alone, and on blocks of 32; the size of its array does not
matter."""),
        table(("Bits of mantissas", "Keys and values", "Instances", "Perplexity", "Change"), rows),
    ]


def weights(study: Study) -> list[str]:
    """Perplexity by formats of matrices."""
    base, rows = study.base, []
    for name, series in study.weights.items():
        scheme = WEIGHTS[name]
        rows.append(
            (
                f"`{name}`", scheme.title, f"{scheme.bits:g}",
                number(perplexity(series.floating)),
                percent(change(series.floating, base.floating)),
                percent(change(series.exact, base.exact[: len(series.exact)])),
            )
        )  # fmt: skip
    some = next(iter(study.weights.values())).exact
    return [
        "## Weights",
        wrapped(f"""\
All matrices but the embedding, which stays in 8 bits. Formats other than `Q4_1` are rounded to
nearest from what `Q4_1` stands for, without training, so their changes come on top of its own
rounding. Bits count scale and minimum of each group of 32. PyTorch on
{tokens(base.floating):,} tokens, the simulator on {tokens(some):,}; nothing skipped."""),
        table(
            ("Format", "", "Bits a weight", "Perplexity, PyTorch", "Change", "Change, simulator"),
            rows,
        ),
    ]


def kv(study: Study, derived: Derived) -> list[str]:
    """Bytes of keys and values."""
    lengths = [study.plan.context // part for part in (8, 4, 2, 1)]
    rows = []
    for policy, series in study.context.items():
        (result,) = series.exact
        taken = slots_taken(result.routes, KvPolicy(policy))
        dense = slots_taken(result.routes, KvPolicy.DENSE)
        rows.append(
            (
                policy, *(f"{taken[n - 1] * derived.slot_bytes / 1e6:.2f} MB" for n in lengths),
                f"{result.slots:,}", f"{1 - taken[-1] / dense[-1]:.1%}",
                f"{skip_rates([result])[0]:.1%}",
            )
        )  # fmt: skip
    setting = study.context["reuse"].setting
    return [
        "## Keys and values",
        wrapped(f"""\
Slots that the simulated memory's pool holds after a text of {study.plan.context} tokens, in
{setting.kv}: {derived.slot_bytes} bytes a token and layer. Routers: {_routers(setting)}. The table
that tells which slot a layer reads has 4 bytes for each layer and token under every policy, and is
not counted."""),
        table(
            ("Policy", *(f"{n} tokens" for n in lengths), "Slots", "Less than dense",
             "Attention skipped"),
            rows,
        ),
    ]  # fmt: skip


def history(study: Study, derived: Derived) -> list[str]:
    """Hits of the history buffer."""
    columns = [f"random, runs of {run:.3g}" for run in derived.assumed]
    every = (derived.measured, *derived.assumed.values())

    def cell(found: Hits, lengths: Sequence[int]) -> str:
        here = [found[length] for length in lengths if length in found]
        on_chip, read = (sum(part) for part in zip(*here, strict=True)) if here else (0, 0)
        return f"{on_chip / read:.1%}" if read else "-"

    longest = max(length for found in every for length in found)
    rows = [(str(n), *(cell(found, [n]) for found in every)) for n in range(LONGEST + 1)]
    rows.append(
        (f"more than {LONGEST}",
         *(cell(found, range(LONGEST + 1, longest + 1)) for found in every))
    )  # fmt: skip
    rows.append(("all", *(cell(found, range(longest + 1)) for found in every)))
    setting = study.context["reuse"].setting
    return [
        "## The history buffer",
        wrapped(f"""\
A slot that the attention before has left on chip need not be read again. Under reuse that is so for
every token in the context that has skipped attention in all layers since. The table has the share
of slots that attention finds on chip, by the number of layers just before that the token itself
skipped, over a text of {study.plan.context} tokens, one at a time, with a buffer of
{setting.arch.kv_tokens:,} slots as `{INSTANCE}` has it. Measured: with {_routers(setting)}. Random:
every token skips attention in {SKIPPED:.0%} of layers, in runs of so many layers on average;
{min(derived.assumed):.3g} is that of independent choices. The longer runs are, the longer slots
stay of use."""),
        table(("Layers skipped before", "measured", *columns), rows),
    ]


def bandwidth(derived: Derived) -> list[str]:
    """Physical and effective bandwidth."""
    rows = []
    for run in derived.bandwidth:
        for name, found in (("skipping", run.skipping), ("nothing skipped", run.dense)):
            rows.append(
                (
                    run.model, f"`{run.arch.name}`", name, f"{found.decode_tokens_s:.4g}",
                    f"{found.bytes_per_token / 1e6:,.1f}",
                    f"{found.bytes_per_token / found.token_seconds / 1e9:.4g}",
                    f"{found.bandwidth_used:.1%}", f"{found.effective_bytes_s / 1e9:.4g}",
                )
            )  # fmt: skip
    small = ", ".join(f"`{name}`" for name in SMALL)
    return [
        "## Bandwidth",
        wrapped(f"""\
From the model of time, a token at a time. Physical bandwidth is what passes through the memory
port; effective bandwidth is what a machine that skips nothing would have to read in the same time.
On {small} the routes are those of the long text above. The sizes of Llama-2-7B, if they are shown,
skip {SKIPPED:.0%} at random, and are explained on [their own page](skipopu-speed.md)."""),
        table(
            ("Model", "Instance", "", "Tokens/s", "MB a token", "Physical GB/s", "Of the peak",
             "Effective GB/s"),
            rows,
        ),
    ]  # fmt: skip


def _routers(setting: Point) -> str:
    if setting.routers.startswith(ALWAYS):
        return f"{setting.routers.count(',') + 1} sublayers, skipped always"
    return f"`{setting.routers}`"


def wrapped(text: str) -> str:
    """A paragraph in lines of the usual width."""
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False)


def tokens(results: Sequence[Result]) -> int:
    """Tokens of windows."""
    return sum(result.tokens for result in results)


def number(found: Estimate) -> str:
    """A perplexity."""
    return f"{found.value:,.2f}" if found.value < 1e4 else f"{found.value:.2e}"


def percent(found: Estimate) -> str:
    """A change, with its error."""
    digits = 2 if abs(found.value) < 1 else 0
    error = "" if math.isnan(found.error) else f" ± {100 * found.error:,.{digits}f}"
    # Without adding 0 there is a negative one.
    return f"{round(100 * found.value, digits) + 0.0:+,.{digits}f}{error} %"
