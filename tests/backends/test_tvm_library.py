"""The region library: weights, alignment, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from backends.differential import quiet
from backends.tracing import program_of, trace
from torch import Tensor, nn

import dyncc
from dyncc.backends.tvm import LIBRARY, build
from dyncc.core.errors import ArtifactError, InputError, ToolError
from dyncc.ir.hcfg import Region, Symbolic, TensorOp, Value
from dyncc.ir.types import TensorType
from dyncc.runtime.alignment import ALIGNMENT
from dyncc.runtime.tvm_library import TvmLibrary, from_external, to_numpy


def normed(x: Tensor, w: Tensor, g: Tensor, b: Tensor, m: Tensor, v: Tensor) -> Tensor:
    return F.batch_norm(F.conv2d(x, w, None, 1, 1), m, v, g, b)


def shifted_by(amount: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x + amount


def weights() -> list[Tensor]:
    return [torch.randn(16, 3, 3, 3), *(torch.rand(16) + 0.5 for _ in range(4))]


IMAGE = torch.randn(1, 3, 8, 8)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    directory = tmp_path_factory.mktemp("library")
    region = trace("normed", normed, [IMAGE], weights())
    return directory / LIBRARY, build(program_of(region), directory, quiet)


def test_one_library_serves_several_sets_of_weights(built: tuple[Path, dict[str, object]]) -> None:
    library = TvmLibrary(*built)
    for which in ("first", "second"):
        own = weights()
        function = library.bind(
            "normed", [w.numpy() for w in own], [f"{which}.{i}" for i in range(5)]
        )
        (result,) = function(from_external(IMAGE))
        torch.testing.assert_close(
            torch.from_numpy(to_numpy(result).copy()), normed(IMAGE, *own), rtol=1e-5, atol=1e-5
        )


def test_batch_norm_becomes_a_scale_and_a_shift(built: tuple[Path, dict[str, object]]) -> None:
    regions = built[1]["regions"]
    assert isinstance(regions, dict)
    steps = [recipe["steps"][0][0] for recipe in regions["normed"]["packed"]]
    assert sorted(steps) == ["bn_scale", "bn_shift", "reshape"]


def test_a_misaligned_view_is_copied(built: tuple[Path, dict[str, object]]) -> None:
    storage = torch.zeros(IMAGE.numel() + 1)
    view = storage[1:].view(IMAGE.shape).copy_(IMAGE)
    assert view.data_ptr() % ALIGNMENT
    own = weights()
    function = TvmLibrary(*built).bind("normed", [w.numpy() for w in own], list("abcde"))
    (result,) = function(from_external(view))
    numpy.testing.assert_allclose(to_numpy(result), normed(view, *own), rtol=1e-5, atol=1e-5)


def test_a_report_that_does_not_count(built: tuple[Path, dict[str, Any]]) -> None:
    """Artifacts of earlier versions do not say how many parameters and results regions have."""
    path, report = built
    entry = {**report["regions"]["normed"]}
    del entry["params"], entry["results"]
    own = weights()
    library = TvmLibrary(path, {**report, "regions": {"normed": entry}})
    (result,) = library.bind("normed", [w.numpy() for w in own], list("abcde"))(
        from_external(IMAGE)
    )
    numpy.testing.assert_allclose(to_numpy(result), normed(IMAGE, *own), rtol=1e-5, atol=1e-5)


def test_a_wrong_number_of_weights_is_refused(built: tuple[Path, dict[str, object]]) -> None:
    with pytest.raises(InputError, match="takes 5 weights"):
        TvmLibrary(*built).bind("normed", [], [])


def test_a_missing_library_is_reported(
    built: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        TvmLibrary(tmp_path / LIBRARY, built[1])


def test_a_damaged_library_is_reported(
    built: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    (tmp_path / LIBRARY).write_bytes(built[0].read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        TvmLibrary(tmp_path / LIBRARY, built[1])


def test_a_library_compiled_again_in_place_is_loaded_anew(tmp_path: Path) -> None:
    results = []
    kept = []
    for amount in (1.0, 2.0):
        region = trace("shift", shifted_by(amount), [torch.zeros(4)])
        library = TvmLibrary(tmp_path / LIBRARY, build(program_of(region), tmp_path, quiet))
        kept.append(library)
        (result,) = library.bind("shift", [], [])(from_external(torch.zeros(4)))
        results.append(float(to_numpy(result)[0]))
    assert results == [1.0, 2.0]


def test_features_that_this_machine_lacks_are_named(built: tuple[Path, dict[str, object]]) -> None:
    target = built[1]["target"]
    assert isinstance(target, dict)
    report = {**built[1], "target": {**target, "features": ["warp_drive"]}}
    with pytest.raises(ArtifactError, match="warp_drive"):
        TvmLibrary(built[0], report)


def test_an_operation_that_tvm_lacks_is_a_tool_error(tmp_path: Path) -> None:
    region = trace("complex_one", torch.fft.fft, [torch.randn(8)])
    with pytest.raises(ToolError, match="complex_one") as caught:
        build(program_of(region), tmp_path, quiet)
    assert caught.value.log
    assert "--fallback eager" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_tvm_lacks_is_left_to_torch_if_that_is_wanted(tmp_path: Path) -> None:
    closed = trace("closed", torch.exp, [torch.randn(8)])
    program = program_of(trace("complex_one", torch.fft.fft, [torch.randn(8)]), closed)
    report = build(program, tmp_path, quiet, fallback=True)
    assert list(report["regions"]) == ["closed"]
    assert report["torch"]["complex_one"].startswith("TVM cannot compile it: ")


def test_a_region_with_open_extents_is_left_to_torch(tmp_path: Path) -> None:
    kind = TensorType("f32", ("s0", 4))
    x, y = Value("x", kind), Value("y", kind)
    total = Value("total", TensorType("f32", (4,)))
    ops = (
        TensorOp("aten.exp.default", (x,), (), (y,)),
        TensorOp(
            "aten.sum.dim_IntList", (y, (0,)), (("dtype", Symbolic("dtype", "f32")),), (total,)
        ),
    )
    region = Region("open", (x,), (), ops, (y, total))
    closed = trace("closed", torch.exp, [torch.randn(8)])
    program = program_of(closed)
    program.regions["open"] = region
    report = build(program, tmp_path, quiet)
    assert report["torch"] == {"open": "some of its sizes are known at run time only"}
    assert list(report["regions"]) == ["closed"]


def test_a_region_that_makes_a_tensor_of_no_elements_is_left_to_torch(tmp_path: Path) -> None:
    class Kept(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.empty(0, 4)
            if x.sum() > 0:
                rows = torch.cat([rows, x])
            return rows

    program = dyncc.compile(Kept(), (torch.ones(1, 4),), tmp_path / "m.dyncc", "tvm")
    assert program(torch.ones(1, 4)).shape == (1, 4)
    assert dyncc.load(tmp_path / "m.dyncc")(-torch.ones(1, 4)).shape == (0, 4)
    assert "one of its tensors has no elements" in program.manifest["report"]["torch"].values()
