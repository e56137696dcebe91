"""Spiking networks on NeuroCoreX: from NIR to a core image, and running it.

>>> image = dyncc.spiking.load_nir("net.nir", dt=1e-3)      # doctest: +SKIP
>>> outputs = image.run(spikes)                             # doctest: +SKIP
"""

from __future__ import annotations

from dyncc.spiking.imagefile import load, save
from dyncc.spiking.mapping import Output, SpikingProgram, map_network
from dyncc.spiking.network import Network, Population, Projection
from dyncc.spiking.nir_import import from_nir, load_nir

__all__ = [
    "Network",
    "Output",
    "Population",
    "Projection",
    "SpikingProgram",
    "from_nir",
    "load",
    "load_nir",
    "map_network",
    "save",
]
