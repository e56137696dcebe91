"""What the Python runtime costs beside the work of the regions, in microseconds.

    python benchmarks/host_overhead.py --output docs/host-overhead.md

A row is the difference of two programs that differ in one thing, divided by how often the longer
one has it. All programs run in turns in one process; the median over the rounds is given, with the
quartiles. Every round also times an operation of PyTorch on one element: on a busy machine only the
ratio to it says much. With --artifact the host program of a network is timed without its regions.

A second table has whole calls of small networks: compiled, in PyTorch, and in ONNX Runtime alone,
which is given the exported model of the network. Set TVM_NUM_THREADS=1 for it: the others have one
thread.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import onnxruntime as onnx_session
import torch
import tvm_ffi
from onnxruntime.capi import onnxruntime_pybind11_state as bindings
from safetensors.numpy import load_file

import dyncc
from dyncc.backends import onnxruntime, tvm
from dyncc.bench.record import machine
from dyncc.export.onnx import export
from dyncc.ir.parser import parse
from dyncc.ir.verifier import verify
from dyncc.runtime.artifact import read
from dyncc.runtime.onnx_library import OnnxLibrary
from dyncc.runtime.program import Program
from dyncc.runtime.threads import thread_count
from dyncc.runtime.tvm_library import TvmLibrary
from dyncc_models import halting
from dyncc_models.dycl import skipnet

#: How often what is measured is in a program.
TIMES = 32

_HEAD = """\
hcfg 1 "overhead"
{inputs}region @r (%p: f32[1]) weights () {{
  %q: f32[1] = aten.mul.Tensor(%p, 2.0)
  yield (%q)
}}
"""
_EMPTY = "block ^a() {\n  return 0\n}\n"
_BLOCK = """\
block ^b{n}(%x{n}: f32[1], %c{n}: bool, %i{n}: int) {{
{body}  branch {test} then ^b{m}({passed}, %c{n}, %i{n}) else ^b{m}({passed}, %c{n}, %i{n}) ""
}}
"""
_REFERENCE = "PyTorch: `torch.mul(x, 2.0)` on one element"


@dataclass(frozen=True)
class Row:
    """A line of the table: what `long` takes more than `short`, by how often it has it."""

    name: str
    long: Callable[[], Any]
    short: Callable[[], Any] | None = None
    times: int = TIMES


class Bench:
    """Programs on one library with one region."""

    def __init__(self, folder: Path) -> None:
        program = parse(_HEAD.format(inputs="") + _EMPTY)
        report = tvm.build(program, folder, lambda *_: None)
        self.library = TvmLibrary(folder / tvm.LIBRARY, report)
        self.onnx = OnnxLibrary(folder, onnxruntime.build(program, folder, lambda *_: None))
        self.tensor = torch.full((1,), 0.75)
        self.function = self.library._machine[report["regions"]["r"]["entry"]]

    def program(self, inputs: Sequence[str], blocks: str) -> Program:
        """A program of the text of its inputs and blocks."""
        lines = (f"input {value[1 : value.index(':')]} = {value}\n" for value in inputs)
        hcfg = parse(_HEAD.format(inputs="".join(lines)) + blocks)
        verify(hcfg)
        return Program(hcfg, self.library, {}, {})

    def straight(self, *lines: str) -> Callable[[], Any]:
        """One block with these operations on the parameters x, c and i."""
        inputs = ["%x: f32[1]", "%c: bool", "%i: int"]
        body = "".join(f"  {line}\n" for line in lines)
        program = self.program(inputs, f"block ^a({', '.join(inputs)}) {{\n{body}  return 0\n}}\n")
        return lambda: program(self.tensor, True, 1)

    def blocks(self, *lines: str, test: str = "%c{n}", passed: str = "%x{n}") -> Callable[[], Any]:
        """Blocks with these operations, none of which can stand where the one before it ends."""
        text = ""
        for n in range(TIMES):
            names = {"n": n, "m": n + 1}
            body = "".join(f"  {line.format(**names)}\n" for line in lines)
            ways = {"test": test.format(**names), "passed": passed.format(**names)}
            text += _BLOCK.format(body=body, **ways, **names)
        inputs = ["%x0: f32[1]", "%c0: bool", "%i0: int"]
        last = ", ".join(inputs).replace("0:", f"{TIMES}:")
        program = self.program(inputs, f"{text}block ^b{TIMES}({last}) {{\n  return 0\n}}\n")
        return lambda: program(self.tensor, True, 1)

    def in_place(self, tensor: Any) -> Callable[[], Any]:
        """The region in ONNX Runtime with both its ends bound anew, as planned buffers would be."""
        (session,) = self.onnx._sessions.values()
        binding = bindings.SessionIOBinding(session._sess)
        result = self.onnx.from_external(numpy.zeros(1, "float32"))
        options = bindings.RunOptions()

        def call() -> None:
            binding.bind_ortvalue_input("p0", tensor)
            binding.bind_ortvalue_output("r0", result)
            session._sess.run_with_iobinding(binding, options)

        return call

    def rows(self) -> list[Row]:
        """What is measured."""
        x = self.tensor
        onnx, there = self.onnx.bind("r", [], []), self.onnx.from_external(x)
        inner, region = self.library.from_external(x), self.library.bind("r", [], [])
        inputs = [f"%x{n}: f32[1]" for n in range(TIMES)]
        names = ", ".join(f"%x{n}" for n in range(TIMES))
        head = f"block ^a({', '.join(inputs)}) {{\n  return "
        taking = self.program(inputs, f"{head}0\n}}\n")
        giving = self.program(inputs, f"{head}tuple({names})\n}}\n")
        tensors = [torch.full((1,), float(n)) for n in range(TIMES)]
        arrays = [tensor.numpy() for tensor in tensors]
        empty = self.program([], _EMPTY)
        nothing, idle = self.straight(), _repeated(lambda: None)
        call = "%y{n}: f32[1] = call @r(%x{n}) weights ()"
        decide = "%v{n}: float = item(%y{n})", "%t{n}: bool = gt(%v{n}, 0.5)"
        numbered = range(TIMES)
        appends = [f"%l{n + 1}: list<int> = list.append(%l{n}, %i)" for n in numbered]
        return [
            Row("a call of a program that does nothing", empty, None, 1),
            Row("an argument: a torch tensor checked and shared", lambda: taking(*tensors), empty),
            Row("an argument: a NumPy array", lambda: taking(*arrays), empty),
            Row("a result: a torch tensor", lambda: giving(*tensors), lambda: taking(*tensors)),
            Row("a block without operations, left by a branch", self.blocks(), nothing),
            Row(
                "an operation on scalars",
                self.straight(*(f"%s{n}: int = add(%i, 1)" for n in numbered)),
                nothing,
            ),
            Row(
                "an element appended to a list",
                self.straight("%l0: list<int> = list.of(%i)", *appends),
                self.straight("%l0: list<int> = list.of(%i)"),
            ),
            Row(
                "a scalar read from a tensor (`item`)",
                self.straight(*(f"%s{n}: float = item(%x)" for n in numbered)),
                nothing,
            ),
            Row("TVM's machine running a region", _repeated(lambda: self.function(inner)), idle),
            Row("the same with its results unpacked", _repeated(lambda: region(inner)), idle),
            Row("ONNX Runtime running a region", _repeated(lambda: onnx(there)), idle),
            Row(
                "the same with its result written to memory that stays",
                _repeated(self.in_place(there)),
                idle,
            ),
            Row("**a block with a region**", self.blocks(call, passed="%y{n}"), nothing),
            Row(
                "**a block with a region that decides its branch**",
                self.blocks(call, *decide, test="%t{n}", passed="%y{n}"),
                nothing,
            ),
            Row(_REFERENCE, _repeated(lambda: torch.mul(x, 2.0)), idle),
        ]


def _repeated(function: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        for _ in range(TIMES):
            function()

    return run


class Recorded:
    """Regions that run once and then give what they gave."""

    def __init__(self, regions: Any) -> None:
        self._regions = regions
        self.from_external, self.to_numpy = regions.from_external, regions.to_numpy

    def bind(
        self, region: str, weights: Sequence[numpy.ndarray], names: Sequence[str]
    ) -> Callable[..., Sequence[Any]]:
        """A region with the weights of one call site."""
        function, known = self._regions.bind(region, weights, names), []

        def call(*params: Any) -> Sequence[Any]:
            if not known:
                known.append(function(*params))
            found: Sequence[Any] = known[0]
            return found

        return call


def network(artifact: Path, inputs: Sequence[Any]) -> Row:
    """A network's host program without its regions, by the blocks that the inputs lead through."""
    loaded = dyncc.load(artifact)
    with loaded.trace() as counts:
        loaded(*inputs)
    blocks = sum(counts.values()) + 1
    weights = load_file(artifact / "weights.safetensors")
    program = Program(loaded.hcfg, Recorded(loaded._regions), weights, loaded.manifest)
    name = f"{loaded.hcfg.name}, {blocks} blocks, without its regions: each block"
    return Row(name, lambda: program(*inputs), None, blocks)


class Stateful(torch.nn.Module):
    """A layer whose results are summed up in a buffer, which is the result."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)
        self.register_buffer("sum", torch.zeros(1, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One step."""
        self.sum = self.sum * 0.5 + self.layer(x)
        return self.sum


def calls(folder: Path) -> list[Row]:
    """Whole calls of networks."""
    torch.set_num_threads(1)
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    found = _calls("`nn.Linear(64, 10)`", torch.nn.Linear(64, 10).eval(), (x,), folder / "linear")
    found += _calls("a layer with a buffer", Stateful().eval(), (x,), folder / "state")
    for name, network in (("halting", halting), ("SkipNet", skipnet)):
        found += _calls(name, network.build(), network.example_inputs(), folder / name)
    return found


def _calls(name: str, module: Any, inputs: tuple[Any, ...], folder: Path) -> list[Row]:
    arrays = [value.numpy() for value in inputs]
    folder.mkdir()

    def eager() -> None:
        with torch.inference_mode():
            module(*inputs)

    rows = [Row(f"{name}: PyTorch", eager, None, 1)]
    for backend in ("onnxruntime", "tvm"):
        path = folder / f"{backend}.dyncc"
        program = dyncc.compile(module, inputs, path, backend)
        if backend == "onnxruntime" and not program.hcfg.state:
            export(read(path), folder / "model.onnx", lambda *_: None)
            rows.append(_alone(f"{name}: ONNX Runtime, the exported model", folder, arrays))
        for kind, given in (("torch tensors", inputs), ("NumPy arrays", arrays)):
            rows.append(Row(f"{name}: dyncc, {backend}, {kind}", partial(program, *given), None, 1))
    return rows


def _alone(name: str, folder: Path, arrays: Sequence[numpy.ndarray]) -> Row:
    options = onnx_session.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnx_session.InferenceSession(folder / "model.onnx", options)
    feeds = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    return Row(name, partial(session.run, None, feeds), None, 1)


def measure(rows: Sequence[Row], rounds: int, runs: int = 5) -> dict[str, list[float]]:
    """Microseconds of each row, one for each round."""
    found: dict[str, list[float]] = {row.name: [] for row in rows}
    for row in rows:
        _seconds(row.long), _seconds(row.short)
    for _ in range(rounds):
        for row in rows:
            # The shortest of a few: an interruption of the process is none of theirs.
            long = min(_seconds(row.long) for _ in range(runs))
            short = min(_seconds(row.short) for _ in range(5))
            found[row.name].append((long - short) / row.times * 1e6)
    return found


def _seconds(function: Callable[[], Any] | None) -> float:
    if function is None:
        return 0.0
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def page(found: Mapping[str, Sequence[float]], whole: Mapping[str, Sequence[float]]) -> str:
    """The table as Markdown, with what was measured where."""
    here = machine()
    reference = statistics.median(found[_REFERENCE])
    lines = [
        "# What the host costs",
        "",
        "Written by `TVM_NUM_THREADS=1 python benchmarks/host_overhead.py`. Microseconds that the",
        "Python runtime takes beside the work of the regions: medians over rounds that run all",
        "rows in turns. The last column compares with an operation of PyTorch in the same rounds.",
        "",
        f"Machine: {here['cpu']}, load {here['load']} before.",
        f"Python {platform.python_version()}, PyTorch {torch.__version__},",
        f"tvm_ffi {tvm_ffi.__version__}.",
        "",
        "| What | µs | quartiles | PyTorch operations |",
        "|---|---:|---:|---:|",
    ]
    for name, times in found.items():
        low, middle, high = statistics.quantiles(times, n=4)
        lines.append(
            f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {middle / reference:.2f} |"
        )
    lines += [
        "",
        f"Whole calls, each the least of 50 in a round; threads: {thread_count()} for compiled",
        "networks, 1 for others. A compiled network checks its arguments, and gives torch tensors",
        "for torch tensors and NumPy arrays for NumPy arrays. A busy machine interrupts calls of",
        "several milliseconds: their rows are too high then.",
        "",
        "| What | µs | quartiles |",
        "|---|---:|---:|",
    ]
    for name, times in whole.items():
        low, middle, high = statistics.quantiles(times, n=4)
        lines.append(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print, or write a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="default: 40")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a page instead")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="also time this network")
    parser.add_argument(
        "--inputs", type=Path, metavar="NPZ", help="its arguments, in order (needs --artifact)"
    )
    options = parser.parse_args()
    if (options.artifact is None) != (options.inputs is None):
        parser.error("--artifact and --inputs belong together")
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    with tempfile.TemporaryDirectory() as folder:
        rows = Bench(Path(folder)).rows()
        if options.artifact is not None:
            inputs = [torch.from_numpy(array) for array in numpy.load(options.inputs).values()]
            rows.insert(-1, network(options.artifact, inputs))
        found = measure(rows, options.rounds)
        text = page(found, measure(calls(Path(folder)), options.rounds, 50))
    if options.output is None:
        print(text, end="")  # noqa: T201
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
