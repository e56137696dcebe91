"""Runs an image on the core's RTL in a simulator."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy

from dyncc.arch.neurocorex import CoreImage
from dyncc.core.errors import ConfigError
from dyncc.spiking.imagefile import save_image
from dyncc_hw.neurocorex.core import Core
from dyncc_sim.runner import run_bench


def simulate(image: CoreImage, lines: Any) -> tuple[Any, Any]:
    """Spikes and potentials, both (steps, neurons), for input spikes (steps, inputs).

    The core is programmed over its bus, fed event by event, and its state is read back after each
    step. About 10 seconds to build a core that was not built before.

    Raises
    ------
    ConfigError
        If the image learns, which the hardware does not do yet.
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """
    if image.learning is not None:
        raise ConfigError("the hardware does not learn yet", hint="Run it on the twin.")
    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder:
        place = Path(folder)
        save_image(image, place / "image.safetensors")
        numpy.save(place / "lines.npy", numpy.asarray(lines, bool))
        run_bench(
            Core(image.spec),
            "dyncc_sim.neurocorex_run_bench",
            {"spec": asdict(image.spec), "folder": folder},
        )
        return numpy.load(place / "spikes.npy"), numpy.load(place / "potentials.npy")
