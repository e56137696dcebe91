"""The designs, and what `dyncc hw` says of bad arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyncc.cli import main


def test_list_shows_designs_and_boards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "list"]) == 0
    shown = capsys.readouterr().out
    for name in ("neurocorex-core", "icebreaker", "ulx3s_85f", "orangecrab_25f", "cmod_a7_35t"):
        assert name in shown
    assert "neurons=256, inputs=16, lanes=2" in shown


@pytest.mark.parametrize("design", ["neurocorex", "neurocorex-core"])
def test_emit_writes_verilog(
    design: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "top.v"
    sizes = ["--size", "neurons=4", "--size", "learning=1"]
    assert main(["hw", "emit", design, *sizes, "-o", str(target)]) == 0
    assert "module top(" in target.read_text()
    assert f"{target}: " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("board", ["kv260", "u280"])
def test_emit_writes_a_system_of_vivado(
    board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["hw", "emit", "skipopu-axi", "--board", board, "--arch", "ice40_2x2"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    written = {Path(line) for line in capsys.readouterr().out.split()}
    assert written == set(tmp_path.iterdir())
    assert "module top(" in (tmp_path / "top.v").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emit"], "the design is missing"),
        (["emit", "abacus"], "there is no design 'abacus'"),
        (["emit", "neurocorex", "--size", "beads=3"], "neurocorex has no size 'beads'"),
        (["emit", "neurocorex", "--size", "neurons"], "is not NAME=N"),
        (["emit", "neurocorex", "--size", "neurons=9999"], "must be an integer in 1..4096"),
        (["emit", "neurocorex", "--size", "learning=2"], "learning must be 0 or 1, not 2"),
        (["emit", "neurocorex", "--clock", "8", "--baud", "9000000"], "must be in 1..2000000"),
        (["build", "neurocorex"], "the board is missing"),
        (["report", "neurocorex", "--board", "abacus"], "there is no board 'abacus'"),
        (["build", "neurocorex-core", "--board", "icebreaker"], "icebreaker has no neuro"),
        (["build", "skipopu", "--board", "ulx3s_85f", "--size", "memory_mib=16"],
         "a ULX3S has 32 or 64 MiB of memory, not 16"),
        (["emit", "skipopu", "--arch", "abacus"], "arch must be ecp5_85f or"),
        (["emit", "skipopu", "--memories", "single"], "skipopu has no choice of 'memories'"),
        (["emit", "skipopu-axi", "--board", "kv260", "--clock", "500"], "kv260 makes clocks from"),
        (["build", "neurocorex", "--board", "icebreaker", "--clock", "14"],
         "icebreaker cannot make 14 MHz of its 12 MHz; the nearest is 16.125 MHz"),
        (["build", "neurocorex", "--board", "icebreaker", "--size", "neurons=400"],
         "83200 words of weights of 16 bits take 6 SPRAMs"),
        (["build", "neurocorex", "--board", "icebreaker", "--baud", "5000000"],
         "baud must be in 1..4500000"),
        (["report", "--table", "nowhere"], "there is no record in nowhere"),
    ],
)  # fmt: skip
def test_bad_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hw", *arguments]) == 1
    assert message in capsys.readouterr().err
