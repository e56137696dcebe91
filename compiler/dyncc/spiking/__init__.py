"""Spiking networks on NeuroCoreX: building, importing, mapping, running.

>>> network = dyncc.spiking.Network(dt=1e-3)                          # doctest: +SKIP
>>> network.input("in", 64)                                           # doctest: +SKIP
>>> network.population("out", "lif", 10, tau=0.02)                    # doctest: +SKIP
>>> network.connect("in", "out", dyncc.spiking.all_to_all(0.1))       # doctest: +SKIP
>>> network.output("spikes", "out")                                   # doctest: +SKIP
>>> program = dyncc.spiking.map_network(network)                      # doctest: +SKIP
>>> outputs = program.run(spikes)                                     # doctest: +SKIP

`load_nir` and `load_superneuromat` read networks from files. `open_core` opens a core, to run more
than once:

>>> with dyncc.spiking.open_core("serial:/dev/ttyUSB0", program.image) as core:  # doctest: +SKIP
...     recording = core.run(program.lines(spikes))
"""

from __future__ import annotations

from dyncc.spiking.connectors import all_to_all, fixed_probability, from_list, one_to_one
from dyncc.spiking.core import Core, Recording
from dyncc.spiking.engines import open_core
from dyncc.spiking.imagefile import load, save
from dyncc.spiking.learning_parameters import LagStdp, TraceStdp, WindowStdp
from dyncc.spiking.mapping import map_network
from dyncc.spiking.network import Classifier, LearningRule, Network, Projection
from dyncc.spiking.nir_import import from_nir, load_nir
from dyncc.spiking.population import Population
from dyncc.spiking.program import Output, SpikingProgram
from dyncc.spiking.report import MappingReport
from dyncc.spiking.snntorch_import import from_snntorch
from dyncc.spiking.superneuromat_import import (
    from_superneuromat,
    load_superneuromat,
    superneuromat_spikes,
)

__all__ = [
    "Classifier",
    "Core",
    "LagStdp",
    "LearningRule",
    "MappingReport",
    "Network",
    "Output",
    "Population",
    "Projection",
    "Recording",
    "SpikingProgram",
    "TraceStdp",
    "WindowStdp",
    "all_to_all",
    "fixed_probability",
    "from_list",
    "from_nir",
    "from_snntorch",
    "from_superneuromat",
    "load",
    "load_nir",
    "load_superneuromat",
    "map_network",
    "one_to_one",
    "open_core",
    "save",
    "superneuromat_spikes",
]
