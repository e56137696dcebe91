"""Spiking networks on NeuroCoreX: building, importing, mapping, running.

>>> network = dyncc.spiking.Network(dt=1e-3)                          # doctest: +SKIP
>>> network.input("in", 64)                                           # doctest: +SKIP
>>> network.population("out", "lif", 10, tau=0.02)                    # doctest: +SKIP
>>> network.connect("in", "out", dyncc.spiking.all_to_all(0.1))       # doctest: +SKIP
>>> network.output("spikes", "out")                                   # doctest: +SKIP
>>> program = dyncc.spiking.map_network(network)                      # doctest: +SKIP
>>> outputs = program.run(spikes)                                     # doctest: +SKIP

`load_nir` reads a NIR file as a network.
"""

from __future__ import annotations

from dyncc.spiking.connectors import all_to_all, fixed_probability, from_list, one_to_one
from dyncc.spiking.imagefile import load, save
from dyncc.spiking.mapping import map_network
from dyncc.spiking.network import Classifier, LearningRule, Network, Population, Projection
from dyncc.spiking.nir_import import from_nir, load_nir
from dyncc.spiking.program import Output, SpikingProgram
from dyncc.spiking.report import MappingReport

__all__ = [
    "Classifier",
    "LearningRule",
    "MappingReport",
    "Network",
    "Output",
    "Population",
    "Projection",
    "SpikingProgram",
    "all_to_all",
    "fixed_probability",
    "from_list",
    "from_nir",
    "load",
    "load_nir",
    "map_network",
    "one_to_one",
    "save",
]
