"""Runs one image on given input spikes, and writes down what the core did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
import numpy

from dyncc.arch.neurocorex import CoreSpec, Space, state_fields, unpack
from dyncc.spiking.imagefile import load_image
from dyncc_sim.neurocorex_driver import Driver
from dyncc_sim.runner import settings


@cocotb.test()
async def run(dut: Any) -> None:
    """Program, step, read back."""
    options = settings()
    folder, spec = Path(options["folder"]), CoreSpec(**options["spec"])
    driver = Driver(dut, spec, seed=None)
    await driver.reset()
    await driver.program(load_image(folder / "image.safetensors", spec))
    lines = numpy.load(folder / "lines.npy")
    spikes = numpy.zeros((len(lines), spec.neurons), bool)
    potentials = numpy.zeros((len(lines), spec.neurons), numpy.int64)
    before = 0
    for step, row in enumerate(lines):
        await driver.step(row)
        total = (await driver.counters())["spikes"]
        fired = await driver.events(total - before)
        before = total
        spikes[step, fired] = True
        for index in range(spec.neurons):
            word = await driver.read(Space.STATE, index)
            potentials[step, index] = unpack(state_fields(spec), word)["v"]
    numpy.save(folder / "spikes.npy", spikes)
    numpy.save(folder / "potentials.npy", potentials)
