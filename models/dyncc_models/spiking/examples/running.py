"""Puts a network onto whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dyncc.spiking import Core, Network, SpikingProgram, map_network, open_core


@contextmanager
def running(network: Network, engine: str, **sizes: Any) -> Iterator[tuple[SpikingProgram, Core]]:
    """A network, mapped and loaded onto a core.

    Parameters
    ----------
    engine
        See `dyncc.spiking.open_core`. A device has a size of its own, onto which the network is
        mapped; other engines get a core that is as large as the network.
    sizes
        Fields of `CoreSpec` to fix for these.
    """
    if engine.startswith("serial:"):
        with open_core(engine) as core:
            program = map_network(network, core.spec)
            core.program(program.image)
            yield program, core
    else:
        program = map_network(network, **sizes)
        with open_core(engine, program.image) as core:
            yield program, core
