r"""MicroSeer: topics of papers from who cites whom, learnt by STDP on the core.

The graph has 84 papers of 6 topics (cut from CiteSeer; data of prasannadate/sgnn-superneuro,
BSD-3-Clause). The topics of 17 papers are known, those of 67 are asked for.

Papers and topics are neurons, as in the spiking graph networks of Cong et al., "Semi-Supervised
Graph Structure Learning on Neuromorphic Computers" (ICONS 2022), with which NeuroCoreX was shown.
Citations are synapses in both directions, each paper with a known topic has one to its topic, and
each other paper has one of weight 0 to every topic, which learns. A paper is asked for by a spike.
From there a wave runs through the graph, a citation in each step; a paper fires once. Where it
meets a paper with a known topic, that topic fires a step later, and STDP strengthens the synapse
from the asked paper to it, for a known paper :math:`k` citations away by

.. math:: \Delta w = q^k.

Unlike in the networks of Cong et al., topics do not excite papers, and gains fall by one factor.

The answer is the topic with the strongest synapse; topics that are equal are taken in the order of
how many papers are known of them. Weights start anew for each paper.

:math:`q` is chosen on the known papers only, each asked for as if its own topic were not known:
the smallest, which lets near papers count most, among those with the most right answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import networkx
import numpy
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelPropagation

import dyncc_models
from dyncc.spiking import LagStdp, Network, one_to_one, plots
from dyncc_models.spiking.examples.result import Result, table
from dyncc_models.spiking.examples.running import running

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(dyncc_models.__file__).parent / "data" / "microseer"
#: Steps that the core looks back; the wave comes no farther.
LAGS = 8
DECAYS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Graph:
    """A citation graph.

    Attributes
    ----------
    topics
        Names, those with the most known papers first.
    labels
        Topic of each paper, int64 of shape (papers,).
    cites
        Whether two papers are linked, bool, symmetric, shape (papers, papers).
    known, asked
        Papers whose topic is known, and the others.
    """

    topics: tuple[str, ...]
    labels: NDArray[numpy.int64]
    cites: NDArray[numpy.bool_]
    known: tuple[int, ...]
    asked: tuple[int, ...]


@cache
def graph() -> Graph:
    """MicroSeer with its split."""
    labels = dict(_rows("labels.tsv"))
    index = {paper: number for number, paper in enumerate(labels)}
    _, *parts = (FOLDER / "split.txt").read_text(encoding="utf-8").splitlines()
    known, asked = (tuple(index[name.strip()] for name in part.split(",")) for part in parts)
    names = list(labels.values())
    count = Counter(names[paper] for paper in known)
    topics = tuple(sorted(set(names), key=lambda topic: (-count[topic], topic)))
    cites = numpy.zeros((len(labels), len(labels)), bool)
    for first, second in _rows("cites.tsv"):
        if first != second:
            cites[index[first], index[second]] = cites[index[second], index[first]] = True
    return Graph(topics, numpy.array([topics.index(name) for name in names]), cites, known, asked)


def _rows(name: str) -> Iterator[tuple[str, str]]:
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        first, second = line.split("\t")
        yield first, second


def network(known: Sequence[int], decay: float) -> Network:
    """The graph as a network.

    Parameters
    ----------
    known
        Papers whose topic is known.
    decay
        :math:`q`.
    """
    found = graph()
    papers, topics = len(found.labels), len(found.topics)
    to_topic = numpy.zeros((papers, topics))
    to_topic[list(known), found.labels[list(known)]] = 1.0
    learns = numpy.ones((papers, topics), bool)
    learns[list(known)] = False

    made = Network(dt=1.0)
    made.input("asked", papers)
    # Neurons forget at once; papers fire once in a run.
    forgets = {"threshold": 0.5, "leak": numpy.inf}
    made.population("papers", "superneuromat", papers, refractory=255, **forgets)
    made.population("topics", "superneuromat", topics, **forgets)
    made.connect("asked", "papers", one_to_one(1.0))
    made.connect("papers", "papers", found.cites.astype(float), delay=1)
    made.connect("papers", "topics", to_topic, plastic=learns, delay=1)
    made.output("papers", "papers")
    made.output("topics", "topics")
    gains = tuple(decay**lag for lag in range(LAGS))
    made.learn(LagStdp(w_min=0.0, w_max=1.0, apos=tuple(gains), aneg=()))
    return made


def classify(
    papers: Sequence[int], known: Sequence[int], decay: float, engine: str = "twin"
) -> list[int]:
    """Topics of papers.

    Parameters
    ----------
    papers
        Asked for.
    known
        Papers whose topic is known.
    decay
        :math:`q`.
    engine
        See `dyncc.spiking.open_core`.
    """
    answers = []
    with running(network(known, decay), engine, weight_bits=8) as (program, core):
        for paper in papers:
            core.program(program.image)
            spikes = numpy.zeros((LAGS + 2, len(graph().labels)), bool)
            spikes[0, paper] = True
            program.run_on(core, asked=spikes)
            learnt = program.weights_of("papers", "topics", core.weights())
            answers.append(int(learnt[paper].argmax()))
    return answers


@cache
def choose_decay() -> tuple[float, dict[float, int]]:
    """:math:`q` by the known papers alone, and the right answers of each candidate."""
    found = graph()
    right = dict.fromkeys(DECAYS, 0)
    for decay in DECAYS:
        for paper in found.known:
            others = [other for other in found.known if other != paper]
            right[decay] += classify([paper], others, decay) == [found.labels[paper]]
    return min(DECAYS, key=lambda decay: (-right[decay], decay)), right


def baselines() -> list[tuple[str, int]]:
    """Right answers on the asked papers without spikes.

    The topic of most known papers; that of most asked papers, which nobody could know; the nearest
    known paper; and label propagation (Zhu and Ghahramani, CMU-CALD-02-107, 2002).
    """
    found = graph()
    known, asked = list(found.known), list(found.asked)
    truth = found.labels[asked]
    hops = networkx.floyd_warshall_numpy(networkx.from_numpy_array(found.cites))
    nearest = KNeighborsClassifier(1, metric="precomputed")
    nearest.fit(hops[numpy.ix_(known, known)], found.labels[known])
    spread = LabelPropagation(kernel=lambda _first, _second: found.cites.astype(float))
    labels = numpy.full(len(found.labels), -1)
    labels[known] = found.labels[known]
    spread.fit(numpy.arange(len(labels))[:, None], labels)
    answers = {
        "majority class of the asked papers": numpy.bincount(truth).argmax(),
        "majority class of the known papers": 0,
        "nearest known paper": nearest.predict(hops[numpy.ix_(asked, known)]),
        "label propagation": spread.transduction_[asked],
    }
    return [(name, int((answer == truth).sum())) for name, answer in answers.items()]


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Choose the parameter on the known papers, and answer for the others.

    Parameters
    ----------
    engine
        What answers, see `dyncc.spiking.open_core`; the parameter is chosen on the twin.
    quick
        Every 20th paper only.
    """
    found = graph()
    decay, right = choose_decay()
    asked = found.asked[:: 20 if quick else 1]
    answers = classify(asked, found.known, decay, engine)
    correct = sum(a == found.labels[paper] for a, paper in zip(answers, asked, strict=True))
    figures: dict[str, float | str] = {
        "papers": len(asked),
        "correct": int(correct),
        "accuracy": correct / len(asked),
        "decay": decay,
        "known_correct": right[decay],
    }
    rows: list[tuple[object, ...]] = [
        (f"STDP on the core, q = {decay:g}", int(correct), f"{correct / len(asked):.1%}")
    ]
    for name, number in [] if quick else baselines():
        figures[name] = number
        rows.append((name, number, f"{number / len(asked):.1%}"))
    unknown = set(range(len(found.topics))) - set(found.labels[list(found.known)].tolist())
    never = sum(int(found.labels[paper]) in unknown for paper in asked)
    names = ", ".join(found.topics[topic] for topic in sorted(unknown))
    text = (
        f"{len(asked)} papers are asked for, {len(found.known)} are known. q is the smallest of "
        f"{', '.join(map(str, DECAYS))} with the most right answers on the known papers, "
        f"{right[decay]} of {len(found.known)}. {never} of the asked papers are of a topic without "
        f"a known paper ({names}), which no method can name.\n\n"
        f"{table(('Method', 'Right', 'Accuracy'), rows)}"
    )
    return Result(figures, text, lambda: plot(decay))


def plot(decay: float) -> Figure:
    """The wave of one paper."""
    found = graph()
    spikes = numpy.zeros((LAGS + 2, len(found.labels)), bool)
    spikes[0, found.asked[0]] = True
    with running(network(found.known, decay), "twin", weight_bits=8) as (program, core):
        return plots.raster(program.run_on(core, asked=spikes))
