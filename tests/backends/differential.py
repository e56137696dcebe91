"""Builds regions with a back end and compares each with eager torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
from backends.tracing import program_of, trace
from torch import Tensor

from dyncc.backends.aten import run_region
from dyncc.runtime.artifact import open_library


@dataclass(frozen=True)
class Case:
    """A torch function with its activations and weights."""

    function: Callable[..., Any]
    params: Sequence[Tensor]
    weights: Sequence[Tensor] = ()


def quiet(step: str, index: int, count: int) -> None:
    del step, index, count


def compare(
    cases: Mapping[str, Case],
    directory: Path,
    rtol: float = 1e-5,
    atol: float = 2e-6,
    backend: str = "tvm",
) -> dict[str, Any]:
    """Build all cases as one program, run them, and return the build's report."""
    regions = {
        name: trace(name, case.function, case.params, case.weights) for name, case in cases.items()
    }
    build = import_module(f"dyncc.backends.{backend}").build
    report: dict[str, Any] = build(program_of(*regions.values()), directory, quiet)
    library = open_library(backend, directory, report)
    from_external, to_numpy = library.from_external, library.to_numpy
    for name, case in cases.items():
        names = [f"{name}.{index}" for index in range(len(case.weights))]
        function = library.bind(name, [weight.numpy() for weight in case.weights], names)
        found = [to_numpy(result) for result in function(*map(from_external, case.params))]
        with torch.no_grad():
            expected = run_region(regions[name], case.params, case.weights)
        assert len(found) == len(expected)
        for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            label = f"{name}, result {index}"
            assert ours.dtype == theirs.numpy().dtype, label
            numpy.testing.assert_allclose(
                ours, theirs.numpy(), rtol=rtol, atol=atol, equal_nan=True, err_msg=label
            )
            assert ours.shape == tuple(theirs.shape), label
    return report
