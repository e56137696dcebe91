"""Timing of one thing at a time.

The thread pools of torch and TVM keep spinning for a while after their last task. Two of them that
take turns call by call slow each other down, so each side is measured alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def median_seconds(
    task: Callable[[], object], repeats: int = 5, warm_ups: int = 2, settle: float = 0.3
) -> float:
    """Median wall time of `task` in seconds.

    Parameters
    ----------
    settle
        Seconds to wait first, for other thread pools to fall asleep.
    """
    time.sleep(settle)
    for _ in range(warm_ups):
        task()
    return statistics.median(seconds_of(task) for _ in range(repeats))


def seconds_of(task: Callable[[], object]) -> float:
    """Wall time of one call in seconds."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def times_within(task: Callable[[], object], seconds: float) -> list[float]:
    """Wall times in seconds of calls that are begun within some seconds; at least one."""
    end = time.perf_counter() + seconds
    times = [seconds_of(task)]
    while time.perf_counter() < end:
        times.append(seconds_of(task))
    return times
