"""Build the ONNX models of a program's regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime

from dyncc.backends.onnxruntime.exporting import OPSET, region_model
from dyncc.backends.refusals import FAILURES, open_regions, reason, refused, translated
from dyncc.ir.cost import region_cost
from dyncc.ir.hcfg import Hcfg, Region
from dyncc.ir.types import DTYPES, TensorType
from dyncc.runtime import onnx_library

#: Below this many operations a region gets one thread. On two busy hardware threads a second one
#: gained nothing for two convolutions of 4.7 MFLOP each, and up to 47 % of the time for 231 each.
PARALLEL_FLOPS = 5_000_000

_LIBRARY = "ONNX Runtime"


def build(
    program: Hcfg,
    directory: Path,
    progress: Callable[[str, int, int], None],
    *,
    fallback: bool = False,
) -> dict[str, Any]:
    """Translate every region of a program into an ONNX model that ONNX Runtime takes.

    Parameters
    ----------
    program
        The program.
    directory
        Existing directory that gets a file for each region, ``region_0.onnx`` and so on.
    progress
        Called with the name of what is done next, its index, and the number of steps.
    fallback
        Leave regions that cannot be translated to PyTorch.

    Returns
    -------
    dict
        JSON-able. ``onnxruntime``: its version; ``opset``: version of the operators; ``regions``:
        by name, ``model`` (file name), ``params``, ``weights`` and ``results`` (how many there
        are, named ``p0``, ``w0``, ``r0`` and so on; weights are initialisers from outside) and
        ``parallel`` (whether threads repay); ``torch``: why PyTorch runs a region, by the names of
        those that it does.

    Raises
    ------
    ToolError
        If a region cannot be translated; names every one, and carries the tails of logs.
    """
    report: dict[str, Any] = {
        "onnxruntime": onnxruntime.__version__,
        "opset": OPSET,
        "regions": {},
        "torch": open_regions(program),
    }
    models, failures = translated(
        program, report["torch"], progress, len(program.regions),
        lambda _, region: runnable(region_model(region), region),
        (*FAILURES, *onnx_library.FAILURES),
    )  # fmt: skip
    if failures and not fallback:
        raise refused(program, failures, _LIBRARY)
    for index, (name, region) in enumerate(program.regions.items()):
        if name not in models:
            continue
        file = f"region_{index}.onnx"
        (Path(directory) / file).write_bytes(models[name])
        report["regions"][name] = {
            "model": file,
            "params": len(region.params),
            "weights": len(region.weights),
            "results": len(region.results),
            "parallel": region_cost(region).flops >= PARALLEL_FLOPS,
        }
    report["torch"] |= {name: reason(error, _LIBRARY) for name, error in failures.items()}
    return report


def runnable(model: onnx.ModelProto, region: Region) -> bytes:
    """A model of a region that sessions can be made of, serialised.

    Its weights become initialisers from outside of it, and ONNX Runtime is asked to take it.

    Raises
    ------
    Exception
        One of `dyncc.runtime.onnx_library.FAILURES`, if it does not.
    """
    graph = model.graph
    inputs = list(graph.input)
    del graph.input[len(region.params) :]
    weights: dict[str, numpy.ndarray] = {}
    for value, weight in zip(inputs[len(region.params) :], region.weights, strict=True):
        kind = weight.type
        assert isinstance(kind, TensorType)
        shape = [int(extent) for extent in kind.shape]
        graph.initializer.append(_outside(value, shape))
        weights[value.name] = numpy.zeros(shape, DTYPES[kind.dtype])
    serialised: bytes = model.SerializeToString(deterministic=True)
    onnx_library.open_session(serialised, weights, threads=1)
    return serialised


def _outside(value: onnx.ValueInfoProto, shape: list[int]) -> onnx.TensorProto:
    found = onnx.TensorProto(
        name=value.name,
        data_type=value.type.tensor_type.elem_type,
        dims=shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    found.external_data.add(key="location", value="weights.safetensors")
    return found
