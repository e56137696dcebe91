"""The figures of the model of time for a large decoder, and the page that shows them."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dyncc.arch.reference import table
from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.isa import Engine, Function, Op, decode
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.figures import save
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_sim.skipopu.outcomes import Assumed, Routes
from dyncc_sim.skipopu.performance import (
    LLAMA2_7B,
    Generation,
    Workload,
    generate,
    limit_bytes,
)
from dyncc_sim.skipopu.pictures import layer_window, roofline, timeline
from dyncc_sim.skipopu.timing import Span, Timing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Instances that differ in one parameter, to see what matters.
VARIATIONS: dict[str, Callable[[ArchSpec], ArchSpec]] = {
    "buffer of the stream doubled": lambda a: replace(a, stream_bytes=2 * a.stream_bytes),
    "lanes of the vector engine doubled": lambda a: replace(a, vector_lanes=2 * a.vector_lanes),
    "lanes of the vector engine halved": lambda a: replace(a, vector_lanes=a.vector_lanes // 2),
    "latency doubled": lambda a: replace(a, memory_latency_cycles=2 * a.memory_latency_cycles),
    "latency 0": lambda a: replace(a, memory_latency_cycles=0),
    "an eighth of the requests on their way": lambda a: replace(
        a, memory_requests=max(1, a.memory_requests // 8)
    ),
    "no refresh": lambda a: replace(a, refresh_cycles=0),
    "no history buffer": lambda a: replace(a, kv_tokens=0),
    "array of half the columns": lambda a: replace(a, columns=a.columns // 2),
}


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes
    ----------
    arch, config
        The instance, and sizes of the decoder.
    skipped, prompt
        The fraction of sublayers that tokens skip, and tokens of the prompt.
    limit
        Bytes of a token by the closed formula, at the mean context.
    skipping, dense
        The prompt and the text with skipping, and without.
    token, dense_token
        Recorded: a token in the middle of the text, with skipping and without.
    program
        What ran.
    variations
        Tokens a second of the text on other instances, by what is different.
    """

    arch: ArchSpec
    config: LlamaConfig
    skipped: float
    prompt: int
    limit: float
    skipping: Generation
    dense: Generation
    token: Timing
    dense_token: Timing
    program: tuple[int, ...]
    variations: dict[str, float]


def measure(
    arch: ArchSpec, config: LlamaConfig = LLAMA2_7B, kind: WeightType = WeightType.Q4_0G, *,
    skipped: float = 0.25, prompt: int = 128, new_tokens: int = 1024, samples: int = 4,
    seed: int = 0,
) -> Figures:  # fmt: skip
    """Run the model of time.

    Parameters
    ----------
    kind
        How matrices are stored.
    skipped
        Fraction of sublayers that each token skips, by kind; keys and values are reused.
    samples
        Tokens of the text that are timed.
    """
    end = prompt + new_tokens
    middle = prompt + new_tokens // 2
    routes = Routes.balanced(config.layers, end, skipped, seed)
    everything = Routes.all(config.layers, end)
    workload = Workload.of_sizes(config, arch, kind, KvPolicy.REUSE)

    def token(spec: ArchSpec, runs: Routes, record: bool = False) -> Timing:
        outcomes = Assumed(spec, runs)
        outcomes.remember(middle, workload.plan.policy)
        return replace(workload, arch=spec).time(outcomes, middle, record=record)

    return Figures(
        arch, config, skipped, prompt, limit_bytes(config, arch, kind, skipped, middle),
        generate(workload, routes, prompt, new_tokens, samples),
        generate(workload, everything, prompt, new_tokens, samples),
        token(arch, routes, record=True), token(arch, everything, record=True), workload.program,
        {name: token(change(arch), routes).tokens_s for name, change in VARIATIONS.items()},
    )  # fmt: skip


def idle_cycles(timing: Timing, program: tuple[int, ...]) -> dict[str, float]:
    """Cycles in which the port did nothing, by what the engines did meanwhile.

    Parameters
    ----------
    timing
        Of a run that was recorded.
    program
        What ran.
    """
    found: defaultdict[str, float] = defaultdict(float)
    works = {
        engine: [span for span in timing.spans if span.engine == engine and not span.suppressed]
        for engine in (Engine.VECTOR, Engine.PE)
    }
    begins = {engine: [span.begin for span in spans] for engine, spans in works.items()}
    last = 0.0
    for _, begin, end in [*timing.transfers, (None, timing.cycles, timing.cycles)]:
        rest = begin - last
        for engine, spans in works.items():
            # Attention counts for what is left by the vector engine.
            place = max(0, bisect.bisect_right(begins[engine], last) - 1)
            while rest > 0 and place < len(spans) and spans[place].begin < begin:
                span = spans[place]
                shared = min(rest, max(0.0, min(span.end, begin) - max(span.begin, last)))
                found[_named(span, program)] += shared
                rest -= shared
                place += 1
        found["latency, dispatch"] += max(0.0, rest)
        last = end
    return {name: cycles for name, cycles in found.items() if cycles}


def page(figures: Figures, pictures: str = "") -> str:
    """The page in Markdown.

    Parameters
    ----------
    pictures
        The folder of what `write_pictures` drew, seen from the page; none are shown if empty.
    """
    arch, config, token = figures.arch, figures.config, figures.token
    both = figures.skipping, figures.dense
    share = f"{figures.skipped:.0%}"
    busy = token.port_busy / token.cycles
    sections = [
        f"# SkipOPU: speed of a large decoder on `{arch.name}`",
        f"""\
From the model of time. The decoder has {config.layers} layers of width {config.width} and
{config.hidden}, {config.heads} query and {config.kv_heads} key heads of {config.head_size}. A
prompt of {figures.prompt} tokens is followed by {both[0].new_tokens} more. Every token skips
{share} of attention and {share} of MLPs, at random layers; keys and values are reused.""",
        table(
            ("", f"{share} skipped", "nothing skipped"),
            [
                ("tokens/s after the prompt", *(f"{g.decode_tokens_s:.1f}" for g in both)),
                ("tokens/s with the time of the prompt", *(f"{g.tokens_s:.1f}" for g in both)),
                ("MB a token", *(f"{g.bytes_per_token / 1e6:,.0f}" for g in both)),
                (
                    f"part of {arch.memory_bytes_s / 1e9:.1f} GB/s",
                    *(f"{g.bandwidth_used:.1%}" for g in both),
                ),
                ("effective GB/s", *(f"{g.effective_bytes_s / 1e9:.1f}" for g in both)),
            ],
        ),
        f"""\
Effective bandwidth is what a machine that skips nothing would have to read in the same time. The
closed formula gives {figures.limit / 1e6:,.0f} MB a token; the history buffer saves keys and values
of it that are on chip already.""",
        "## Where the port's time goes",
        f"""\
A token in the middle of the text takes {token.cycles:,.0f} cycles. In {token.bandwidth_used:.1%} of
them the port moves as much as it can; refreshes, and latency where requests run out, take
{busy - token.bandwidth_used:.1%}. In {1 - busy:.1%} it is idle, because the stream's buffer is full
or nothing is asked for, while""",
        table(
            ("engines work on", "part of all cycles"),
            [
                (f"`{name}`" if name.isupper() else name, f"{cycles / token.cycles:.2%}")
                for name, cycles in sorted(
                    idle_cycles(token, figures.program).items(), key=lambda item: -item[1]
                )
            ],
        ),
        "## What matters",
        "The same token on instances that differ in one thing:",
        table(
            ("Instance", "tokens/s"),
            [
                ("as it is", f"{token.tokens_s:.1f}"),
                *((name, f"{speed:.1f}") for name, speed in figures.variations.items()),
            ],
        ),
        f"""\
On small instances the model is within 5% of the hardware's cycles;
[its calibration](skipopu-calibration.md) says what it leaves out. `{arch.name}` is modelled only:
the attention of {arch.overlapped_heads} heads overlaps in it, and the hardware takes one head after
the other. The depths of its pipelines are estimates.""",
    ]
    if pictures:
        names = _drawings(figures)
        sections += ["## Pictures", *(f"![{name}]({pictures}/{name}.svg)" for name in names)]
    return "\n\n".join(sections) + "\n"


def write_pictures(figures: Figures, folder: Path) -> list[Path]:
    """Draw some layers of a token with and without skipping, and the roofline."""
    found = []
    for name, draw in _drawings(figures).items():
        path = folder / f"{name}.svg"
        save(draw(), path)
        found.append(path)
    return found


def _drawings(figures: Figures) -> dict[str, Callable[[], Figure]]:
    """Pictures by name: three layers in the middle of a token, with and without skipping."""
    parts = {}
    for name, timing in (("skipping", figures.token), ("dense", figures.dense_token)):
        layers = sum(span.op == Op.ROUTE for span in timing.spans)
        first = max(0, layers // 2 - 1)
        last = min(first + 2, layers - 1)
        parts[name] = (
            timing,
            (layer_window(timing, first)[0], layer_window(timing, last)[1]),
            f"layers {first} to {last}",
        )
    runs = {
        "token": figures.token, "token, nothing skipped": figures.dense_token,
        "batch of the prompt": figures.skipping.prompt[0],
    }  # fmt: skip
    return {
        **{f"skipopu-{name}": partial(timeline, *part) for name, part in parts.items()},
        "skipopu-roofline": partial(roofline, runs, figures.arch),
    }


def _named(span: Span, program: tuple[int, ...]) -> str:
    if span.op == Op.NPE:
        return Function(decode(program[span.pc]).fields["function"]).name
    return span.op.name
