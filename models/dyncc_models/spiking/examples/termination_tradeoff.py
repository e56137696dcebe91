r"""Dynamic termination: stop showing a digit when its scores are clear.

The core tests the scores after every step, either their margin, the distance of the best two, or
their confidence, :math:`max\, softmax(scores / \alpha)` (Li, Jones and Furber, ICCV 2023). A lower
threshold saves steps and, at some point, costs right answers.

Thresholds are chosen on the validation part, which the network was not trained on: the lowest one
that changes no answer, if no higher one does either. What it then saves, and costs, on the second
half is measured by running the core with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy

from dyncc.arch.neurocorex import Termination
from dyncc.spiking import map_network, plots
from dyncc_models.spiking.examples import digits
from dyncc_models.spiking.examples.digits import Answers, Digits
from dyncc_models.spiking.examples.result import Result, table
from dyncc_models.spiking.termination import decide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = 1.0
#: From the boldest on.
STOPS: dict[str, list[dict[str, Any]]] = {
    "confidence": [
        {"confidence": confidence, "alpha": ALPHA}
        for confidence in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    ],
    "margin": [
        {"margin": margin} for margin in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
    ],
}


@dataclass(frozen=True)
class Point:
    """What a threshold gives.

    Attributes
    ----------
    stop
        The test, as `Network.classify` takes it.
    steps
        That the core takes for an image, on average.
    correct
        Number of right answers.
    changed
        Number of answers that are not those of the whole run.
    """

    stop: dict[str, Any]
    steps: float
    correct: int
    changed: int


@cache
def recorded(part: str) -> Answers:
    """Answers to a part of the digits, with all scores."""
    return digits.classify(digits.digits(part).images, record=True)


def curve(answers: Answers, labels: Any, stops: Sequence[dict[str, Any]]) -> list[Point]:
    """What thresholds would give, from scores that were recorded to the end.

    Parameters
    ----------
    answers
        Of `digits.classify` with `record`.
    labels
        Shape (count,).
    """
    found = []
    for stop in stops:
        rule = map_network(digits.network(**stop), **digits.SIZES).image.termination
        assert rule is not None
        ends = [_end(replace(rule, first_class=0), scores) for scores in answers.scores]
        steps, winners = numpy.transpose(ends)
        correct, changed = (winners == labels).sum(), (winners != answers.digits).sum()
        found.append(Point(stop, float(steps.mean()), int(correct), int(changed)))
    return found


def _end(rule: Termination, scores: Any) -> tuple[int, int]:
    """Step in which a run ends, and its answer."""
    for step, row in enumerate(scores, start=1):
        holds, winner = decide(rule, row, step)
        if holds:
            break
    return step, winner


def choose(points: Sequence[Point]) -> Point:
    """The boldest threshold that changes no answer, as none does that is more cautious.

    Parameters
    ----------
    points
        From the boldest to the most cautious.
    """
    chosen = points[-1]
    for point in reversed(points):
        if point.changed:
            break
        chosen = point
    return chosen


@cache
def chosen_stops() -> dict[str, dict[str, Any]]:
    """The threshold of each test, by the validation part."""
    labels = digits.digits("validation").labels
    return {
        name: choose(curve(recorded("validation"), labels, stops)).stop
        for name, stops in STOPS.items()
    }


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Choose thresholds, and run the second half with them.

    Parameters
    ----------
    engine
        What runs the second half, see `dyncc.spiking.open_core`; thresholds are chosen on the twin.
    quick
        Every 100th image only.
    """
    part = digits.digits("test")
    some = slice(None, None, 100 if quick else None)
    test = Digits(part.images[some], part.labels[some])
    whole = digits.classify(test.images, engine)
    figures: dict[str, float | str] = {
        "images": len(test.labels),
        "all.steps": float(whole.steps.mean()),
        "all.accuracy": whole.accuracy(test.labels),
    }
    rows = [("none", "", f"{whole.steps.mean():.2f}", "", _percent(whole, test), "")]
    for name, stop in chosen_stops().items():
        answers = digits.classify(test.images, engine, **stop)
        saved = 1 - answers.steps.mean() / whole.steps.mean()
        lost = whole.accuracy(test.labels) - answers.accuracy(test.labels)
        figures |= {
            f"{name}.threshold": stop[name],
            f"{name}.steps": float(answers.steps.mean()),
            f"{name}.saved": float(saved),
            f"{name}.accuracy": answers.accuracy(test.labels),
            f"{name}.lost_points": 100 * lost,
        }
        rows.append(
            (
                name,
                f"{stop[name]:g}",
                f"{answers.steps.mean():.2f}",
                f"{saved:.1%}",
                _percent(answers, test),
                f"{100 * lost:.2f}",
            )
        )
    head = ("Test", "Threshold", "Steps of the core", "Fewer", "Accuracy", "Points lost")
    text = (
        "Thresholds are the lowest that change no answer to the 224 validation images "
        f"(confidence with alpha = {ALPHA:g}); "
        f"measured on {len(test.labels)} images of the second half.\n\n{table(head, rows)}"
    )
    return Result(figures, text, plot)


def _percent(answers: Answers, part: Digits) -> str:
    return f"{answers.accuracy(part.labels):.2%}"


def plot() -> Figure:
    """Accuracy on the second half against steps, over thresholds, the chosen ones marked."""
    labels, chosen = digits.digits("test").labels, chosen_stops()
    lines, marks = {}, {}
    for name, stops in STOPS.items():
        points = curve(recorded("test"), labels, stops)
        lines[name] = [(point.steps, 100 * point.correct / len(labels)) for point in points]
        marks[name] = lines[name][stops.index(chosen[name])]
    return plots.curves(lines, "steps of the core", "accuracy (%)", marks)
