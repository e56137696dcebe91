"""The page of the study: pictures first, then tables, then how it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dyncc.arch.skipopu.formats import kv_slot_bytes
from dyncc.core.figures import save
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.study import plots, sections
from dyncc_sim.skipopu.study.bandwidth import of_routes, of_seven_billion
from dyncc_sim.skipopu.study.buffers import hits, persistent_routes
from dyncc_sim.skipopu.study.measure import PIECE, Result
from dyncc_sim.skipopu.study.plan import SKIPPED, Series, Study
from dyncc_sim.skipopu.study.points import INSTANCE, Point
from dyncc_sim.skipopu.study.sections import Derived, number, percent, tokens, wrapped
from dyncc_sim.skipopu.study.statistics import change, perplexity, skip_rate, skip_rates
from dyncc_sim.skipopu.study.subjects import subject

#: Mean run lengths of random routes; the first is that of independent choices.
_RUNS = (1 / (1 - SKIPPED), 2.0, 4.0, 8.0)
_SEED = 0


def derive(study: Study) -> Derived:
    """Follow what results imply."""
    of, long = subject(study.plan.subject), study.context[KvPolicy.REUSE.value]
    routes, arch = long.exact[0].routes, long.setting.arch
    tokens, layers, _ = routes.shape
    runs = of_routes(of.title, of.config, routes)
    if study.plan.subject != "toy":
        runs.append(of_seven_billion(SKIPPED))
    return Derived(
        kv_slot_bytes(arch.kv, of.config.kv_heads, of.config.head_size),
        hits(routes, KvPolicy.REUSE, arch.kv_tokens),
        {
            run: hits(
                persistent_routes(layers, tokens, SKIPPED, run, _SEED),
                KvPolicy.REUSE,
                arch.kv_tokens,
            )
            for run in _RUNS
        },
        runs,
    )


def page(study: Study, derived: Derived, pictures: str, command: str) -> str:
    """The page in Markdown.

    Parameters
    ----------
    pictures
        The folder of what `write_pictures` drew, seen from the page; none are shown if empty.
    command
        That writes it.
    """
    parts = [
        "# SkipOPU: what precision and skipping cost",
        wrapped(f"""\
Perplexity of {subject(study.plan.subject).title} on held-out text,
bytes of keys and values, hits of the history buffer, and bandwidth. Errors are standard errors. The
whole page is written by one command, and every row by one more: see the end."""),
        _headline(study),
    ]
    if pictures:
        parts += [f"![{text}]({pictures}/{name}.svg)" for name, text in _PICTURES.items()]
    parts += [
        *sections.against_pytorch(study),
        *sections.skipping(study),
        *sections.mantissas(study),
        *sections.weights(study),
        *sections.kv(study, derived),
        *sections.history(study, derived),
        *sections.bandwidth(derived),
        *_how(study, command),
    ]
    return "\n\n".join(parts) + "\n"


_PICTURES = {
    "skipopu-study-skipping": "Perplexity against the share of sublayers skipped",
    "skipopu-study-precision": "Perplexity against bits of mantissas and of weights",
    "skipopu-study-kv": "Bytes of keys and values against the context",
    "skipopu-study-history": "Hits of the history buffer against skipped layers",
    "skipopu-study-bandwidth": "Physical and effective bandwidth",
}


def write_pictures(study: Study, derived: Derived, folder: Path) -> list[Path]:
    """Draw everything; raises MissingToolError without matplotlib."""
    drawn = {
        "skipping": plots.skipping(study),
        "precision": plots.precision(study),
        "kv": plots.kv_bytes(study, derived.slot_bytes),
        "history": plots.history(derived.measured, derived.assumed, sections.LONGEST),
        "bandwidth": plots.bandwidth(derived.bandwidth),
    }
    found = []
    for name, figure in drawn.items():
        path = folder / f"skipopu-study-{name}.svg"
        save(figure, path)
        found.append(path)
    return found


def _headline(study: Study) -> str:
    base, headline = study.base, study.headline
    text = (
        "- Nothing skipped: the bit-exact simulator's perplexity is "
        f"{number(perplexity(base.exact))}, {percent(change(base.exact, _floating(base)))} of "
        f"PyTorch's, on {tokens(base.exact):,} tokens."
    )
    if headline is not None:
        (long,) = study.context[KvPolicy.REUSE.value].exact
        saved = 1 - long.slots / (long.tokens * long.layers)
        text += (
            f"\n- Trained routers that skip {skip_rate(headline.exact):.1%} of sublayers, policy "
            f"{headline.setting.policy}: {percent(change(headline.exact, base.exact))} perplexity, "
            "on the same tokens.\n"
            f"- Under reuse they store {saved:.1%} less keys and values at a context of "
            f"{long.tokens:,} tokens."
        )
    return text


def _floating(series: Series) -> Sequence[Result]:
    """PyTorch's results on the simulator's windows."""
    return series.floating[: len(series.exact)]


def _how(study: Study, command: str) -> list[str]:
    plan = study.plan
    of = subject(plan.subject)
    split = study.base.setting.split
    example = study.mantissas[8]
    lines = [
        f"- Text: the split `{split}` of `dyncc_models.skipopu.corpus`"
        if plan.subject != "toy" else f"- Text: random tokens, split `{split}`",
        f"  (SHA-256 `{of.digests(split, '')['text']}`), in windows of {plan.tokens} tokens.",
        f"- Weights: SHA-256 `{of.digests(split, '')['weights']}`.",
        *(
            f"- Routers `{name}`: SHA-256 `{found}`."
            for name in of.trained()
            if (found := of.digests(split, name).get("routers"))
        ),
        f"- Instance: `{INSTANCE}` with the formats that are named; blocks of 32.",
        f"- Standard errors are over pieces of {PIECE} tokens, of differences where two settings",
        "  are compared. Neighbouring pieces are not quite independent, so true errors are larger.",
    ]  # fmt: skip
    single = " ".join(_options(example.setting))
    return [
        "## How it was measured",
        "\n".join(lines),
        f"The page is written by\n\n    {command}",
        f"""\
and a row by naming what differs from the defaults, as in

    dyncc study --point {single} --windows {len(example.exact)}""",
    ]


def _options(point: Point) -> list[str]:
    usual = Point().facts()
    return [f"{name}={value}" for name, value in point.facts().items() if value != usual[name]]


def told(results: Sequence[Result]) -> str:
    """Results of one setting, for the terminal."""
    attention, mlp = skip_rates(results)
    found = perplexity(results)
    return (
        f"perplexity {number(found)} ± {found.error:.2f} on {tokens(results):,} tokens; "
        f"skipped: attention {attention:.1%}, MLPs {mlp:.1%}"
    )
