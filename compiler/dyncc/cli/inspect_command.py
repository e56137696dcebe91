"""``dyncc inspect``."""

from __future__ import annotations

import argparse

HELP = "print or draw what is in an artifact"
DESCRIPTION = """\
Print the program of an artifact, with a table of its sub-networks, or draw it.

Of a spiking network print the core, what was placed where, and what quantisation changed. Of a
language model for the overlay print what runs on the host and what on the overlay, the memory map,
and how matrices were rounded."""
EPILOG = """\
examples:
  dyncc inspect model.dyncc
  dyncc inspect model.dyncc --html model.html
  dyncc inspect model.dyncc --svg model.svg
  dyncc inspect llm.dyncc --program token"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR")
    parser.add_argument("--html", metavar="FILE", help="write a page with a drawing instead")
    parser.add_argument("--svg", metavar="FILE", help="write the drawing alone instead")
    parser.add_argument(
        "--program",
        choices=("token", "logits"),
        nargs="?",
        const="token",
        help="print a program of the overlay instead (default: token)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from dyncc.cli.run_command import is_spiking, target_of
    from dyncc.core.errors import ConfigError
    from dyncc.core.files import write_text
    from dyncc.ir.cost import region_cost
    from dyncc.ir.drawing import quantity, to_html, to_svg
    from dyncc.ir.hcfg import RegionCall
    from dyncc.ir.text import to_text
    from dyncc.runtime.artifact import load
    from dyncc.runtime.summary import summary

    if target_of(arguments.artifact) == "skipopu":
        from dyncc.backends.skipopu.artifact import load as load_overlay
        from dyncc.backends.skipopu.describe import describe, program_text

        if arguments.html or arguments.svg:
            raise ConfigError("--html and --svg draw the programs of this machine")
        overlay = load_overlay(arguments.artifact)
        print(program_text(overlay, arguments.program) if arguments.program else describe(overlay))
        return 0
    if arguments.program:
        raise ConfigError(f"{arguments.artifact} holds no program of the overlay")
    if is_spiking(arguments.artifact):
        from dyncc import spiking

        if arguments.html or arguments.svg:
            raise ConfigError("a spiking network has no control-flow graph to draw")
        print(f"{arguments.artifact}: {spiking.load(arguments.artifact).describe()}")
        return 0
    program = load(arguments.artifact)
    hcfg = program.hcfg
    for target, draw in ((arguments.html, to_html), (arguments.svg, to_svg)):
        if target is not None:
            write_text(target, draw(hcfg))
            print(f"{target}: {summary(program)}")
    if arguments.html or arguments.svg:
        return 0
    print(to_text(hcfg))
    print(f"# {hcfg.name}: {summary(program)}")
    for size, extents in program.sizes.items():
        print(f"#   size {size}: {extents}")
    in_torch = program.manifest["report"].get("torch", ())
    for name, region in hcfg.regions.items():
        sites = sum(
            isinstance(op, RegionCall) and op.region == name
            for block in hcfg.blocks.values()
            for op in block.ops
        )
        cost = region_cost(region)
        print(
            f"#   @{name}: {len(region.ops)} operations, {quantity(cost.flops, 'FLOP')}, "
            f"{quantity(cost.bytes, 'B')}, called from {sites} block{'s' if sites != 1 else ''}"
            f"{', run by PyTorch' if name in in_torch else ''}"
        )
    return 0
