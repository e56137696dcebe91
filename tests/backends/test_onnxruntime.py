"""The ONNX Runtime back end: its models, its sessions, its tensors, and what it refuses."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from backends.differential import quiet
from backends.tracing import program_of, trace
from torch import Tensor

onnx = pytest.importorskip("onnx")

from dyncc.backends.onnxruntime import OPSET, build, region_model  # noqa: E402
from dyncc.core.errors import ArtifactError, InputError, ToolError  # noqa: E402
from dyncc.ir.hcfg import Region  # noqa: E402
from dyncc.runtime.alignment import ALIGNMENT  # noqa: E402
from dyncc.runtime.onnx_library import (  # noqa: E402
    OnnxLibrary,
    OrtValue,
    from_external,
    to_numpy,
)


def linear(name: str = "linear") -> Region:
    shapes = torch.zeros(2, 3), [torch.zeros(4, 3), torch.zeros(4)]
    return trace(name, lambda x, w, b: F.linear(x, w, b), [shapes[0]], shapes[1])


def weights(seed: int) -> list[numpy.ndarray]:
    random = numpy.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in ((4, 3), (4,))]


def library(directory: Path, *regions: Region) -> OnnxLibrary:
    return OnnxLibrary(directory, build(program_of(*regions), directory, quiet))


def test_the_model_of_a_region() -> None:
    model = region_model(linear())
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["p0", "w0", "w1"]
    assert [value.name for value in model.graph.output] == ["r0"]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert len(model.functions) == 0
    # Names of regions and of what they came from are no part of it.
    assert region_model(linear("other")) == model


def test_results_are_values_of_their_own() -> None:
    x = torch.ones(3)
    region = trace("same", lambda x: (x, x + 1), [x])
    twice = Region("same", region.params, (), region.ops, (*region.results, region.results[1]))
    graph = region_model(twice).graph
    assert [value.name for value in graph.output] == ["r0", "r1", "r2"]
    assert len({name for node in graph.node for name in node.output} & {"r0", "r1", "r2"}) == 3


def test_one_model_serves_several_weights_without_copies(tmp_path: Path) -> None:
    found = library(tmp_path, linear())
    assert [file.name for file in tmp_path.iterdir()] == ["region_0.onnx"]
    x = numpy.ones((2, 3), "float32")
    for seed in (0, 1):
        w, b = weights(seed)
        function = found.bind("linear", [w, b], [f"w{seed}", f"b{seed}"])
        (result,) = function(from_external(x))
        numpy.testing.assert_allclose(to_numpy(result), x @ w.T + b, rtol=1e-5)
    with pytest.raises(InputError, match="takes 2 weights, not 1 with 1 names"):
        found.bind("linear", weights(0)[:1], ["w0"])
    with pytest.raises(ArtifactError, match="no model of the region 'missing'"):
        found.bind("missing", [], [])


@pytest.mark.parametrize(
    "array",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(3, 2).t(),
        torch.arange(7)[1:].reshape(2, 3),
        torch.tensor([True, False]),
        torch.tensor(2.5, dtype=torch.float64),
        torch.zeros(0, 3),
        numpy.arange(6, dtype="int32")[::2],
        numpy.broadcast_to(numpy.float32(3), (2,)),
        numpy.float64(1.5),
        torch.ones(2, requires_grad=True),
    ],
    ids=str,
)
def test_tensors_pass_with_type_and_shape(array: Any) -> None:
    expected = array.detach().numpy() if isinstance(array, Tensor) else numpy.asarray(array)
    value = from_external(array)
    assert from_external(value) is value
    found = to_numpy(value)
    assert found.dtype == expected.dtype
    numpy.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape
    assert torch.from_dlpack(value).numpy().dtype == expected.dtype


def test_memory_is_shared_and_kept_alive() -> None:
    tensor = torch.zeros(1000)
    value = from_external(tensor)
    assert value.data_ptr() == tensor.data_ptr()
    array = numpy.zeros(1000)
    assert from_external(array).data_ptr() == array.ctypes.data
    made = [from_external(numpy.full(1000, number)) for number in range(50)]
    del tensor, array
    gc.collect()
    junk = [numpy.ones(1000) for _ in range(100)]
    views = [to_numpy(value) for value in made]
    del made
    gc.collect()
    assert [view[-1] for view in views] == list(range(50))
    assert len(junk) == 100


def test_tensors_of_tvm_and_of_onnx_runtime_share_memory() -> None:
    from dyncc.runtime import tvm_library

    ours = from_external(torch.arange(32.0))
    theirs = tvm_library.from_external(ours)
    numpy.testing.assert_array_equal(tvm_library.to_numpy(theirs), numpy.arange(32.0))
    back = from_external(theirs)
    assert isinstance(back, OrtValue)
    if ours.data_ptr() % ALIGNMENT == 0:
        assert back.data_ptr() == ours.data_ptr()
    flags = tvm_library.from_external(from_external(numpy.array([True, False])))
    assert tvm_library.to_numpy(flags).tolist() == [True, False]


def test_what_cannot_be_translated_is_refused_or_left_to_torch(tmp_path: Path) -> None:
    x = torch.rand(3)
    odd = trace("odd", torch.special.bessel_j0, [x])
    fine = trace("fine", lambda x: x + 1, [x])
    with pytest.raises(ToolError, match=r"ONNX Runtime cannot compile the region 'odd'") as caught:
        build(program_of(odd, fine), tmp_path, quiet)
    assert "bessel_j0" in caught.value.log
    assert "--fallback eager" in str(caught.value.hint)
    report = build(program_of(odd, fine), tmp_path, quiet, fallback=True)
    assert list(report["regions"]) == ["fine"]
    assert "ONNX Runtime cannot compile it" in report["torch"]["odd"]


def test_a_type_without_code_is_refused_when_compiling(tmp_path: Path) -> None:
    # ONNX has Sin for float64, and ONNX Runtime no code for tan of it.
    x = torch.rand(3, dtype=torch.float64)
    with pytest.raises(ToolError, match="cannot compile the region 'wide'"):
        build(program_of(trace("wide", torch.tan, [x])), tmp_path, quiet)


@pytest.mark.parametrize(
    ("function", "x", "why"),
    [
        # The exporter would sum them as float32, and give that type.
        (lambda x: x.sum(1), torch.ones(2, 2, dtype=torch.float16), "gives sum_1 the type"),
        (lambda x: x.mean(1), torch.ones(2, 0), "of no elements"),
    ],
)
def test_what_would_differ_is_refused(
    function: Callable[[Tensor], Tensor], x: Tensor, why: str
) -> None:
    with pytest.raises((TypeError, NotImplementedError), match=why):
        region_model(trace("wrong", function, [x]))


def test_a_damaged_model(tmp_path: Path) -> None:
    report = build(program_of(linear()), tmp_path, quiet)
    (tmp_path / "region_0.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="does not take the region 'linear'"):
        OnnxLibrary(tmp_path, report).bind("linear", weights(0), ["w", "b"])
    (tmp_path / "region_0.onnx").unlink()
    with pytest.raises(ArtifactError, match="model of the region 'linear' cannot be read"):
        OnnxLibrary(tmp_path, report)
