r"""Handwritten digits on the core, by a network that was trained with surrogate gradients.

The data are scikit-learn's 1,797 images of 8x8 pixels and 17 grey levels (E. Alpaydin and
C. Kaynak, UCI Machine Learning Repository, 1998), in their order: the first 674 train, the next 224
validate (they chose the training recipe, and choose when to stop), the second half, 899 images by
other writers, is for figures only.

An image is shown for 8 steps. The code is deterministic: with grey level :math:`p` and the rank
:math:`b` of a pixel in a matrix of ordered dithering (B. E. Bayer, ICC 1973), its line spikes in
step :math:`t` if :math:`\lfloor ((t + 1) p + b) / 16 \rfloor > \lfloor (t p + b) / 16 \rfloor`. So
it spikes in :math:`p / 16` of the steps, evenly, and what all pixels send in a single step is the
dithered image. One more line spikes in every step, so that neurons have a bias.

These 65 lines lead to 128 LIF neurons, and these to 10 leaky integrators, whose potentials are the
scores of the digits. Weights are int8. `train_digits` made them. The core takes a ninth step, in
which the last spikes of the LIF neurons arrive.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

import dyncc_models
from dyncc.arch.neurocorex import STATE_FRACTION_BITS, CoreImage
from dyncc.spiking import Network, plots
from dyncc_models.spiking.examples.result import Result
from dyncc_models.spiking.examples.running import running

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 8
LEVELS = 16
LINES = 65
#: The core: 138 neurons, lists of synapses, 4 of them read at once.
SIZES: dict[str, Any] = {"sparse": True, "lanes": 4}
#: Time constants in steps.
HIDDEN_TAU, SCORES_TAU = 2.0, 10.0
WEIGHTS = Path(dyncc_models.__file__).parent / "weights" / "spiking_digits.safetensors"
PARTS = {"training": slice(0, 674), "validation": slice(674, 898), "test": slice(898, 1797)}
#: No two scores are so far from each other.
_NEVER = 1e4
_RANKS = numpy.tile([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], (2, 2)).ravel()


@dataclass(frozen=True)
class Digits:
    """Images and what they show.

    Attributes
    ----------
    images
        Grey levels 0..16, int64 of shape (count, 64).
    labels
        Digits 0..9, int64 of shape (count,).
    """

    images: NDArray[numpy.int64]
    labels: NDArray[numpy.int64]


@cache
def digits(part: str) -> Digits:
    """One of `PARTS`."""
    data = load_digits()
    return Digits(
        data.data[PARTS[part]].astype(numpy.int64), data.target[PARTS[part]].astype(numpy.int64)
    )


def encode(images: Any, steps: int = STEPS) -> NDArray[numpy.bool_]:
    """Spikes of images.

    Parameters
    ----------
    images
        Grey levels 0..16, shape (count, 64).

    Returns
    -------
    ndarray of bool, shape (count, steps, LINES)
    """
    times = numpy.arange(steps + 1)[:, None]
    sent = (times * numpy.asarray(images)[:, None, :] + _RANKS) // LEVELS
    return numpy.pad(numpy.diff(sent, axis=1) > 0, ((0, 0), (0, 0), (0, 1)), constant_values=True)


@dataclass(frozen=True)
class Answers:
    """What the network said to images.

    Attributes
    ----------
    digits
        Int64, shape (count,).
    steps
        That the core took for each image, int64, shape (count,).
    scores
        After each of these steps, Q.16: for each image int64 of shape (steps, 10). Empty unless
        asked for.
    counters
        What the core counted for all images together.
    image
        What the core was programmed with.
    """

    digits: NDArray[numpy.int64]
    steps: NDArray[numpy.int64]
    scores: list[NDArray[numpy.int64]]
    counters: dict[str, int]
    image: CoreImage

    def accuracy(self, labels: NDArray[numpy.int64]) -> float:
        """Share of the images whose answer is the label."""
        return float((self.digits == labels).mean())


def network(**stop: Any) -> Network:
    """The trained network.

    Parameters
    ----------
    stop
        When a run may end early, see `Network.classify`; by default never.
    """
    arrays = load_file(WEIGHTS)
    found = Network(dt=1.0)
    found.input("pixels", LINES)
    found.population("hidden", "lif", 128, tau=HIDDEN_TAU, subtract=True)
    found.population("scores", "li", 10, tau=SCORES_TAU)
    for source, target in (("pixels", "hidden"), ("hidden", "scores")):
        weights = arrays[f"{target}.weight"] * float(arrays[f"{target}.scale"])
        found.connect(source, target, weights)
    found.output("scores", "scores")
    found.classify("scores", **(stop or {"margin": _NEVER}))
    return found


def classify(images: Any, engine: str = "twin", record: bool = False, **stop: Any) -> Answers:
    """Show images to the network.

    Parameters
    ----------
    images
        Grey levels 0..16, shape (count, 64).
    engine
        What runs it, see `dyncc.spiking.open_core`.
    record
        Whether to record scores.
    stop
        When a run may end early, as of `network`.
    """
    digits: list[int] = []
    steps: list[int] = []
    scores: list[NDArray[numpy.int64]] = []
    counters: Counter[str] = Counter()
    with running(network(**stop), engine, **SIZES) as (program, core):
        for spikes in encode(images):
            core.rest()
            found = core.run(program.lines(spikes), program.recorded if record else ())
            digits.append(found.winner)
            steps.append(len(found.spikes))
            scores.append(found.potentials)
            counters.update(core.counters())
    return Answers(
        numpy.array(digits),
        numpy.array(steps),
        scores if record else [],
        counters,
        program.image,
    )


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Classify the second half.

    Parameters
    ----------
    engine
        See `dyncc.spiking.open_core`.
    quick
        Every 100th image only.
    """
    part = digits("test")
    chosen = slice(None, None, 100 if quick else None)
    images, labels = part.images[chosen], part.labels[chosen]
    answers = classify(images, engine)
    right = int((answers.digits == labels).sum())
    figures: dict[str, float | str] = {
        "images": len(labels),
        "correct": right,
        "accuracy": right / len(labels),
        **{
            name: answers.counters[name] / len(labels)
            for name in ("steps", "input_spikes", "spikes", "synaptic_operations")
        },
    }
    text = (
        f"{right} of {len(labels)} images of the second half are classified correctly: "
        f"**{right / len(labels):.2%}**. An image takes {figures['steps']:g} steps of the core, "
        f"{figures['input_spikes']:.0f} spikes of input lines, {figures['spikes']:.0f} of neurons "
        f"and {figures['synaptic_operations']:,.0f} synaptic operations on average."
    )
    return Result(figures, text, plot)


def plot() -> Figure:
    """Scores of the first image of the second half, step by step."""
    answers = classify(digits("test").images[:1], record=True)
    return plots.membrane(answers.scores[0] / 2**STATE_FRACTION_BITS)
