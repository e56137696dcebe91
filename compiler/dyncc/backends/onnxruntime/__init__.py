"""The ONNX Runtime back end: each region becomes an ONNX model.

`build` is its entry point; `dyncc.runtime.onnx_library` loads what it writes. `region_model` is the
translation of one region.
"""

from __future__ import annotations

from dyncc.backends.onnxruntime.build import build
from dyncc.backends.onnxruntime.exporting import OPSET, region_model

__all__ = ["OPSET", "build", "region_model"]
