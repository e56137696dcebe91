"""``dyncc compile``."""

from __future__ import annotations

import argparse

HELP = "compile a network to an artifact directory"
DESCRIPTION = """\
Compile a network with ordinary Python control flow.

MODEL is a Python file. Its build() makes the network; without build() it must define exactly one
torch.nn.Module (or FILE.py:NAME chooses one). Example inputs come from its example_inputs(), or
from --input.

With --target neurocorex MODEL is a NIR file, whose spiking network is mapped onto a core."""
EPILOG = """\
examples:
  dyncc compile model.py -o model.dyncc
  dyncc compile model.py:Net --input x:float32[1,3,32,32] --backend eager
  dyncc compile net.nir --target neurocorex --dt 1e-4 -o net.dyncc"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("model", metavar="MODEL", help="FILE.py or FILE.py:NAME")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:DTYPE[SHAPE]",
        help="an argument of forward, as in x:float32[1,3,32,32] (repeat for each)",
    )
    parser.add_argument("--backend", default="tvm", choices=("tvm", "eager"))
    parser.add_argument(
        "--target", default="cpu", choices=("cpu", "neurocorex"), help="default: cpu"
    )
    parser.add_argument("--dt", type=float, metavar="S", help="step of a spiking network, seconds")
    parser.add_argument(
        "--neurons", type=int, metavar="N", help="neurons of the core (default: as many as needed)"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="artifact directory (default: FILE.dyncc)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from pathlib import Path

    from dyncc.cli.progress import progress
    from dyncc.core.errors import ModelError

    if arguments.target == "neurocorex":
        return _spiking(arguments)
    from dyncc.driver import compile
    from dyncc.modelfile import load_model, parse_input
    from dyncc.runtime.summary import summary

    inputs = dict(parse_input(text) for text in arguments.input)
    model = load_model(arguments.model)
    example = inputs or model.example_inputs()
    if example is None:
        raise ModelError(
            f"{model.path} has no example_inputs()",
            hint="Define it, or give --input NAME:DTYPE[SHAPE] for each argument of forward.",
        )
    output = Path(arguments.output or model.path.with_suffix(".dyncc").name)
    with progress() as report:
        program = compile(
            model.module,
            example,
            output,
            arguments.backend,
            name=type(model.module).__name__,
            progress=report,
            source={"model": f"{model.path.resolve()}:{model.name}"},
        )
    print(f"{output}: {summary(program)}")
    return 0


def _spiking(arguments: argparse.Namespace) -> int:
    """Map a NIR file onto a core."""
    from pathlib import Path

    from dyncc import spiking
    from dyncc.arch.neurocorex import CoreSpec
    from dyncc.core.errors import ConfigError

    if arguments.dt is None:
        raise ConfigError("--dt is missing", hint="Give the step in seconds, such as --dt 1e-3.")
    network = spiking.load_nir(arguments.model, arguments.dt)
    spec = None
    if arguments.neurons is not None:
        lines = sum(network.inputs.values())
        spec = CoreSpec(arguments.neurons, lines, parameter_sets=arguments.neurons)
    program = spiking.map_network(network, spec)
    output = Path(arguments.output or Path(arguments.model).with_suffix(".dyncc").name)
    spiking.save(program, output)
    core = program.image.spec
    print(
        f"{output}: {core.neurons} neurons, {core.inputs} input lines, "
        f"{core.parameter_sets} parameter sets, step {program.dt:g} s"
    )
    return 0
