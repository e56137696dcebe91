"""The back ends that a user can choose."""

from __future__ import annotations

#: What runs the regions, by the name that ``--backend`` takes; the first is the default.
BACKENDS: dict[str, str] = {
    "tvm": "machine code by TVM",
    "onnxruntime": "ONNX models in ONNX Runtime (pip install 'dyncc[onnx]')",
    "eager": "PyTorch, one operation after the other",
}
