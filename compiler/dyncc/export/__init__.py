"""Delivery: an artifact as something that runs without Python.

One module for each format: `shared_library` (``so``) and `source_tree` (``source``).
"""

from __future__ import annotations
