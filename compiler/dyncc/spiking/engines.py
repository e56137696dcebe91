"""What can run an image: the twin, the hardware in a simulator, a board."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from dyncc.arch.neurocorex import CoreImage, CoreSpec
from dyncc.core.errors import ConfigError
from dyncc.link import SERIAL, DirectTransport, SerialTransport, serial_port
from dyncc.spiking.core import Core, Progress, check_size, quiet
from dyncc.spiking.device_core import DeviceCore
from dyncc.spiking.twin_core import TwinCore


def open_core(
    engine: str, core: CoreSpec | CoreImage | None = None, progress: Progress = quiet
) -> Core:
    """A core to program and run.

    >>> with open_core("serial:/dev/ttyUSB0", program.image) as core:   # doctest: +SKIP
    ...     recording = core.run(lines)

    Parameters
    ----------
    engine
        - ``twin``: the integer model, the quickest;
        - ``link``: the twin of a whole device, spoken to as one over a line;
        - ``rtl``: the hardware in a simulator, spoken to over its UART;
        - ``serial:PORT`` or ``serial:PORT@BAUD``: a device at a serial port, such as
          ``serial:/dev/ttyUSB0@1000000`` (the default rate). PORT may be a URL of pyserial, such
          as ``socket://host:port``.

        All give the same bits.
    core
        Its size, or an image, which is then loaded. A device has a size of its own, and must be of
        this one; None takes it as it is.
    progress
        Called in long work: what is done, steps so far, steps in all.

    Raises
    ------
    ConfigError
        If there is no such engine or port, or the image is for another core.
    LinkError
        If the device does not answer, or not as it should.
    """
    image = core if isinstance(core, CoreImage) else None
    spec = core.spec if isinstance(core, CoreImage) else core
    found = _open(engine, spec, progress)
    try:
        if spec is not None:
            check_size(spec, found.spec)
        if image is not None:
            found.program(image)
    except BaseException:
        found.close()
        raise
    return found


def _open(engine: str, spec: CoreSpec | None, progress: Progress) -> Core:
    if engine.startswith(SERIAL):
        return DeviceCore(SerialTransport(*serial_port(engine)), progress)
    engines: dict[str, Callable[[CoreSpec, Progress], Core]] = {
        "twin": TwinCore,
        "link": _linked_twin,
        "rtl": _simulation,
    }
    if engine not in engines:
        raise ConfigError(
            f"engine must be one of {', '.join(engines)}, serial:PORT, not {engine!r}"
        )
    if spec is None:
        raise ConfigError(f"the engine {engine} needs the size of the core, or an image")
    return engines[engine](spec, progress)


# By name, since the compiler does not depend on models or benches.
def _linked_twin(spec: CoreSpec, progress: Progress) -> Core:
    device = import_module("dyncc_models.spiking.device").DeviceTwin(spec)

    def receive(content: bytes) -> bytes:
        answers: bytes = device.receive(content)
        device.advance()
        return answers

    return DeviceCore(DirectTransport(receive, "twin of a device"), progress)


def _simulation(spec: CoreSpec, progress: Progress) -> Core:
    progress("simulating", 0, 1)
    device = import_module("dyncc_sim.neurocorex").SimulatedDevice(spec)
    return DeviceCore(device, progress)
