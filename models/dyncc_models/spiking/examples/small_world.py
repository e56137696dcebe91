r"""A small-world network that keeps itself going, on a sparse core with delays.

200 neurons in a ring excite 3 neighbours to each side; then each synapse, with probability
:math:`p`, is led to a neuron drawn at random (after Watts and Strogatz, Nature 393:440, 1998, with
directed synapses). A spike travels 2 to 4 steps, by its neuron, and makes every neuron fire that
did not in the last 18 steps. Three neurons are started once.

Without shortcuts two waves run around the ring and end where they meet. A few shortcuts start new
waves behind the old ones, and activity goes on by itself; with many, it reaches all neurons before
the first have recovered, and dies: the transition that Roxin, Riecke and Solla found (Physical
Review Letters 92:198101, 2004).

Synchrony is :math:`\chi` of Golomb and Rinzel (Physica D 72:259, 1994), here of spike counts: the
deviation in time of the mean over neurons, in parts of the mean deviation of a neuron; 1 if all
fire at once, :math:`1 / \sqrt{N}` if they do not care for each other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import networkx
import numpy
from numpy.typing import NDArray

from dyncc.spiking import Network, plots
from dyncc_models.spiking.examples.result import Result, table
from dyncc_models.spiking.examples.running import running

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEURONS, NEIGHBOURS, REFRACTORY, DELAYS = 200, 6, 18, (2, 4)
STEPS, GRAPHS = 500, 10
PROBABILITIES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Shown in the plot; the second one is also run on the engine.
SHOWN = (0.0, 0.02, 1.0)
#: Steps in which spikes count as one moment.
WINDOW = 4


def connections(probability: float, seed: int) -> NDArray[numpy.bool_]:
    """Who leads to whom: bool, shape (NEURONS, NEURONS), row is source."""
    draw = numpy.random.default_rng(seed)
    found = numpy.zeros((NEURONS, NEURONS), bool)
    neurons = numpy.arange(NEURONS)
    for away in range(1, NEIGHBOURS // 2 + 1):
        found[neurons, (neurons + away) % NEURONS] = True
        found[neurons, (neurons - away) % NEURONS] = True
    for source, target in numpy.argwhere(found):
        if draw.random() < probability:
            free = numpy.flatnonzero(~found[source] & (neurons != source))
            found[source, target] = False
            found[source, draw.choice(free)] = True
    return found


def network(probability: float, seed: int) -> Network:
    """A network of `connections`."""
    delays = numpy.random.default_rng(seed).integers(*DELAYS, NEURONS, endpoint=True)
    made = Network(dt=1.0)
    made.input("start", 1)
    # Neurons forget at once: a spike makes one fire, or does nothing.
    made.population(
        "ring", "superneuromat", NEURONS, threshold=0.5, leak=numpy.inf, refractory=REFRACTORY
    )
    made.connect("start", "ring", (numpy.arange(NEURONS) < NEIGHBOURS // 2)[None].astype(float))
    made.connect("ring", "ring", connections(probability, seed).astype(float), delay=delays)
    made.output("ring", "ring")
    return made


def spikes(probability: float, seed: int, engine: str = "twin", steps: int = STEPS) -> Any:
    """What a network does: bool, shape (steps, NEURONS)."""
    start = numpy.arange(steps)[:, None] == 0
    with running(network(probability, seed), engine, sparse=True) as (program, core):
        return program.run_on(core, start=start)["ring"]


def synchrony(fired: Any) -> float:
    r""":math:`\chi` of spikes (steps, neurons); 0 if none is fired."""
    steps = len(fired) // WINDOW * WINDOW
    counts = fired[:steps].reshape(-1, WINDOW, fired.shape[1]).sum(axis=1)
    alone = counts.var(axis=0).mean()
    return float(numpy.sqrt(counts.mean(axis=1).var() / alone)) if alone else 0.0


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Sweep the probability, and run one network on the engine.

    Parameters
    ----------
    engine
        See `dyncc.spiking.open_core`; the sweep runs on the twin.
    quick
        Two networks for each probability that is shown, and fewer steps.
    """
    steps, graphs = (200, 2) if quick else (STEPS, GRAPHS)
    figures: dict[str, float | str] = {}
    rows = []
    for probability in SHOWN if quick else PROBABILITIES:
        runs = [spikes(probability, seed, steps=steps) for seed in range(graphs)]
        late = [fired[steps // 2 :] for fired in runs if fired[-2 * REFRACTORY :].any()]
        graph = networkx.from_numpy_array(
            connections(probability, 0), create_using=networkx.DiGraph
        )
        rate = float(numpy.mean(late)) if late else 0.0
        chi = float(numpy.mean([synchrony(fired) for fired in late])) if late else 0.0
        values = {
            "path": networkx.average_shortest_path_length(graph),
            "clustering": networkx.average_clustering(graph),
            "alive": len(late),
            "rate": rate,
            "synchrony": chi,
        }
        figures |= {f"p={probability:g}.{name}": value for name, value in values.items()}
        rows.append(
            (
                f"{probability:g}",
                f"{values['path']:.1f}",
                f"{values['clustering']:.2f}",
                f"{len(late)} of {graphs}",
                f"{1000 * rate:.1f}" if late else "",
                f"{chi:.2f}" if late else "",
            )
        )
    fired = spikes(SHOWN[1], 0, engine, steps)
    digest = hashlib.sha256(numpy.packbits(fired).tobytes()).hexdigest()[:16]
    figures |= {"raster.spikes": int(fired.sum()), "raster.sha256": digest}
    head = (
        "p", "Path length", "Clustering", "Active at the end", "Spikes in 1,000 steps", "Synchrony"
    )  # fmt: skip
    text = (
        f"{steps} steps; spikes of a neuron and synchrony are those of the second half, where "
        f"there is activity; path length and clustering those of the first graph.\n\n"
        f"{table(head, rows)}\n\n"
        f"The first network with p = {SHOWN[1]:g} fires {int(fired.sum())} spikes; "
        f"SHA-256 of its raster {digest}..."
    )
    return Result(figures, text, plot)


def plot() -> Figure:
    """Rasters of networks without, with few and with only shortcuts."""
    return plots.raster({f"p = {value:g}": spikes(value, 0, steps=120) for value in SHOWN})
