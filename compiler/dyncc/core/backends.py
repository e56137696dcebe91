"""The back ends that a user can choose."""

from __future__ import annotations

AUTO = "auto"
EAGER = "eager"

#: What runs the regions, by the name that ``--backend`` takes; the first is the default.
BACKENDS: dict[str, str] = {
    "tvm": "machine code by TVM",
    "onnxruntime": "ONNX models in ONNX Runtime (pip install 'dyncc[onnx]')",
    EAGER: "PyTorch, one operation after the other",
    AUTO: "each region measured in those that are installed, and the fastest kept",
}

#: Packages that a back end compiles with.
PACKAGES: dict[str, tuple[str, ...]] = {
    "tvm": ("tvm",),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    EAGER: ("torch",),
}

#: Back ends that compile regions.
COMPILING = tuple(name for name in PACKAGES if name != EAGER)
