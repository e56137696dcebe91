"""``dyncc run``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.spiking import SpikingProgram

HELP = "run an artifact on arrays from a file"
DESCRIPTION = """\
Run an artifact once, or with --batch once for each sample.

The input file holds an array for each argument by its name. The output file gets out0, out1, ...
in the order of the result; fields of a dict keep their names.

With --batch each array has the samples along its first dimension, which is that of size 1 if the
network was compiled for batches of one. Each sample goes its own way. Outputs are stacked
likewise; where samples differ in shape, or in what they give, sample 3 of out0 is out0.3."""
EPILOG = """\
engines of a spiking network:
  twin               the integer model (the default)
  rtl                the hardware in a simulator, spoken to over its UART
  serial:PORT[@BAUD] a device at a serial port; 1000000 baud unless said
  link               the twin of a device, spoken to as one over a line

examples:
  dyncc run model.dyncc --input in.npz --output out.npz
  dyncc run model.dyncc --batch --input images.npz --output out.npz
  dyncc run net.dyncc --input in.npz --output out.npz --plot raster.svg
  dyncc run net.dyncc --input in.npz --output out.npz --engine serial:/dev/ttyUSB0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR")
    parser.add_argument("--input", required=True, metavar="FILE.npz")
    parser.add_argument("--output", required=True, metavar="FILE.npz")
    parser.add_argument(
        "--batch", action="store_true", help="the input has several samples (compile --batch)"
    )
    parser.add_argument("--engine", help="what runs a spiking network, see below")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw spikes, or potentials of a readout: .svg, .png, .pdf"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import os
    from pathlib import Path

    import numpy

    from dyncc.core.errors import ConfigError, InputError
    from dyncc.runtime.artifact import load

    refuse_overlay(arguments.artifact)
    inputs = read_arrays(arguments.input)
    if arguments.batch and is_spiking(arguments.artifact):
        raise ConfigError("--batch is for artifacts of --target cpu")
    if is_spiking(arguments.artifact):
        from dyncc import spiking
        from dyncc.cli.progress import progress

        program = spiking.load(arguments.artifact)
        with progress() as report:
            arrays = program.run(engine=arguments.engine or "twin", progress=report, **inputs)
        if arguments.plot is not None:
            plot(arguments.plot, program, inputs, arrays)
    elif arguments.engine is not None or arguments.plot is not None:
        raise ConfigError(
            f"{arguments.artifact} holds no spiking network, and --engine and --plot are for those"
        )
    elif arguments.batch:
        from dyncc.runtime.samples import split, stacked

        network = load(arguments.artifact)
        results = network.batch(split(network.hcfg, inputs))
        arrays = stacked([name_outputs(result) for result in results])
    else:
        arrays = name_outputs(load(arguments.artifact)(**inputs))
    output = Path(arguments.output)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.npz")
    try:
        numpy.savez(unfinished, **arrays)
        unfinished.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    for name, array in arrays.items():
        print(f"{name}: {array.dtype}[{','.join(map(str, array.shape))}]")
    return 0


def plot(
    path: str, program: SpikingProgram, inputs: dict[str, Any], arrays: dict[str, Any]
) -> None:
    """Draw the inputs and outputs of a run: a raster, or traces if no output has spikes."""
    from dyncc.spiking import plots

    spikes = {name: arrays[name] for name, output in program.outputs.items() if output.spiking}
    if spikes or not arrays:
        figure = plots.raster(inputs | spikes, program.dt)
    else:
        figure = plots.membrane(next(iter(arrays.values()))[:, :10], dt=program.dt)
    plots.save(figure, path)


def refuse_overlay(path: str) -> None:
    """Raise ConfigError if an artifact holds a language model for the overlay."""
    from dyncc.core.errors import ConfigError

    if target_of(path) == "skipopu":
        raise ConfigError(
            f"{path} holds a language model for the overlay",
            hint=f"Use: dyncc generate {path} --prompt TEXT",
        )


def is_spiking(path: str) -> bool:
    """Whether an artifact holds a spiking network."""
    return target_of(path) == "neurocorex"


def target_of(path: str) -> str | None:
    """What an artifact is for; None for this machine, and for one that its loader complains of."""
    import json
    from pathlib import Path

    try:
        manifest = json.loads((Path(path) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    target = manifest.get("target") if isinstance(manifest, dict) else None
    return target if isinstance(target, str) else None


def read_arrays(path: str) -> dict[str, Any]:
    """Arrays of an ``.npz`` file by name; raises InputError."""
    import zipfile

    import numpy

    from dyncc.core.errors import InputError

    try:
        with numpy.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise InputError(f"{path} holds one array without a name", hint="Use numpy.savez.")
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="It must be a file made by numpy.savez."
        ) from error


def name_outputs(result: Any) -> dict[str, Any]:
    """Arrays of a result by name: dict fields by key, others out0, out1, ..."""
    import numpy

    arrays: dict[str, Any] = {}

    def visit(value: Any, name: str | None) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                visit(part, str(key))
        elif isinstance(value, tuple | list):
            for part in value:
                visit(part, None)
        elif value is not None:
            arrays[name or f"out{len(arrays)}"] = numpy.asarray(value)

    visit(result, None)
    return arrays
