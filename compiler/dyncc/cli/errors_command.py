"""``dyncc errors``."""

from __future__ import annotations

import argparse

HELP = "what SkipOPU's arithmetic is off by, against its bounds"
DESCRIPTION = """\
Measure each operation of SkipOPU's arithmetic against float64, with all cases where there are few
enough, and write a Markdown page: bounds, worst and RMS errors, numbers of cases. Takes about half
a minute. With --model also dot products on what the matrices of SmolLM2-135M read in held-out text,
which takes some minutes and needs the package of its weights.

The exit code is 5 if an error is above its bound."""
EPILOG = """\
examples:
  dyncc errors
  dyncc errors --model -o docs/skipopu-errors.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", metavar="FILE.md", help="default: standard output")
    parser.add_argument(
        "--model", action="store_true", help="also on real activations of SmolLM2-135M"
    )
    parser.add_argument(
        "--tokens", type=int, default=256, metavar="N", help="that the model reads (default: 256)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from dyncc.core.errors import ConfigError, MissingToolError
    from dyncc.core.files import write_text

    if not 1 <= arguments.tokens <= 2048:
        raise ConfigError(f"--tokens must be in 1..2048, not {arguments.tokens}")
    try:
        from dyncc_models.skipopu.error_contract import activations, page
        from dyncc_models.skipopu.smollm2 import read_gguf
    except ImportError as error:
        raise MissingToolError(
            f"the integer twins need {error.name}", hint="Install it: pip install 'dyncc[llm]'"
        ) from error
    model = activations.measure(read_gguf(), arguments.tokens) if arguments.model else None
    contract = page.measure_all()
    text = page.page(contract, model)
    if arguments.output is None:
        print(text, end="")
    else:
        write_text(arguments.output, text)
        print(f"{arguments.output}: {len(text.splitlines())} lines")
    for name in contract.broken:
        print(f"{name} is above its bound")
    return 5 if contract.broken else 0
