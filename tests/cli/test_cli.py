"""The command line: what it does, says and returns, also on bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

import dyncc
from dyncc.cli import COMMANDS, main
from dyncc.ir.parser import parse

MODEL = '''
import torch
from torch import nn


class Net(nn.Module):
    """Early exit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.a(x)
        if y.max() > 0.5:
            return {"y": y, "exit": 0}
        return {"y": self.b(y), "exit": 1}


def example_inputs():
    return (torch.ones(1, 4),)
'''


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)


def run(*arguments: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[str, str]:
    """Run a command line; one that fails says so in one paragraph, without a traceback."""
    assert main(arguments) == code
    out, err = capsys.readouterr()
    if code:
        assert "Traceback" not in err
        assert any(line.startswith("dyncc: ") for line in err.splitlines())
    return out, err


def test_compile_run_verify_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run("compile", "model.py", "--backend", "eager", capsys=capsys)
    assert out.startswith("model.dyncc: 3 blocks, 2 sub-networks, 2 edges")
    assert "capture" in err
    x = numpy.full((1, 4), 9, "float32")
    numpy.savez("in.npz", x=x)
    out, _ = run("run", "model.dyncc", "--input", "in.npz", "--output", "out.npz", capsys=capsys)
    found = numpy.load("out.npz")
    assert sorted(found) == ["exit", "y"]
    result = dyncc.load("model.dyncc")(x)
    assert int(found["exit"]) == result["exit"]
    numpy.testing.assert_array_equal(found["y"], result["y"])
    assert re.search(r"^y: float32\[1,[24]\]$", out, re.M)

    out, _ = run("verify", "model.dyncc", "--random", "200", "--seed", "3", capsys=capsys)
    assert "natural: 200 random inputs, edges 2/2, loops 0/1/n 0/0, max abs error" in out
    assert "forced:  2 paths, edges 2/2" in out
    out, _ = run("verify", "model.dyncc", "--input", "in.npz", "--complete", capsys=capsys)
    assert "natural: 1 given inputs, edges 1/2" in out
    assert re.search(r"^edges 2/2, loops 0/1/n 0/0, \d+ values \(\d+ elements\) equal", out, re.M)
    out, _ = run("verify", "model.dyncc", "--json", "--paths", "3", capsys=capsys)
    found = json.loads(out)
    assert found["complete"]
    assert found["forced"]["runs"] == 5
    assert found["missing"] == []

    out, _ = run("inspect", "model.dyncc", capsys=capsys)
    assert "region @r0" in out
    assert "FLOP" in out
    run("inspect", "model.dyncc", "--html", "model.html", capsys=capsys)
    run("inspect", "model.dyncc", "--svg", "model.svg", capsys=capsys)
    assert "y.max() &gt; 0.5" in Path("model.svg").read_text()
    page = Path("model.html").read_text()
    assert "<svg" in page
    assert "y.max() &gt; 0.5" in page


def test_what_each_pass_did(capsys: pytest.CaptureFixture[str]) -> None:
    run("compile", "model.py", "--backend", "eager", capsys=capsys)
    of_file, _ = run("inspect", "model.py", "--passes", "--json", capsys=capsys)
    of_artifact, _ = run("inspect", "model.dyncc", "--passes", "--json", "--ir", capsys=capsys)
    stages, with_text = json.loads(of_file), json.loads(of_artifact)
    assert stages[0]["pass"] == "capture"
    assert [{k: v for k, v in stage.items() if k != "ir"} for stage in with_text] == stages
    # The last is what the artifact holds.
    assert parse(with_text[-1]["ir"]).blocks == dyncc.load("model.dyncc").hcfg.blocks
    assert stages[-1]["blocks"] == 3
    text, _ = run("inspect", "model.py", "--passes", "--ir", capsys=capsys)
    assert re.search(r"^capture: \d+ blocks, \d+ edges, ", text)
    assert text.count("region @r0") == len(stages)
    run("inspect", "model.dyncc", "--ir", capsys=capsys, code=1)
    run("inspect", "model.py", "--passes", "--host", capsys=capsys, code=1)


def test_sizes_that_may_differ(capsys: pytest.CaptureFixture[str]) -> None:
    spec = "x:float32[N=1..3,4]"
    run("compile", "model.py:Net", "--input", spec, "--backend", "eager", capsys=capsys)
    assert json.loads(Path("model.dyncc/manifest.json").read_text())["sizes"] == {"N": [1, 3]}
    out, _ = run("verify", "model.dyncc", "--complete", capsys=capsys)
    assert "natural: 20 random inputs, " in out
    out, _ = run("inspect", "model.dyncc", capsys=capsys)
    assert "#   size N: 1..3" in out
    numpy.savez("large.npz", x=numpy.zeros((4, 4), "float32"))
    _, err = run(
        "run", "model.dyncc", "--input", "large.npz", "--output", "o.npz", capsys=capsys, code=1
    )
    assert "x: the size N is 4, and the network was compiled for 1..3" in err


def test_what_is_refused_and_what_is_made_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def noise(self, x):\n"
        "        return x + x.data_ptr()\n\n"
        "    def forward(self, x):\n"
        "        return self.noise(x)\n"
    )
    spec = "x:float32[1,4]"
    out, _ = run("compile", "bad.py", "--input", spec, "--json", capsys=capsys, code=1)
    found = json.loads(out)
    assert (found["ok"], found["exit_code"], found["error"]) == (False, 1, "UnsupportedError")
    (problem,) = found["diagnostics"]
    assert Path(problem["file"]).name == "bad.py"
    assert (problem["line"], problem["column"], problem["end_column"]) == (7, 20, 32)
    assert problem["source"][problem["column"] - 1 : problem["end_column"] - 1] == ("x.data_ptr()")
    assert problem["code"] == "DY213"
    assert problem["reason"]
    assert problem["hint"]
    (call,) = problem["calls"]
    assert (call["line"], call["column"], call["function"]) == (10, 16, "Net.forward")
    command = ("compile", "model.py:Net", "--input", spec, "--backend", "eager", "--json")
    out, _ = run(*command, capsys=capsys)
    assert json.loads(out)["ok"]
    out, _ = run("inspect", "model.dyncc", "--json", capsys=capsys)
    assert json.loads(out)["regions"]["r0"]["torch"] == "the back end is eager"


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run("explain", "dy302", capsys=capsys)
    assert out.startswith("DY302: A place that is reached in too many states\n")
    assert "This is refused:" in out
    assert "This compiles:" in out
    out, _ = run("explain", capsys=capsys)
    assert "Control flow:" in out
    assert "  DY302  A place that is reached in too many states" in out
    out, _ = run("explain", "--json", "DY302", capsys=capsys)
    assert json.loads(out)["code"] == "DY302"
    _, err = run("explain", "DY999", capsys=capsys, code=1)
    assert "there is no diagnostic DY999" in err


def test_compile_with_tvm(capsys: pytest.CaptureFixture[str]) -> None:
    run("compile", "model.py:Net", "--input", "x:float32[1,4]", "-o", "deep/a", capsys=capsys)
    out, _ = run("verify", "deep/a", capsys=capsys)
    assert "natural: 20 random inputs, " in out
    assert "forced:  2 paths, edges 2/2" in out
    assert json.loads(Path("deep/a/manifest.json").read_text())["backend"] == "tvm"


SPECTRAL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        y = self.layer(x)
        if y.sum() > 0:
            return torch.fft.fft(y).real * 2
        return torch.relu(y) + 1
"""


def test_what_tvm_cannot_compile_is_run_by_torch_if_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("spectral.py").write_text(SPECTRAL)
    command = ("compile", "spectral.py", "--input", "x:float32[1,4]", "--backend", "tvm")
    _, err = run(*command, capsys=capsys, code=4)
    assert "spectral.py:15" in err
    assert "Give --fallback eager" in err
    assert not Path("spectral.dyncc").exists()
    out, _ = run(*command, "--fallback", "eager", capsys=capsys)
    assert "(1 run by PyTorch)" in out
    report = json.loads(Path("spectral.dyncc/manifest.json").read_text())["report"]
    ((name, reason),) = report["torch"].items()
    assert reason.startswith("TVM cannot compile it: ")
    out, _ = run("inspect", "spectral.dyncc", capsys=capsys)
    (line,) = [line for line in out.splitlines() if line.startswith(f"#   @{name}:")]
    assert f", run by PyTorch: {reason}" in line
    assert out.count("run by PyTorch: ") == 1
    out, _ = run("inspect", "spectral.dyncc", "--json", capsys=capsys)
    found = json.loads(out)
    assert found["torch"] == {name: reason}
    assert {key for key, region in found["regions"].items() if region["torch"]} == {name}
    out, _ = run("verify", "spectral.dyncc", capsys=capsys)
    assert "edges 2/2" in out


def test_verify_finds_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    run("compile", "model.py", "--backend", "eager", capsys=capsys)
    Path("model.py").write_text(MODEL.replace("manual_seed(0)", "manual_seed(1)"))
    _, err = run("verify", "model.dyncc", capsys=capsys, code=5)
    assert re.search(r"model\.py:17: input 0, block \^b1 .*: variable y: ", err), err


BROKEN = {
    "missing.py": (None, "there is no file missing.py"),
    "syntax.py": ("def f(:\n", r"syntax\.py:1:7: syntax error"),
    "empty.py": ("x = 1\n", "no torch.nn.Module"),
    "raises.py": ("import torch\nx = 1\nx / 0\n", r"raises\.py:3: .*ZeroDivisionError"),
    "imports.py": ("import no_such_package\n", r"imports\.py:1: .*no_such_package"),
    "several.py": (
        "from torch import nn\nclass A(nn.Module): pass\nclass B(nn.Module): pass\n",
        "several.py holds several modules: A, B",
    ),
    "no_inputs.py": (
        "from torch import nn\nclass A(nn.Module):\n    def forward(self, x): return x\n",
        r"no_inputs.py has no example_inputs\(\)\n  Define it, or give --input",
    ),
    "address.py": (
        """\
import torch
from torch import nn
class A(nn.Module):
    def forward(self, x):
        return x + x.data_ptr()
def example_inputs(): return torch.ones(1)
""",
        r"address\.py:5:\d+: DY213 .*no address",
    ),
    "build.py": ("def build(): return 3\n", "gives a int, not a torch.nn.Module"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_files_that_cannot_be_compiled(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = BROKEN[name]
    if content is not None:
        Path(name).write_text(content)
    _, err = run("compile", name, "-o", "out", "--backend", "eager", capsys=capsys, code=1)
    assert re.search(message, err), err
    assert not Path("out").exists()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compile", "model.py:Other"), "defines no 'Other'"),
        (("compile", "model.py", "--input", "x:float[3"), r"is not NAME:DTYPE\[SHAPE\]"),
        (("compile", "model.py", "--input", "x:float33[3]"), "dtypes are float64, float32"),
        (("compile", "model.py", "--input", "y:float32[1,4]"), "missing a required argument: 'x'"),
        (
            ("compile", "model.py", "--input", "x:float32[1,5]"),
            r"/model\.py:15:13: .*\[1, 5\] X",
        ),
        (("compile", "model.py", "-o", "model.py"), "model.py is a file"),
        (("run", "nothing", "--input", "in.npz", "--output", "o.npz"), "in.npz"),
        (("inspect", "nothing"), "nothing is not an artifact"),
        (("verify", "."), "is not an artifact"),
        (("table", "resnet"), "there is no network 'resnet'"),
    ],
)
def test_bad_arguments(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(*arguments, capsys=capsys, code=1)
    assert re.search(message, err), err


def test_arrays_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    run("compile", "model.py", "--backend", "eager", capsys=capsys)
    cases = {
        "shape": ({"x": numpy.ones((2, 4), "float32")}, r"x: expected float32\[1,4\], got"),
        "dtype": ({"x": numpy.ones((1, 4))}, r"x: expected float32\[1,4\], got float64\[1,4\]"),
        "name": ({"z": numpy.ones((1, 4), "float32")}, "missing a required argument: 'x'"),
    }
    for name, (arrays, message) in cases.items():
        numpy.savez(f"{name}.npz", **arrays)
        _, err = run(
            "run", "model.dyncc", "--input", f"{name}.npz", "--output", "o.npz",
            capsys=capsys, code=1,
        )  # fmt: skip
        assert re.search(message, err), err
    Path("text.npz").write_text("no archive")
    run("run", "model.dyncc", "--input", "text.npz", "--output", "o", capsys=capsys, code=1)
    # Pickled content is never read.
    numpy.savez("objects.npz", x=numpy.array([{}], dtype=object))
    run("run", "model.dyncc", "--input", "objects.npz", "--output", "o", capsys=capsys, code=1)
    assert not Path("o.npz").exists()


def test_a_back_end_that_fails_says_which_region(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("fft.py").write_text(
        "import torch\nfrom torch import nn\nclass A(nn.Module):\n    def forward(self, x):\n"
        "        return torch.fft.fft(x).abs()\ndef example_inputs(): return torch.ones(8)\n"
    )
    _, err = run("compile", "fft.py", "-o", "out", capsys=capsys, code=4)
    assert "region 'r0'" in err
    assert not Path("out").exists()


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("compile",), ("run", "x")])
def test_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: dyncc" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: dyncc {command}" in capsys.readouterr().out


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = run("doctor", capsys=capsys)
    assert re.search(rf"^torch +{re.escape(torch.__version__)} ", out, re.M)
    monkeypatch.setenv("DYNCC_GXX", "/nonexistent/g++")
    assert main(["doctor"]) == 3
    assert re.search(r"^g\+\+ +MISSING", capsys.readouterr().out, re.M)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    Path("page.md").write_text("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
    run("table", "halting", "--backend", "eager", "-o", "page.md", capsys=capsys)
    page = Path("page.md").read_text()
    assert page.startswith("before\n<!-- table: begin -->\n| Network |")
    assert page.endswith("<!-- table: end -->\nafter\n")
    assert re.search(r"\| `halting` \| 5 \| 3 \| 3 \| [\d.]+ s \| 6/6 \| 6/6 \| 40 \+ \d+ \|", page)
    assert "old" not in page


def test_table_of_depths(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run("table", "--depths", "8,14", "--small", "--backend", "eager", capsys=capsys)
    rows = [
        line.split(" | ")[:5] for line in out.splitlines() if line.startswith(("| 8 ", "| 14 "))
    ]
    assert rows == [["| 8", "2", "7", "7", "7"], ["| 14", "5", "13", "13", "12"]]
    assert "capture of 14 layers" in err


def test_module_and_version_and_quick_start() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dyncc", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"dyncc {dyncc.__version__}"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "tvm", "numpy"})


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run("demo", "-o", "out/digits.dyncc", capsys=capsys)
    assert "agree on 360 of 360 images" in out
    assert "edges taken 6/6" in out
    assert "263 times" in Path("out/digits.svg").read_text()


def test_a_model_file_states_a_bound_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "strict.py"
    source.write_text(
        "import torch\nfrom torch import nn\n\nRTOL = 2\n\n\nclass Net(nn.Module):\n"
        "    def forward(self, x):\n        return x * 2 if x.sum() > 0 else x\n\n\n"
        "def example_inputs():\n    return (torch.ones(2),)\n"
    )
    out = str(tmp_path / "out")
    assert main(["compile", str(source), "--backend", "eager", "-o", out]) == 0
    assert main(["verify", out]) == 1
    assert "RTOL is 2" in capsys.readouterr().err
    assert main(["verify", out, "--rtol", "1e-6"]) == 0
