"""The TVM back end: regions become one shared library of CPU code.

`build` is its entry point; `dyncc.runtime.tvm_library` loads what it writes.
"""

from __future__ import annotations

from dyncc.backends.tvm.build import LIBRARY, build

__all__ = ["LIBRARY", "build"]
