"""What mapping did: places, units, and what quantisation changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dyncc.arch.neurocorex import CoreSpec


@dataclass(frozen=True)
class PlacedPopulation:
    """Where a population is.

    Attributes
    ----------
    name, model
        As in the network.
    first, size
        Its neurons.
    lag
        Steps by which it is behind the network.
    weight_unit, potential_unit
        What a weight of one and a potential of one on the core stand for.
    """

    name: str
    model: str
    first: int
    size: int
    lag: int
    weight_unit: float
    potential_unit: float


@dataclass(frozen=True)
class PlacedProjection:
    """What became of a projection.

    Attributes
    ----------
    source, target
        Names.
    synapses, plastic
        How many synapses it has, and how many of them learn.
    delays
        Least and largest, in steps of the network.
    largest_error, rms_error
        Of its quantised weights, as parts of its largest weight.
    """

    source: str
    target: str
    synapses: int
    plastic: int
    delays: tuple[int, int]
    largest_error: float
    rms_error: float


@dataclass(frozen=True)
class MappingReport:
    """What mapping did.

    Attributes
    ----------
    populations, projections
        Of the network, in its order.
    lines
        Input lines used.
    relays
        Neurons that only pass spikes on, for delays.
    parameter_sets, synapse_words
        Used.
    notes
        What else to know.
    """

    populations: tuple[PlacedPopulation, ...]
    projections: tuple[PlacedProjection, ...]
    lines: int
    relays: int
    parameter_sets: int
    synapse_words: int
    notes: tuple[str, ...] = ()

    @staticmethod
    def from_dict(values: dict[str, Any]) -> MappingReport:
        """The report whose `asdict` is `values`."""
        return MappingReport(
            tuple(PlacedPopulation(**item) for item in values["populations"]),
            tuple(
                PlacedProjection(**item | {"delays": tuple(item["delays"])})
                for item in values["projections"]
            ),
            values["lines"],
            values["relays"],
            values["parameter_sets"],
            values["synapse_words"],
            tuple(values["notes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The report for a JSON file."""
        return asdict(self)

    def to_text(self, spec: CoreSpec) -> str:
        """Lines to print."""
        neurons = sum(item.size for item in self.populations) + self.relays
        words = spec.synapse_words or spec.sources * spec.row_words
        kind = "sparse" if spec.sparse else "dense"
        lines = [
            f"neurons         {neurons} of {spec.neurons}, {self.relays} of them relays",
            f"input lines     {self.lines} of {spec.inputs}",
            f"parameter sets  {self.parameter_sets} of {spec.parameter_sets}",
            f"synapse words   {self.synapse_words} of {words}, {kind}",
            "",
            *_table(
                ("population", "model", "neurons", "lag", "weight unit", "potential unit"),
                [
                    (
                        item.name,
                        item.model,
                        f"{item.first}..{item.first + item.size - 1}",
                        str(item.lag),
                        f"{item.weight_unit:.4g}",
                        f"{item.potential_unit:g}",
                    )
                    for item in self.populations
                ],
            ),
        ]
        if self.projections:
            lines += [
                "",
                *_table(
                    ("projection", "synapses", "plastic", "delays", "largest error", "rms error"),
                    [
                        (
                            f"{item.source} -> {item.target}",
                            str(item.synapses),
                            str(item.plastic),
                            "..".join(map(str, sorted(set(item.delays)))),
                            f"{item.largest_error:.3%}",
                            f"{item.rms_error:.3%}",
                        )
                        for item in self.projections
                    ],
                ),
            ]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
