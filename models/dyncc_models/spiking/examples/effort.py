"""What an answer costs: the spiking network beside a quantised perceptron as accurate as it.

Measures are those of `dyncc.spiking.energy`, from what the core counted. The perceptron was chosen
by `train_digits` as the cheapest that is as accurate on the validation part; it skips activations
of zero in NS-ACE, as the core does by nature.
"""

from __future__ import annotations

from typing import Any

from dyncc.spiking import energy
from dyncc_models.spiking.examples import digits, mlp
from dyncc_models.spiking.examples.result import Result, table
from dyncc_models.spiking.examples.termination_tradeoff import chosen_stops


def run(engine: str = "twin", quick: bool = False) -> Result:
    """Compare both on the second half.

    Parameters
    ----------
    engine
        What runs the spiking network, see `dyncc.spiking.open_core`.
    quick
        Every 100th image only.
    """
    part = digits.digits("test")
    some = slice(None, None, 100 if quick else None)
    images, labels = part.images[some], part.labels[some]
    found: dict[str, tuple[float, energy.Effort]] = {}
    stops: dict[str, dict[str, Any]] = {"to the end": {}, **chosen_stops()}
    for name, stop in stops.items():
        answers = digits.classify(images, engine, **stop)
        effort = energy.of_core(answers.counters, answers.image, len(images))
        found[f"spiking, {name}"] = answers.accuracy(labels), effort
    other = mlp.trained()
    given, densities = other.classify(images)
    found[f"perceptron, {other.weight_bits}/{other.activation_bits} bits"] = (
        float((given == labels).mean()),
        energy.of_mlp((64, other.hidden, 10), other.weight_bits, other.activation_bits, densities),
    )
    figures: dict[str, float | str] = {}
    rows = []
    for name, (accuracy, effort) in found.items():
        values = {
            "accuracy": accuracy,
            "synapses": effort.synapses,
            "bit_budget": effort.bit_budget,
            "s_ace": effort.s_ace,
            "ns_ace": effort.ns_ace,
            "memory_bits": effort.memory_bits or 0.0,
        }
        figures |= {f"{name}.{key}": value for key, value in values.items()}
        rows.append(
            (
                name,
                f"{accuracy:.2%}",
                f"{effort.synapses:,}",
                f"{effort.bit_budget:.1f}",
                f"{effort.s_ace:,.0f}",
                f"{effort.ns_ace:,.0f}",
                f"{effort.memory_bits:,.0f}",
            )
        )
    head = ("Network", "Accuracy", "Synapses", "Bit budget", "S-ACE", "NS-ACE", "Memory bits")
    *spiking, (right, perceptron) = found.values()
    accuracy, least = min(spiking, key=lambda item: item[1].ns_ace)
    text = (
        f"For one of {len(images)} images of the second half, on average.\n\n"
        f"{table(head, rows)}\n\n"
        "With early answers the spiking network takes "
        f"{least.ns_ace / perceptron.ns_ace:.2f} times the bit operations (NS-ACE) of the "
        f"perceptron; their accuracies differ by {100 * (accuracy - right):+.2f} points."
    )
    return Result(figures, text)
