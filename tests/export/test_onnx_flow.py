"""Control flow as If and Loop: random programs give what they give in Python, or fail like it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from export.exported import quiet
from export.onnx_models import Session
from fuzz.drawing import drawing_from
from hypothesis import HealthCheck, Phase, given, settings
from passes.random_programs import programs
from passes.test_meaning import ENOUGH, INPUTS, exact

from dyncc.backends import onnxruntime as backend
from dyncc.backends.eager import EagerRegions
from dyncc.core.errors import UnsupportedError
from dyncc.export.onnx import model
from dyncc.ir.hcfg import Hcfg
from dyncc.proof.trace import follow, natural
from dyncc.runtime.onnx_library import FAILURES
from dyncc.runtime.program import Program

X = torch.tensor([1.0, -2.0])


@pytest.fixture(autouse=True)
def _regions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "region_model", functools.cache(backend.region_model))


def compare(program: Hcfg, folder: Path, counts: Counter[str]) -> None:
    try:
        made = model.whole_model(program, lambda *_: onnx.TensorProto(), quiet)
    except UnsupportedError as refusal:
        counts.update({problem.code for problem in refusal.diagnostics})
        counts["refused"] += 1
        return
    counts["exported"] += 1
    file = folder / "random.onnx"
    file.write_bytes(made.SerializeToString())
    onnx.checker.check_model(file, full_check=True)
    session = Session(file)
    runnable = Program(program, EagerRegions(program), {}, {})
    for number, truth, real in INPUTS:
        trace = follow(runnable, (X, number, truth, real), {}, natural, ENOUGH)
        if trace.cut:
            continue
        try:
            found = session(X.numpy(), number, truth, real)
        except FAILURES as error:
            counts["raised"] += 1
            # Of a block that raises in the end nothing else is carried out.
            assert trace.error is not None or "OverflowError" in str(error), error
            continue
        assert trace.error is None, trace.error
        counts["returned"] += 1
        expected = trace.result if isinstance(trace.result, tuple) else (trace.result,)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert alike(one, other), (one, other)


def alike(found: numpy.ndarray, expected: Any) -> bool:
    """Numbers are equal to the bit; tensors to rounding, as sums are taken in any order."""
    if isinstance(expected, numpy.ndarray | torch.Tensor):
        whole = numpy.asarray(expected)
        return (found.dtype, found.shape) == (whole.dtype, whole.shape) and numpy.allclose(
            found, whole, rtol=1e-4, equal_nan=True
        )
    return bool(exact(found.item()) == exact(expected))


def test_random_graphs(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()

    @settings(
        max_examples=250,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        backend=drawing_from(1),
    )
    @given(programs())
    def run(program: Hcfg) -> None:
        compare(program, tmp_path, counts)

    checked: Callable[[], None] = run
    checked()
    # Loops of random graphs often have two ways in; numbers like 10**30 are refused.
    assert counts["exported"] > 20
    assert counts["returned"] > 30
    assert counts["raised"] > 5
