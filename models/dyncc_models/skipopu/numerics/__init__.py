"""Integer twins of SkipOPU's arithmetic: the same bits as the hardware.

Formats and rules are those of `dyncc.arch.skipopu.formats`. Scalar functions are compiled; an F25
is its 25-bit code in an int64, arrays of them are int32.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba
from numba import config

from dyncc.arch import skipopu


def _cache_folder() -> Path:
    """Where compiled functions are kept: by all sources, since constants are compiled into them."""
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in (Path(skipopu.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "dyncc" / f"numba-{digest.hexdigest()[:16]}"


# Before the first function is compiled.
if "NUMBA_CACHE_DIR" not in os.environ:
    config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]  # made at run time
