"""Keys and values in memory and on chip, from routes that were taken."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import NO_SLOT
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.history import History
from dyncc_sim.skipopu.outcomes import slots_read

#: Hits and reads of slots, by layers whose attention the token skipped just before; `FIRST` for
#: layer 0, since what is on chip then is another token's.
Hits = dict[int, tuple[int, int]]
FIRST = -1


def slots_taken(routes: NDArray[numpy.bool_], policy: KvPolicy) -> NDArray[numpy.int64]:
    """Slots that are taken after each token.

    Parameters
    ----------
    routes
        Bool of shape (tokens, layers, 2).

    Returns
    -------
    int64 of shape (tokens,)
    """
    tokens, layers, _ = routes.shape
    dense = policy is KvPolicy.DENSE
    written = numpy.full(tokens, layers) if dense else routes[:, :, 0].sum(1)
    found: NDArray[numpy.int64] = written.cumsum()
    return found


def hits(routes: NDArray[numpy.bool_], policy: KvPolicy, places: int) -> Hits:
    """Reads of the history buffer while a text is worked on token by token.

    Parameters
    ----------
    routes
        Bool of shape (tokens, layers, 2); attention of layer 0 always runs.
    places
        Slots that fit the buffer.

    Returns
    -------
    dict
        See `Hits`: slots that attention found on chip, and slots that it read. The token's own
        slot, which was just made, is on chip if it has a place.
    """
    ran = routes[:, :, 0].T
    own = numpy.arange(ran.size).reshape(ran.shape)
    table, history = slots_read(own, ran, policy.value), History(places)
    found: defaultdict[int, Any] = defaultdict(lambda: numpy.zeros(2, numpy.int64))
    for token in range(len(routes)):
        skipped = 0
        for layer, runs in enumerate(ran[:, token]):
            if policy is KvPolicy.DENSE or runs:
                history.keep(token, int(table[layer, token]))
            if not runs:
                skipped += 1
                continue
            slots = table[layer, : token + 1]
            fetched = history.fetch(slots)
            read = int((slots != NO_SLOT).sum())
            found[skipped if layer else FIRST] += (read - int(fetched.sum()), read)
            skipped = 0
    return {length: (int(on_chip), int(read)) for length, (on_chip, read) in sorted(found.items())}


def persistent_routes(
    layers: int, tokens: int, skipped: float, run: float, seed: int
) -> NDArray[numpy.bool_]:
    """Random routes in which tokens skip attention of several layers in a row.

    A Markov chain from layer to layer: tokens skip a share `skipped` of layers, in runs of `run`
    layers on average.

    Returns
    -------
    bool of shape (tokens, layers, 2)
        MLPs all run.

    Raises
    ------
    ConfigError
        If runs are shorter than independent choices make them, or there are none.
    """
    if not 0 < skipped < 1 or run * (1 - skipped) < 1 - 1e-9:
        raise ConfigError(
            f"a share of {skipped:g} cannot be skipped in runs of {run:g} layers: they are "
            f"{1 / max(1e-9, 1 - skipped):.3g} layers on average if choices are independent"
        )
    stop = 1 / run
    start = stop * skipped / (1 - skipped)
    draw = numpy.random.default_rng(seed).random((layers, tokens))
    routes = numpy.ones((tokens, layers, 2), bool)
    skips = draw[0] < skipped
    for layer in range(1, layers):
        skips = numpy.where(skips, draw[layer] >= stop, draw[layer] < start)
        routes[:, layer, 0] = ~skips
    return routes
