"""Which variants of regions for several samples are worth a call, by what they take.

A variant pays if samples take less time in it than in smaller variants and alone, as a group is cut
at run time. Convolutions that keep a machine busy with one sample gain nothing with two, and what
does not fit into a cache any more loses.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from dyncc.backends.measuring import Sample, bound_call, call_times
from dyncc.ir.hcfg import Region
from dyncc.runtime.mixed import Home
from dyncc.runtime.stacks import is_joined

#: What a call costs beside its region, in seconds: arguments are put together, results taken apart.
CALL = 5e-6
#: A variant that gains less than this part of the time is none that was measured to gain.
MARGIN = 0.03


def sizes_that_pay(times: Mapping[int, float]) -> list[int]:
    """The sizes whose variants pay.

    Parameters
    ----------
    times
        By number of samples, seconds of a call of the region; 1 is among them.

    Returns
    -------
    list
        In ascending order, without 1.
    """
    kept = [1]
    for size in sorted(times.keys() - {1}):
        left, otherwise = size, 0.0
        for part in reversed(kept):
            otherwise += (left // part) * (times[part] + CALL)
            left %= part
        if times[size] + CALL < (1 - MARGIN) * otherwise:
            kept.append(size)
    return kept[1:]


def variant_times(
    region: Region,
    variants: Mapping[int, str],
    sample: Sample,
    alone: Home,
    several: Home,
    weights: Mapping[str, numpy.ndarray],
    seconds: float,
) -> dict[int, float]:
    """The least time of a call of a region with one sample and of each of its variants.

    Parameters
    ----------
    region, variants
        The region, and the names of its variants by number of samples.
    sample
        A call of the region.
    alone, several
        The libraries that have the region, and its variants.
    weights
        Of the network, by name.
    seconds
        How long the comparison may take; see `dyncc.backends.measuring.call_times`.
    """
    calls = {"1": bound_call(region.name, alone, sample, sample.arguments, weights)}
    for size, name in variants.items():
        arguments = _stacked(sample.arguments, size)
        calls[str(size)] = bound_call(name, several, sample, arguments, weights)
    return {int(size): time for size, time in call_times(calls, seconds).items()}


def _stacked(arguments: list[numpy.ndarray], size: int) -> list[numpy.ndarray]:
    """The arguments of a call, as often as there are samples."""
    return [
        numpy.repeat(array if is_joined(array.shape) else array[None], size, axis=0)
        for array in arguments
    ]
