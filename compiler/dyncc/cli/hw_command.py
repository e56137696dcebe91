"""``dyncc hw``: hardware designs."""

from __future__ import annotations

import argparse

HELP = "list hardware designs, write their Verilog, report resources and clock"
DESCRIPTION = """\
Hardware designs in Amaranth.

list    the designs and their sizes
emit    write Verilog
report  place and route on an ECP5-85F with yosys and nextpnr, and write resources and clock"""
EPILOG = """\
examples:
  dyncc hw list
  dyncc hw emit neurocorex --size neurons=96 -o core.v
  dyncc hw report neurocorex --size neurons=512 --clock 50"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("list", "emit", "report"))
    parser.add_argument("design", nargs="?")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=N", help="a size (see list; repeat)"
    )
    parser.add_argument("--clock", type=int, default=50, metavar="MHZ", help="clock to aim at")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json

    from dyncc.core.errors import ConfigError
    from dyncc.core.files import write_text
    from dyncc_hw.designs import DESIGNS, build
    from dyncc_hw.flow import ecp5_report, verilog_of

    if arguments.action == "list":
        for name, design in DESIGNS.items():
            shown = ", ".join(f"{size}={number}" for size, number in design.sizes.items())
            print(f"{name:<14}{design.summary} ({shown})")
        return 0
    if arguments.design is None:
        raise ConfigError("the design is missing", hint=f"Designs: {', '.join(DESIGNS)}.")
    sizes = dict(_size(text) for text in arguments.size)
    component = build(arguments.design, sizes)
    if arguments.action == "emit":
        text = verilog_of(component)
    else:
        found = ecp5_report(component, arguments.clock)
        chosen = DESIGNS[arguments.design].sizes | sizes
        text = json.dumps({"design": arguments.design, "sizes": chosen, **found}, indent=1) + "\n"
    if arguments.output is None:
        print(text, end="")
        return 0
    write_text(arguments.output, text)
    print(f"{arguments.output}: {len(text.splitlines())} lines")
    return 0


def _size(text: str) -> tuple[str, int]:
    from dyncc.core.errors import ConfigError

    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise ConfigError(f"--size {text!r} is not NAME=N", hint="For example --size neurons=96.")
    return name, int(number)
