"""``--format onnx``: one ONNX model with the control flow as If and Loop."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import onnx
import onnxruntime
from onnx import checker, numpy_helper

from dyncc.core.errors import ConfigError, ToolError
from dyncc.export.onnx.model import whole_model
from dyncc.runtime.alignment import ALIGNMENT
from dyncc.runtime.artifact import Contents
from dyncc.runtime.onnx_library import FAILURES

if TYPE_CHECKING:
    # Not at run time, since it loads TVM.
    from dyncc.export.request import Progress

#: If all weights together have more bytes, they stand in a file of their own: one file of Protobuf
#: holds no more than 2 GB.
LARGE = 1 << 30


def export(artifact: Contents, output: Path, progress: Progress) -> None:
    """Write the model; an older one at `output` is replaced only by a complete one.

    Weights of more than `LARGE` bytes in all stand in a file beside it, ``NAME.weights``.

    Raises
    ------
    UnsupportedError
        With everything that a model cannot have.
    ToolError
        If ONNX or ONNX Runtime does not take the model.
    """
    if output.is_dir():
        raise ConfigError(f"{output} is a directory", hint="Give a file with -o.")
    program, weights = artifact.program, artifact.weights
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
            unfinished = Path(name) / output.name
            store = _Store(weights, unfinished.with_name(f"{output.name}.weights"))
            model = whole_model(program, store.initializer, progress)
            unfinished.write_bytes(model.SerializeToString(deterministic=True))
            progress("checking", len(program.regions), len(program.regions) + 1)
            _check(unfinished)
            if store.file.exists():
                store.file.replace(output.with_name(store.file.name))
            unfinished.replace(output)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error


class _Store:
    """Initialisers with the content of weights."""

    def __init__(self, weights: Mapping[str, numpy.ndarray], file: Path) -> None:
        self._weights = weights
        self._outside = sum(array.nbytes for array in weights.values()) > LARGE
        self.file = file

    def initializer(self, weight: str, name: str) -> onnx.TensorProto:
        """An initialiser called `name`."""
        array = self._weights[weight]
        if not self._outside or not array.nbytes:
            return numpy_helper.from_array(array, name)
        with self.file.open("ab") as file:
            file.write(bytes(-file.tell() % ALIGNMENT))
            offset = file.tell()
            file.write(numpy.ascontiguousarray(array).tobytes())
        found = onnx.TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        entries = {"location": self.file.name, "offset": offset, "length": array.nbytes}
        for key, value in entries.items():
            found.external_data.add(key=key, value=str(value))
        return found


def _check(file: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        checker.check_model(file, full_check=True)
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except (checker.ValidationError, onnx.shape_inference.InferenceError, *FAILURES) as error:
        raise ToolError(
            f"ONNX Runtime {onnxruntime.__version__} does not take the model",
            hint="Export a library with --format so instead, and report this with the network.",
            log=str(error)[-2000:],
        ) from error
