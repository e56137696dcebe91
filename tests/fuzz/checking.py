"""Compiles a program from source and proves it against eager PyTorch."""

from __future__ import annotations

import itertools
from pathlib import Path

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.modelfile import load_model
from dyncc.proof import Proof, prove

_NUMBERS = itertools.count()


def check(source: str, folder: Path, backend: str = "eager") -> Proof | UnsupportedError:
    """Write, compile and prove a program; or give the diagnostics with which it is refused.

    Raises
    ------
    MismatchError
        If artifact and source differ on any path.
    """
    # Each in a file of its own: what Python and the compiler know of a file stays true.
    path = folder / f"net{next(_NUMBERS)}.py"
    path.write_text(source)
    model = load_model(str(path))
    inputs = model.coverage_inputs()
    assert inputs is not None
    try:
        program = dyncc.compile(model.module, model.example_inputs() or (), backend=backend)
    except UnsupportedError as refusal:
        return refusal
    return prove(model.module, program, inputs)
