"""From a region to an ONNX model, with the conversions of torch's exporter.

`torch.onnx.export` would do, at more than a second for each region: it builds its table of
conversions again for each call, and decomposes what regions do not hold. So the stages of the
exporter are called here one by one. They are private to torch, whose version is pinned.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import onnx
import torch
from onnx import shape_inference
from onnxscript import ir, optimizer, version_converter
from torch import Tensor
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx
from torch.onnx._internal.exporter import _core, _decomp, _fx_passes, _ir_passes
from torch.onnx._internal.exporter._registration import ONNXRegistry

from dyncc.backends.aten import RegionModule, example
from dyncc.backends.onnxruntime.conversions import CONVERSIONS
from dyncc.ir.hcfg import Region, TensorOp, Value, is_static
from dyncc.ir.types import TensorType

#: Version of the operator set of the models.
OPSET = 20

#: Reductions that give NaN of no elements, or fail.
_UNDEFINED_OF_NOTHING = {
    "mean", "std", "std_mean", "var", "var_mean", "max", "min", "amax", "amin", "aminmax", "argmax",
    "argmin",
}  # fmt: skip


def region_model(region: Region) -> onnx.ModelProto:
    """Translate a region to ONNX.

    Parameters
    ----------
    region
        The region.

    Returns
    -------
    ModelProto
        Its graph takes ``p0, p1, ...`` (parameters), then ``w0, w1, ...`` (weights), and gives
        ``r0, r1, ...`` (results), in the order of the region and with its types. It calls operators
        of ONNX only, of the operator set `OPSET`. No two results are one value, and none is a
        parameter. Equal regions give equal models, whatever they are called.

    Raises
    ------
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError
        If the region cannot be said in ONNX, or a result would have another type than in torch.
    """
    with _quiet(), torch.no_grad():
        model = _core._exported_program_to_onnx_program(
            _program(region), registry=_registry()
        ).model
        version_converter.convert_version(model, OPSET, fallback=False)
        # Values still have the types that they have in torch.
        shape_inference.infer_shapes(ir.to_proto(model), check_type=True, strict_mode=True)
        _separate_results(model.graph)
        optimizer.optimize(model)
    takes = [f"p{i}" for i in range(len(region.params))]
    takes += [f"w{i}" for i in range(len(region.weights))]
    gives = [f"r{i}" for i in range(len(region.results))]
    _ir_passes.rename_inputs(model, takes)
    _ir_passes.rename_outputs(model, gives)
    return ir.to_proto(model)


@functools.cache
def _registry() -> ONNXRegistry:
    registry = ONNXRegistry.from_torchlib(opset_version=OPSET)
    for target, conversion in CONVERSIONS.items():
        registry.register_op(target, conversion)
    return registry


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """How operations are taken apart for which there is no conversion."""
    implemented = set(_decomp.get_onnx_implemented_overloads(_registry()))
    return _decomp.create_onnx_friendly_decomposition_table(implemented)


def _program(region: Region) -> torch.export.ExportedProgram:
    """A region in operations that have a conversion."""
    for op in region.ops:
        if not op.results:
            raise NotImplementedError(f"{op.target} asserts something, which ONNX cannot say")
        if op.target.split(".")[1] in _UNDEFINED_OF_NOTHING and _reduces_nothing(op):
            raise NotImplementedError(
                f"{op.target} may be of no elements, of which ONNX Runtime makes a number"
            )
    program = _closed(region) if is_static(region) else _open(region)
    # Operators of ONNX do not promote types, so that casts have to be in the graph.
    types = _types(program)
    _fx_passes.insert_type_promotion_nodes(program.graph_module)
    for name, kind in _types(program).items():
        if types.get(name, kind) != kind:
            raise TypeError(f"torch's exporter gives {name} the type {kind}, not {types[name]}")
    return program


def _closed(region: Region) -> torch.export.ExportedProgram:
    """A region of known sizes."""
    examples = [example(value) for value in (*region.params, *region.weights)]
    # Some decompositions write into tensors of their own.
    module = torch.func.functionalize(RegionModule(region).eval())
    graph = make_fx(module, decomposition_table=_decompositions(), tracing_mode="fake")(*examples)
    return torch.export.export(graph, tuple(examples), strict=False)


def _open(region: Region) -> torch.export.ExportedProgram:
    """A region of which sizes are known at run time only.

    torch refuses it if it holds for some of these sizes only.
    """
    extents: dict[str, int] = {}
    examples: list[Tensor] = []
    dims: list[dict[int, Any]] = []
    for value in (*region.params, *region.weights):
        kind = value.type
        assert isinstance(kind, TensorType)
        # Different ones, of which none is special to torch.
        shape = tuple(
            extents.setdefault(e, 11 + len(extents)) if isinstance(e, str) else e
            for e in kind.shape
        )
        examples.append(example(replace(value, type=replace(kind, shape=shape))))
        dims.append({i: Dim.DYNAMIC for i, e in enumerate(kind.shape) if isinstance(e, str)})
    module = RegionModule(region).eval()
    program = torch.export.export(
        module, tuple(examples), dynamic_shapes=(tuple(dims),), strict=False
    )
    found: torch.export.ExportedProgram = program.run_decompositions(_decompositions())
    return found


def _types(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """The types of what each node of a program makes, by name of the node."""
    found = {}
    for node in program.graph.nodes:
        made = node.meta.get("val")
        parts = made if isinstance(made, list | tuple) else [made]
        found[node.name] = [part.dtype for part in parts if isinstance(part, Tensor)]
    return found


def _reduces_nothing(op: TensorOp) -> bool:
    """Whether a reduction may be one of no elements."""
    kind = op.args[0].type if isinstance(op.args[0], Value) else None
    if not isinstance(kind, TensorType):
        return False
    dims = op.args[1] if len(op.args) > 1 else None
    chosen = dims if isinstance(dims, tuple) else (dims,)
    places = [dim for dim in chosen if isinstance(dim, int) and not isinstance(dim, bool)]
    extents = [kind.shape[place] for place in places] if places else kind.shape
    # Of the mean of a size that is not known, see the conversion.
    known = op.target.startswith("aten.mean.")
    return 0 in extents or (not known and any(isinstance(extent, str) for extent in extents))


def _separate_results(graph: ir.Graph) -> None:
    """Give each result a value of its own: callers may write into one and expect the other."""
    seen = set(graph.inputs)
    for index, value in enumerate(graph.outputs):
        if value in seen:
            copy = ir.node("Identity", [value])
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            graph.append(copy)
            graph.outputs[index] = value = copy.outputs[0]
        seen.add(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch says of code of its own, of torchvision, and of initialisers."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnx_ir")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            for name in levels:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
