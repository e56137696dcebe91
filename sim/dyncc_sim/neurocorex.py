"""The hardware of a NeuroCoreX device in a simulator, as a line that a program speaks over."""

from __future__ import annotations

from dyncc.arch.link import LinkSpec
from dyncc.arch.neurocorex import CoreSpec
from dyncc_hw.neurocorex.device import Device
from dyncc_sim.simulated_line import FASTEST, SimulatedLine

__all__ = ["FASTEST", "SimulatedDevice"]


class SimulatedDevice(SimulatedLine):
    """A device in Verilator. One that was not built before takes about 20 seconds to build.

    Parameters
    ----------
    spec, link
        The core, and the device's side of the link.
    limit
        Cycles after which the watchdog breaks a step off; see `Device`.

    Raises
    ------
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, spec: CoreSpec, link: LinkSpec = FASTEST, limit: int | None = None) -> None:
        # Requests are carried out in less than this, but for those that wait for the end of a step,
        # and then the device is busy.
        silence = 4096 + 8 * spec.sources
        super().__init__(Device(spec, link, limit=limit), link, silence)
