"""From rounds to ratios.

Peers are measured in turns, so that in each round all of them see the machine in about the same
state. What is compared is therefore a pair of times of one round: the ratio of each round, and of
all these ratios the median, the quartiles, and an interval of confidence for the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

#: Resamples, and the share of them that lies in the interval.
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times as long as another peer one takes.

    Attributes
    ----------
    median
        Of the ratios of all rounds.
    quarters
        A quarter of the ratios lies below the first, a quarter above the second.
    interval
        Holds the median of more rounds of this kind with a confidence of 95 %, by resampling.
    rounds
        Number of ratios.
    """

    median: float
    quarters: tuple[float, float]
    interval: tuple[float, float]
    rounds: int

    def to_json(self) -> dict[str, Any]:
        """As the record has it."""
        return {
            "median": round(self.median, 4),
            "quarters": [round(value, 4) for value in self.quarters],
            "interval": [round(value, 4) for value in self.interval],
            "rounds": self.rounds,
        }


def compare(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """Pair the rounds of two peers.

    Parameters
    ----------
    times, others
        Times of each round, of the same rounds; `times` is divided by `others`.
    """
    ratios = numpy.asarray(times, float) / numpy.asarray(others, float)
    generator = numpy.random.default_rng(0)
    samples = generator.choice(ratios, (RESAMPLES, len(ratios)))
    tail = (1 - CONFIDENCE) / 2
    low, high = numpy.quantile(numpy.median(samples, axis=1), (tail, 1 - tail))
    first, third = numpy.quantile(ratios, (0.25, 0.75))
    return Ratio(
        float(numpy.median(ratios)),
        (float(first), float(third)),
        (float(low), float(high)),
        len(ratios),
    )


def weighted(rounds: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """The mean time of an input in each round, by the frequency of the paths.

    Parameters
    ----------
    rounds
        For each path the times of its rounds.
    weights
        Of the paths.
    """
    total = sum(weights)
    mean = numpy.average(numpy.asarray(rounds, float), axis=0, weights=numpy.divide(weights, total))
    return [float(time) for time in mean]


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return float(numpy.exp(numpy.mean(numpy.log(values))))


def times_of(subject: Mapping[str, Any], peer: Mapping[str, Any], batch: int) -> list[float]:
    """The times of a peer's rounds for a batch, over all paths, in seconds."""
    chosen = [index for index, case in enumerate(subject["cases"]) if case["batch"] == batch]
    weights = [subject["cases"][index]["weight"] for index in chosen]
    return [time / 1e9 for time in weighted([peer["rounds"][i] for i in chosen], weights)]


def running(subject: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The peers of a subject that were timed."""
    return [peer for peer in subject["peers"] if peer["status"] == "ok"]


def batches_of(subject: Mapping[str, Any]) -> list[int]:
    """The batch sizes of a subject, in order."""
    return sorted({case["batch"] for case in subject["cases"]})


def is_ours(name: str) -> bool:
    """Whether a peer is dyncc."""
    return name.startswith("dyncc ")


def ratios(subject: Mapping[str, Any], batch: int, ours: str) -> dict[str, Ratio]:
    """For each other peer that was timed, how many times as long it takes as `ours`."""
    found = {peer["name"]: times_of(subject, peer, batch) for peer in running(subject)}
    own = found.pop(ours, None)
    return {} if own is None else {name: compare(times, own) for name, times in found.items()}


def best_peer(found: Mapping[str, Ratio]) -> str | None:
    """The fastest of others than eager PyTorch and dyncc, or None if there is none."""
    names = [name for name in found if name != "eager" and not is_ours(name)]
    return min(names, key=lambda name: found[name].median, default=None)


def summary(subject: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Medians of a subject's peers, and how each compares with dyncc, for each batch size.

    Returns
    -------
    list of dict
        ``batch``, ``peer``, ``median_seconds`` of a batch, and ``ratios``: for each back end of
        dyncc the `Ratio` of the peer's time to its.
    """
    found = []
    for batch in batches_of(subject):
        compared = {
            peer["name"]: ratios(subject, batch, peer["name"])
            for peer in running(subject)
            if is_ours(peer["name"])
        }
        for peer in running(subject):
            name = peer["name"]
            found.append(
                {
                    "batch": batch,
                    "peer": name,
                    "median_seconds": float(f"{numpy.median(times_of(subject, peer, batch)):.4g}"),
                    "ratios": {
                        ours: table[name].to_json()
                        for ours, table in compared.items()
                        if name in table
                    },
                }
            )
    return found
