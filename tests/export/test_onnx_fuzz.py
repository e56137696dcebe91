"""ONNX models of random programs agree with their artifacts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from export.onnx_models import Session, agree, export, parts, result_tree
from fuzz.test_fuzz import drawn

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.modelfile import load_model
from dyncc.runtime.onnx_library import FAILURES


def check(source: str, path: Path, counts: Counter[str]) -> None:
    """Compile and export a program, and compare it on inputs of its own."""
    path.write_text(source)
    model = load_model(str(path))
    artifact = path.with_suffix(".dyncc")
    try:
        program = dyncc.compile(
            model.module, model.example_inputs() or (), output=artifact, backend="eager"
        )
        session = Session(export(artifact))
    except UnsupportedError as refusal:
        counts.update(problem.code for problem in refusal.diagnostics)
        return
    counts["exported"] += 1
    for arguments in model.coverage_inputs() or ():
        try:
            expected = program(*arguments)
        except Exception:  # noqa: BLE001  # whatever the program raises
            with pytest.raises(FAILURES):
                session(*arguments)
            counts["raised"] += 1
        else:
            agree(session(*arguments), list(parts(result_tree(program), expected)), 1e-4)
            counts["returned"] += 1


@pytest.mark.parametrize(
    ("seed", "least"),
    [(4, 3), *(pytest.param(seed, 20, marks=pytest.mark.slow) for seed in (5, 7))],
)
def test_random_programs(seed: int, least: int, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for number, source in enumerate(drawn(seed)):
        check(source, tmp_path / f"net{seed}_{number}.py", counts)
        if counts["exported"] == least:
            break
    assert counts["exported"] > 1
    assert counts["returned"] > 2
