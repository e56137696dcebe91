"""Examples that run on a NeuroCoreX core, each a module with ``run(engine, quick)``.

They use what a user has, `dyncc.spiking`. ``dyncc example NAME`` runs one; ``dyncc example all``
writes the page of results.
"""

from __future__ import annotations

#: Title of each example, by the name of its module.
EXAMPLES = {
    "digits": "Digits",
    "termination_tradeoff": "Dynamic termination",
    "effort": "Effort beside a quantised perceptron",
    "microseer": "MicroSeer: topics from citations",
    "stdp_curve": "Learning curve of STDP",
    "small_world": "A small-world network",
}
