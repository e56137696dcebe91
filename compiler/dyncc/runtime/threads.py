"""How many threads compiled regions use, whichever back end compiled them."""

from __future__ import annotations

import os


def thread_count() -> int:
    """Return what ``DYNCC_NUM_THREADS`` or ``TVM_NUM_THREADS`` say, else the usable CPUs."""
    for variable in ("DYNCC_NUM_THREADS", "TVM_NUM_THREADS"):
        text = os.environ.get(variable, "")
        if text.isdigit() and int(text) > 0:
            return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
