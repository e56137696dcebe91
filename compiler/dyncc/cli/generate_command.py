"""``dyncc generate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from dyncc.cli.compile_command import ARCH_HELP

if TYPE_CHECKING:
    from dyncc_models.skipopu.tokens import Tokenizer
    from dyncc_sim.skipopu.decoder import Decoder, Speed

HELP = "let a language model write on the overlay, simulated or on a board"
DESCRIPTION = """\
Let a language model write, the most likely token each time, on the bit-exact simulator of the
overlay that it was compiled for, or on a board with that overlay.

MODEL is what `dyncc compile --target skipopu` wrote, or a model file, which is compiled first.
Tokens appear as they come; then what was skipped in each layer, how many slots keys and values
took, and what the model of time says, or what a board counted."""
EPILOG = """\
engines:
  simulator          the bit-exact simulator (the default)
  serial:PORT[@BAUD] a board at a serial port; 1000000 baud unless said. Only what its memory does
                     not hold yet is loaded
  link               the twin of a board, spoken to as one over a line

examples:
  dyncc generate smollm2.dyncc --prompt "What is the capital of France?" --chat
  dyncc generate models/dyncc_models/skipopu/smollm2_decoder.py --arch ecp5_85f --prompt "Once"
  dyncc generate toy.dyncc --prompt-tokens 3,17,5 --tokens 20
  dyncc generate small.dyncc --prompt "Once" --engine serial:/dev/ttyUSB0@3000000"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("model", metavar="MODEL", help="artifact directory, or FILE.py[:NAME]")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", metavar="TEXT", help="what the text begins with")
    prompt.add_argument(
        "--prompt-tokens", metavar="N,N,...", help="the same as tokens; tokens are printed"
    )
    parser.add_argument("--tokens", type=int, default=48, metavar="N", help="most tokens to write")
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is a question; the model answers"
    )
    parser.add_argument("--arch", metavar="NAME", help=f"{ARCH_HELP}; of an artifact: its own")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="artifact of a model file (default: FILE.dyncc)"
    )
    parser.add_argument(
        "--untimed", action="store_true", help="leave out the model of time, which is faster"
    )
    parser.add_argument(
        "--engine", default="simulator", metavar="NAME", help="what runs the model, see below"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import time
    from pathlib import Path

    from dyncc.backends.skipopu.artifact import load
    from dyncc.cli.compile_command import arch_named, overlay
    from dyncc.cli.progress import progress
    from dyncc.core.errors import ConfigError, MissingToolError

    try:
        from dyncc_sim.skipopu.decoder import Decoder
    except ImportError as error:
        raise MissingToolError(
            f"the simulator needs {error.name}", hint="Install it: pip install 'dyncc[llm]'"
        ) from error
    if arguments.tokens < 1:
        raise ConfigError(f"--tokens must be 1 or more, not {arguments.tokens}")
    place = Path(arguments.model)
    if place.is_dir():
        if arguments.output is not None:
            raise ConfigError("--output is for model files, and an artifact is given")
        found = load(place, arch_named(arguments.arch) if arguments.arch else None)
    else:
        found = load(overlay(arguments.model, arguments.arch, arguments.output, None))
    tokenizer = None
    if arguments.prompt is not None:
        if found.text is None:
            raise ConfigError(
                f"{arguments.model} has no tokenizer",
                hint="Give --prompt-tokens, or define tokenizer() in the model file.",
            )
        from dyncc_models.skipopu.tokens import Tokenizer

        tokenizer = Tokenizer.from_json(found.text.json, found.text.end, found.text.chat_form)
        chosen = tokenizer.chat if arguments.chat else tokenizer.encode
        prompt = chosen(arguments.prompt)
    else:
        if arguments.chat:
            raise ConfigError("--chat needs --prompt")
        prompt = _numbers(arguments.prompt_tokens)
    end = found.text.end if found.text is not None else None
    with progress() as report:
        decoder = Decoder(found, arguments.engine, not arguments.untimed, report)
    with decoder:
        tokens = decoder.generate(prompt, arguments.tokens, end)
        show = _shown(tokenizer, prompt, arguments.chat)
        started = time.perf_counter()
        count = 0
        for token in tokens:
            print(show(token), end="", flush=True)
            count += 1
        print("\n")
        seconds = time.perf_counter() - started
        _report(decoder, len(prompt), count)
        what = "simulated" if arguments.engine == "simulator" else "ran"
        print(f"{what} in {seconds:.1f} s, {decoder.position / seconds:.2f} tokens/s")
    return 0


def _numbers(text: str) -> list[int]:
    from dyncc.core.errors import ConfigError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--prompt-tokens {text!r} is not N,N,...") from error


def _shown(tokenizer: Tokenizer | None, prompt: list[int], chat: bool) -> Callable[[int], str]:
    """Print how the text begins; a function that gives what a token adds to it."""
    if tokenizer is None:
        print(*prompt, end="", flush=True)
        return lambda token: f" {token}"
    step = tokenizer.stream()
    if not chat:
        # Characters may lie across the end of the prompt.
        print("".join(step(token) for token in prompt), end="", flush=True)
    return step


def _report(decoder: Decoder, prompt: int, count: int) -> None:
    """What happened on the overlay."""
    overlay = decoder.overlay
    plan, arch = overlay.plan, overlay.arch
    print(f"{prompt} tokens read, {count} written, on {arch.name}")
    if not overlay.routers:
        print(f"skipping is off: the model has no routers, all {len(plan.layers)} layers ran")
    elif not decoder.told:
        print("a board does not tell which sublayers it skipped")
    else:
        rates = 100 * decoder.skip_rates()
        print("skipped      attention      MLP")
        for layer, (attention, mlp) in enumerate(rates):
            print(f"  layer {layer:<4}{attention:>9.1f} % {mlp:>6.1f} %")
        print(f"  all       {rates[:, 0].mean():>9.1f} % {rates[:, 1].mean():>6.1f} %")
    dense = decoder.position * len(plan.layers)
    read = decoder.kv.resident + decoder.kv.fetched
    print(
        f"keys and values: {decoder.slots} slots taken of {overlay.memory.slots}, "
        f"{100 * (1 - decoder.slots / dense):.1f} % less than without skipping; "
        f"{100 * decoder.kv.resident / max(1, read):.1f} % of reads were on chip"
    )
    for name, first in (("prompt", True), ("tokens one by one", False)):
        speed = decoder.speed(first)
        if speed is not None:
            print(_speed(name, speed, arch.memory_bytes_per_cycle))


def _speed(name: str, speed: Speed, bytes_per_cycle: float) -> str:
    return (
        f"{name}: {speed.cycles} cycles at {speed.clk_hz / 1e6:g} MHz, "
        f"{speed.tokens_s:.4g} tokens/s, {speed.moved_bytes / 1e6:.1f} MB moved, "
        f"{100 * speed.bandwidth_used:.1f} % of {bytes_per_cycle * speed.clk_hz / 1e9:g} GB/s"
    )
