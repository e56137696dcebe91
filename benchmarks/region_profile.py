"""Where the time of a network's regions goes in TVM: every kernel, and what it reaches.

    DYNCC_NUM_THREADS=1 python benchmarks/region_profile.py models/dyncc_models/dycl/skipnet.py

Regions are called as often as the network does on its example input. A kernel is timed by itself,
with caches that it has filled before, so the sum is less than a run of the network takes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import numpy
import torch
import tvm
from tvm import relax, tirx

from dyncc.backends.measuring import call_times, samples
from dyncc.backends.tvm.build import import_for_tvm, lowered
from dyncc.backends.tvm.lowering import Care
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning.reuse import kernel_calls
from dyncc.driver import capture_program
from dyncc.ir.cost import region_cost
from dyncc.modelfile import load_model

#: Seconds for each kernel.
SECONDS = 0.3


def main(path: str) -> None:
    """Print the table."""
    model = load_model(path)
    example = model.example_inputs()
    program, weights, _, _ = capture_program(model.module, example, None, lambda *_: None)
    observed = samples(program, weights, [example], {})
    cpu = Cpu.host()
    rows = [
        "region | calls | kernel | times | us each | us in all | GFLOP/s",
        "--- | ---: | --- | ---: | ---: | ---: | ---:",
    ]
    total = 0.0
    for name, region in program.regions.items():
        calls = observed[name].calls
        with cpu.target(), tvm.transform.PassContext(opt_level=3):
            module, _ = lowered([import_for_tvm(region, "entry")], cpu, Care.TRUST)
            times = {
                kernel: (count, seconds(module[kernel], tensors, cpu))
                for kernel, (count, tensors) in kernels_of(module["entry"]).items()
            }
        spent = sum(count * each for count, each in times.values())
        total += calls * spent
        rate = region_cost(region).flops / spent / 1e9 if spent else 0.0
        rows.append(f"{name} | {calls} | all | | {_us(spent)} | {_us(calls * spent)} | {rate:.0f}")
        rows += [
            f" | | {kernel} | {count} | {_us(each)} | {_us(calls * count * each)} |"
            for kernel, (count, each) in times.items()
        ]
    print("\n".join([*rows, f"in all | | | | | {_us(total)} |"]))  # noqa: T201


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def kernels_of(function: relax.Function) -> dict[str, tuple[int, list[relax.TensorType]]]:
    """How often a function calls each kernel, and what it gives them: tensors, results last."""
    found: dict[str, tuple[int, list[relax.TensorType]]] = {}
    for call in kernel_calls(function):
        name, made = call.args[0].name_hint, call.ty
        results = list(made.fields) if isinstance(made, relax.TupleType) else [made]
        given = [each.ty for each in call.args[1].fields]
        found[name] = found.get(name, (0, []))[0] + 1, [*given, *results]
    return found


def seconds(kernel: tirx.PrimFunc, tensors: Sequence[relax.TensorType], cpu: Cpu) -> float:
    """The least time of a call, on numbers of no meaning."""
    library = tvm.compile(
        tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")}), target=cpu.target()
    )
    random = numpy.random.default_rng(0)
    arguments = []
    for tensor in tensors:
        shape = [int(extent) for extent in tensor.shape]
        array = numpy.asarray(random.normal(size=shape)).astype(str(tensor.dtype))
        arguments.append(tvm.runtime.tensor(array))
    call = partial(library["main"], *arguments)
    return call_times({"kernel": call}, SECONDS)["kernel"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
