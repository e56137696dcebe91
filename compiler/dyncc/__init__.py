"""dyncc compiles neural networks whose computation depends on their input.

``compile`` turns a PyTorch module with ordinary Python control flow into static sub-networks and a
host program; ``load`` reads what it wrote. Importing this package is cheap: neither torch nor TVM
is loaded before one of them is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.driver import compile
    from dyncc.runtime.artifact import load

__version__ = "0.1.0"

__all__ = ["__version__", "compile", "load"]


def __getattr__(name: str) -> Any:
    if name == "compile":
        from dyncc.driver import compile

        return compile
    if name == "load":
        from dyncc.runtime.artifact import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
