"""``dyncc hw``: hardware designs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HELP = "list hardware designs and boards, write Verilog, build bitstreams, report resources"
DESCRIPTION = """\
Hardware designs in Amaranth, and boards with an FPGA for them.

list    designs with their sizes, and boards with what they have by default
emit    write the Verilog of a design; with --board, all that the tools of the board need
build   make a bitstream, a report and the log in a folder
report  write resources and clock on a board; with --table, a table of reports written before;
        with --refresh, the same reports anew

The first build with a tool takes a minute more. What was built before is taken from a cache."""
EPILOG = """\
examples:
  dyncc hw list
  dyncc hw emit neurocorex --size neurons=96 -o device.v
  dyncc hw emit neurocorex --board cmod_a7_35t -o vivado
  dyncc hw build neurocorex --board icebreaker -o out
  dyncc hw build neurocorex --board ulx3s_85f --size neurons=256 --size learning=1 --clock 40
  dyncc hw build skipopu --board ulx3s_85f -o out
  dyncc hw report neurocorex --board ulx3s_85f -o hw/reports/ulx3s_85f.json
  dyncc hw report --refresh hw/reports
  dyncc hw report --table hw/reports"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("list", "emit", "build", "report"))
    parser.add_argument("design", nargs="?")
    parser.add_argument("--board", metavar="NAME", help="a board (see list)")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=N", help="a size (see list; repeat)"
    )
    parser.add_argument(
        "--clock", type=float, metavar="MHZ", help="clock of the core (default: see list; or 12)"
    )
    parser.add_argument(
        "--baud", type=int, metavar="N", help="rate of the serial line (default: 1000000)"
    )
    parser.add_argument(
        "--multipliers", choices=("parallel", "shared"), help="one for each product, or one for all"
    )
    parser.add_argument(
        "--memories", choices=("dual", "single"), help="ports of the memory of weights"
    )
    parser.add_argument("--arch", metavar="NAME", help="instance of the overlay (see list)")
    parser.add_argument("--multiplier", metavar="NAME", help="multiplier of the device (see list)")
    parser.add_argument("--table", type=Path, metavar="DIR", help="the folder of reports to show")
    parser.add_argument(
        "--refresh", type=Path, metavar="DIR", help="the folder of reports to renew"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH",
        help="file, or folder of build and of emit with --board; default: standard output, or "
        "DESIGN-BOARD",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from dyncc.core.errors import ConfigError

    if arguments.action == "list":
        _list()
    elif arguments.action == "report" and arguments.table is not None:
        from dyncc_hw.flow.records import read, table

        _write(table(read(arguments.table).values()), arguments.output)
    elif arguments.action == "report" and arguments.refresh is not None:
        from dyncc_hw.flow.records import project_of, read

        for path, found in read(arguments.refresh).items():
            _report(project_of(found), path)
    elif arguments.design is None:
        from dyncc_hw.designs import DESIGNS

        raise ConfigError("the design is missing", hint=f"Designs: {', '.join(DESIGNS)}.")
    elif arguments.action == "emit" and arguments.board is None:
        _emit(arguments)
    elif arguments.board is None:
        from dyncc_hw.boards import BOARDS

        raise ConfigError("the board is missing", hint=f"Give --board: {', '.join(BOARDS)}.")
    elif arguments.action == "emit":
        _emit_for_board(arguments)
    elif arguments.action == "build":
        _build(arguments)
    else:
        _report(_project(arguments), arguments.output)
    return 0


def _list() -> None:
    from dyncc_hw.boards import BOARDS
    from dyncc_hw.designs import DESIGNS

    print("designs:")
    for name, design in DESIGNS.items():
        print(f"  {name:<18}{design.summary}")
        for text in (_given(design.sizes), *map(_options, design.choices.items())):
            print(f"{'':<20}{text}")
    print("boards:")
    for name, board in BOARDS.items():
        line = "" if board.serial is None else f", serial line on {board.serial}"
        print(f"  {name:<18}{board.summary}{line}")
        for of, setup in board.setups.items():
            given = ", ".join(filter(None, (_given(setup.sizes), _given(setup.choices))))
            rate = "" if board.serial is None else f"{setup.baud} baud, "
            print(f"{'':<20}{of}: {setup.clock_mhz:g} MHz, {rate}{given}")


def _given(values: Mapping[str, int | str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _options(choice: tuple[str, tuple[str, ...]]) -> str:
    name, options = choice
    return f"{name}={'|'.join(options)}"


def _emit(arguments: argparse.Namespace) -> None:
    from amaranth.back import verilog

    from dyncc.arch.link import LinkSpec
    from dyncc_hw.designs import build

    given = {"clk_hz": arguments.clock and round(arguments.clock * 1e6), "baud": arguments.baud}
    link = LinkSpec(**{name: value for name, value in given.items() if value is not None})
    component = build(arguments.design, _chosen_sizes(arguments), _choices(arguments), link)
    _write(verilog.convert(component, name="top", emit_src=False), arguments.output)


def _emit_for_board(arguments: argparse.Namespace) -> None:
    from dyncc.core.files import write_text

    project = _project(arguments)
    folder = _folder(arguments)
    for name, content in project.plan().files.items():
        write_text(folder / name, content)
        print(folder / name)


def _build(arguments: argparse.Namespace) -> None:
    import json

    from dyncc.cli.progress import progress
    from dyncc.core.errors import ToolError
    from dyncc.core.files import write_bytes, write_text
    from dyncc_hw.flow.records import record
    from dyncc_hw.flow.run import LOG, execute

    project = _project(arguments)
    plan = project.plan()
    folder = _folder(arguments)
    with progress() as say:
        kept = execute(plan, say)
    found = record(project, plan, kept) if project.board.estimate is None else {}
    write_bytes(folder / LOG, (kept / LOG).read_bytes())
    if found:
        write_text(folder / "report.json", json.dumps(found, indent=1) + "\n")
        if found["fmax_mhz"] < found["clock_mhz"]:
            path = found["critical_path"]
            raise ToolError(
                f"the clock of {found['clock_mhz']:g} MHz is not reached: "
                f"{found['fmax_mhz']:g} MHz, limited by {path['from']} to {path['to']}",
                hint="Choose a lower --clock, or smaller sizes; the report and the log are in "
                f"{folder}.",
            )
    product = project.board.products[0]
    target = folder / f"{project.design}{Path(product).suffix}"
    write_bytes(target, (kept / product).read_bytes())
    print(f"{target}: {target.stat().st_size} bytes", end="")
    print(f", reaches {found['fmax_mhz']:g} MHz of {found['clock_mhz']:g}" if found else "")


def _report(project: Any, output: Path | None) -> None:
    import json

    from dyncc.cli.progress import progress
    from dyncc_hw.flow.records import record
    from dyncc_hw.flow.run import execute

    plan = project.measured()
    with progress() as say:
        kept = execute(plan, say)
    _write(json.dumps(record(project, plan, kept), indent=1) + "\n", output)


def _project(arguments: argparse.Namespace) -> Any:
    from dyncc_hw.flow.project import Project

    return Project.of(
        arguments.design,
        arguments.board,
        _chosen_sizes(arguments),
        arguments.clock,
        arguments.baud,
        _choices(arguments),
    )


def _choices(arguments: argparse.Namespace) -> dict[str, str]:
    names = ("multipliers", "memories", "arch", "multiplier")
    given = {name: getattr(arguments, name) for name in names}
    return {name: choice for name, choice in given.items() if choice is not None}


def _folder(arguments: argparse.Namespace) -> Path:
    from dyncc.core.errors import ConfigError

    folder: Path = arguments.output or Path(f"{arguments.design}-{arguments.board}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    return folder


def _write(text: str, path: Path | None) -> None:
    from dyncc.core.files import write_text

    if path is None:
        print(text, end="")
        return
    write_text(path, text)
    print(f"{path}: {len(text.splitlines())} lines")


def _chosen_sizes(arguments: argparse.Namespace) -> dict[str, int]:
    return dict(_size(text) for text in arguments.size)


def _size(text: str) -> tuple[str, int]:
    from dyncc.core.errors import ConfigError

    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise ConfigError(f"--size {text!r} is not NAME=N", hint="For example --size neurons=96.")
    return name, int(number)
