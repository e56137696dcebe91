"""``dyncc speed``."""

from __future__ import annotations

import argparse

HELP = "how fast a 7B language model would be on an instance of SkipOPU"
DESCRIPTION = """\
Run SkipOPU's model of time on a decoder of the sizes of Llama-2-7B, in the setting [128, 1024] of
the SkipOPU paper, with a quarter of the sublayers skipped and with none, and write a Markdown
page: tokens/s, bytes, bandwidth, where the time goes, what matters. Takes some seconds."""
EPILOG = """\
examples:
  dyncc speed
  dyncc speed -o docs/skipopu-speed.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "-o", "--output", metavar="FILE.md", help="the page, with pictures in a folder figures"
    )
    parser.add_argument(
        "--skipped", type=float, default=0.25, metavar="SHARE", help="of sublayers (default: 0.25)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from functools import partial
    from pathlib import Path

    from dyncc.arch.skipopu.spec import ARCHS
    from dyncc.cli.pages import write_page
    from dyncc.core.errors import ConfigError
    from dyncc_sim.skipopu.figures import measure, page, write_pictures

    if not 0 < arguments.skipped < 1:
        raise ConfigError(f"--skipped must be in (0, 1), not {arguments.skipped:g}")
    figures = measure(ARCHS["u280_g128"], skipped=arguments.skipped)
    if arguments.output is None:
        print(page(figures), end="")
        return 0
    write_page(Path(arguments.output), partial(write_pictures, figures), partial(page, figures))
    return 0
