"""Delivery: an artifact as something that runs without Python.

One module for each format: `shared_library` (``so``), `source_tree` (``source``) and `onnx`.
"""

from __future__ import annotations
