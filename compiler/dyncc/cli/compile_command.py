"""``dyncc compile``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dyncc.core.backends import BACKENDS

if TYPE_CHECKING:
    from pathlib import Path

    from dyncc.arch.neurocorex import CoreSpec
    from dyncc.arch.skipopu.spec import ArchSpec
    from dyncc.modelfile import ModelFile

HELP = "compile a network to an artifact directory"
DESCRIPTION = """\
Compile a network with ordinary Python control flow.

MODEL is a Python file. Its build() makes the network; without build() it must define exactly one
torch.nn.Module (or FILE.py:NAME chooses one). Example inputs come from its example_inputs(), or
from --input.

With --target neurocorex MODEL is a spiking network, a NIR file or a JSON file of SuperNeuroMAT,
which is mapped onto a core: one that it fits, with the sizes that are given.

With --target skipopu MODEL is a Python file with a Llama-style decoder, such as
models/dyncc_models/skipopu/smollm2_decoder.py; it becomes programs and a memory image of an overlay
processor. Its quantised() may give matrices in 4 or 8 bits; others are rounded. Its tokenizer()
makes `dyncc generate` take text."""
EPILOG = """\
examples:
  dyncc compile model.py -o model.dyncc
  dyncc compile model.py:Net --input x:float32[1,3,32,32] --backend eager
  dyncc compile model.py --input "x:float32[1..8,3,H,W]" -o model.dyncc
  dyncc compile model.py --backend auto --pin r0=tvm -o model.dyncc
  dyncc compile model.py --profile inputs/ -o model.dyncc
  dyncc compile model.py --batch 8
  dyncc compile model.py --tune 120 -o model.dyncc
  dyncc compile model.py --json
  dyncc compile net.nir --target neurocorex --dt 1e-4 -o net.dyncc
  dyncc compile net.json --target neurocorex --dt 1e-3 --lanes 4 --sparse
  dyncc compile llm.py --target skipopu --arch ecp5_85f -o llm.dyncc"""

DEFAULT_ARCH = "u280"
ARCH_HELP = f"instance of the overlay: ice40_2x2, ecp5_85f, u280, ... (default: {DEFAULT_ARCH})"
_SIZES = {
    "neurons": "neurons of the core (default for all sizes: as needed)",
    "inputs": "input lines",
    "parameter_sets": "neuron parameter sets",
    "weight_bits": "width of a weight, 2..16 (default: 8; exact ones of SuperNeuroMAT)",
    "state_bits": "width of a membrane potential, 18..32 (default: 24; SuperNeuroMAT: 32)",
    "lanes": "weights added in a cycle, a power of two",
    "max_delay": "longest axonal delay in steps, 1..16",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("model", metavar="MODEL", help="FILE.py, FILE.py:NAME, .nir or .json")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:DTYPE[SHAPE]",
        help="an argument of forward, as in x:float32[1,3,32,32] (repeat for each); a size may be "
        "a range 1..8 or 1.., a name H, or H=1..8: it may differ from call to call, and sizes of "
        "one name are equal",
    )
    parser.add_argument(
        "--backend",
        default="tvm",
        choices=tuple(BACKENDS),
        help="what runs the regions: "
        + "; ".join(f"{name}, {what}" for name, what in BACKENDS.items())
        + " (default: tvm)",
    )
    parser.add_argument(
        "--pin",
        action="append",
        default=[],
        metavar="REGION=BACKEND",
        help="the back end of a region, or of those that a pattern such as 'r*' fits (repeat; the "
        "last that fits counts); `dyncc inspect` lists regions, and what was measured",
    )
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NPZ",
        help="inputs such as the network will see: a file as `dyncc run` takes it, or a "
        "folder of such files (repeat for more); the network is run on them, and regions that "
        "mostly follow each other become one where what is measured says that it pays",
    )
    parser.add_argument(
        "--fallback",
        choices=("eager",),
        help="let PyTorch run the regions that the back end cannot compile, and with --backend "
        "auto those that are fastest there; `dyncc inspect` says which and why (default: they are "
        "refused)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="also compile regions for up to N samples at once, each of which goes its own way; "
        "see docs/batching.md",
    )
    tuning = parser.add_argument_group("tuning (docs/tuning.md)")
    tuning.add_argument(
        "--tune",
        type=float,
        metavar="SECONDS",
        help="first search for faster code of the kernels in which the network spends its time, "
        "for so long; what is found is kept, and later compilations use it",
    )
    tuning.add_argument(
        "--database",
        metavar="FILE",
        help="keeps what was found (default: that of DYNCC_DATABASE, or one in your cache folder); "
        "'none': use nothing that was found",
    )
    tuning.add_argument(
        "--rpc",
        metavar="HOST:PORT:KEY",
        help="measure on machines like this one that TVM's RPC tracker has under KEY",
    )
    parser.add_argument(
        "--target", default="cpu", choices=("cpu", "neurocorex", "skipopu"), help="default: cpu"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="artifact directory (default: FILE.dyncc)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result, or what cannot be compiled, as JSON (--target cpu)",
    )
    overlay = parser.add_argument_group("language models (--target skipopu)")
    overlay.add_argument("--arch", metavar="NAME", help=ARCH_HELP)
    overlay.add_argument(
        "--slots",
        type=int,
        metavar="N",
        help="room for keys and values, one slot a token and layer (default: all of them)",
    )
    spiking = parser.add_argument_group("spiking networks (--target neurocorex)")
    spiking.add_argument("--dt", type=float, metavar="S", help="step in seconds")
    spiking.add_argument(
        "--subtract", action="store_true", help="a spike subtracts the threshold (NIR files)"
    )
    spiking.add_argument(
        "--method", default="euler", choices=("euler", "exact"), help="how decay is discretised"
    )
    spiking.add_argument(
        "--board", metavar="NAME", help="the core of a board, see `dyncc hw list`, for sizes"
    )
    for name, what in _SIZES.items():
        spiking.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=what)
    spiking.add_argument(
        "--learning", action="store_true", default=None, help="a core with an STDP engine"
    )
    kind = spiking.add_mutually_exclusive_group()
    kind.add_argument(
        "--sparse", action="store_true", default=None, help="store synapses as lists of targets"
    )
    kind.add_argument(
        "--dense",
        action="store_false",
        dest="sparse",
        default=None,
        help="store a weight for every pair",
    )
    kind.add_argument(
        "--synapse-words", type=int, metavar="N", help="words of synapses of a sparse core"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json
    from pathlib import Path

    from dyncc.cli.progress import progress
    from dyncc.core.errors import ConfigError
    from dyncc.core.tuning import Tuning

    for option in ("json", "batch", "profile", "tune", "database", "rpc"):
        if getattr(arguments, option) and arguments.target != "cpu":
            raise ConfigError(f"--{option} is for --target cpu")
    if arguments.target == "neurocorex":
        return _spiking(arguments)
    if arguments.target == "skipopu":
        overlay(arguments.model, arguments.arch, arguments.output, arguments.slots)
        return 0
    from dyncc.driver import compile
    from dyncc.modelfile import load_model, parse_inputs
    from dyncc.runtime.summary import figures, summary

    tuning = Tuning(arguments.tune, arguments.database, arguments.rpc)
    inputs = parse_inputs(arguments.input)
    model = load_model(arguments.model)
    example = inputs.examples or examples_of(model)
    output = Path(arguments.output or model.path.with_suffix(".dyncc").name)
    with progress() as report:
        program = compile(
            model.module,
            example,
            output,
            arguments.backend,
            sizes=inputs.shapes,
            fallback=arguments.fallback,
            pins=_pins(arguments.pin),
            batch=arguments.batch,
            profile=_profile(arguments.profile),
            tuning=tuning,
            name=type(model.module).__name__,
            progress=report,
            source={"model": f"{model.path.resolve()}:{model.name}"},
        )
    if arguments.json:
        print(json.dumps({"ok": True, "artifact": str(output), **figures(program)}, indent=2))
    else:
        print(f"{output}: {summary(program)}")
        for line in _tuned(program.manifest.get("tuning")):
            print(f"  {line}")
    return 0


def _tuned(outcome: dict[str, Any] | None) -> list[str]:
    """What a search found, in lines of text."""
    if outcome is None:
        return []
    unreached = outcome["unreached"]
    if not outcome["kernels"]:
        if not unreached:
            return ["tuned nothing: no kernel of this network can be searched for"]
        over = f"the time was over before the first of {unreached} kernels was measured"
        return [f"tuned nothing: {over}; give --tune more seconds"]
    gain = outcome["before"] / outcome["after"] if outcome["after"] else 1.0
    found = f"tuned {outcome['tuned']} of {outcome['kernels']} kernels"
    lines = [f"{found} in {outcome['trials']} trials: all together {gain:.2f} times as fast"]
    if unreached:
        lines.append(f"no time was left for {unreached} more kernels; give --tune more seconds")
    if outcome["tuned"]:
        lines.append(f"kept in {outcome['database']}")
    if outcome["refused"]:
        lines.append(f"{outcome['refused']} candidates computed something else, and were dropped")
    if not outcome["free"]:
        lines.append(
            "other processes use this machine: all was measured in one thread, and how threads "
            "share a kernel was not tried"
        )
    return lines


def _pins(options: list[str]) -> dict[str, str]:
    from dyncc.core.errors import ConfigError

    found: dict[str, str] = {}
    for option in options:
        region, equals, backend = option.rpartition("=")
        if not equals or not region:
            raise ConfigError(
                f"--pin takes REGION=BACKEND, not {option!r}", hint="For example --pin r0=tvm."
            )
        found.pop(region, None)  # the last counts
        found[region] = backend
    return found


def _profile(paths: list[str]) -> dict[str, Any] | None:
    """The arrays of each file, by its path."""
    from pathlib import Path

    from dyncc.cli.run_command import read_arrays
    from dyncc.core.errors import InputError

    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"there is no .npz file in {path}", hint="Make some with numpy.savez.")
        files += found
    return {str(file): read_arrays(str(file)) for file in files} or None


def examples_of(model: ModelFile) -> Any:
    """The example inputs that a model file gives.

    Raises
    ------
    ModelError
        If it gives none.
    """
    from dyncc.core.errors import ModelError

    found = model.example_inputs()
    if found is None:
        raise ModelError(
            f"{model.path} has no example_inputs()",
            hint="Define it, or give --input NAME:DTYPE[SHAPE] for each argument of forward.",
        )
    return found


def overlay(reference: str, arch: str | None, output: str | None, slots: int | None) -> Path:
    """Compile a model file for the overlay; returns the artifact."""
    from pathlib import Path

    from dyncc.backends.skipopu.weights import summary
    from dyncc.cli.progress import progress
    from dyncc.driver import compile_decoder
    from dyncc.modelfile import load_model

    spec = arch_named(arch or DEFAULT_ARCH)
    model = load_model(reference)
    target = Path(output or model.path.with_suffix(".dyncc").name)
    with progress() as report:
        found = compile_decoder(
            model.module,
            examples_of(model),
            spec,
            target,
            quantised=model.quantised(),
            tokenizer=model.tokenizer(),
            slots=slots,
            name=type(model.module).__name__,
            progress=report,
            source={"model": f"{model.path.resolve()}:{model.name}"},
        )
    seconds = sum(found.about["seconds"].values())
    print(
        f"{target}: {len(found.plan.layers)} layers for {spec.name}, "
        f"{len(found.programs['token'])} instructions, {found.image.size / 1e6:.2f} MB, "
        f"compiled in {seconds:.1f} s\n  {summary(list(found.matrices))}"
    )
    return target


def arch_named(name: str) -> ArchSpec:
    """An instance of the overlay; raises ConfigError."""
    from dyncc.arch.skipopu.spec import ARCHS
    from dyncc.core.errors import ConfigError

    if name not in ARCHS:
        raise ConfigError(
            f"there is no architecture {name!r}", hint=f"Choose from {', '.join(ARCHS)}."
        )
    return ARCHS[name]


def _spiking(arguments: argparse.Namespace) -> int:
    """Map a spiking network onto a core."""
    from pathlib import Path

    from dyncc import spiking
    from dyncc.core.errors import ConfigError

    if arguments.dt is None:
        raise ConfigError("--dt is missing", hint="Give the step in seconds, such as --dt 1e-3.")
    model = Path(arguments.model)
    if model.suffix == ".json":
        if arguments.subtract:
            raise ConfigError("--subtract is for NIR files: SuperNeuroMAT has no such reset")
        network = spiking.load_superneuromat(model, arguments.dt)
    else:
        network = spiking.load_nir(model, arguments.dt, arguments.subtract)
    sizes = {name: getattr(arguments, name) for name in (*_SIZES, "learning", "synapse_words")}
    given = {name: value for name, value in sizes.items() if value is not None}
    if arguments.board is None:
        program = spiking.map_network(
            network, method=arguments.method, sparse=arguments.sparse, **given
        )
    else:
        if arguments.sparse is not None:
            raise ConfigError(
                "--sparse and --dense choose a core, and --board gives one",
                hint="Give --synapse-words, if the board is built so; 0 is dense.",
            )
        program = spiking.map_network(network, _core(arguments.board, given), arguments.method)
    output = Path(arguments.output or model.with_suffix(".dyncc").name)
    spiking.save(program, output)
    print(f"{output}: {program.describe()}")
    return 0


def _core(board: str, given: dict[str, Any]) -> CoreSpec:
    """The core of a board, as `dyncc hw build` builds it with the sizes given."""
    from dyncc.core.errors import MissingToolError

    try:
        from dyncc_hw import boards, designs
        from dyncc_hw.boards.board import setup_of
    except ImportError as error:
        raise MissingToolError(
            f"--board needs {error.name}", hint="Install it: pip install 'dyncc[hw]'"
        ) from error
    setup = setup_of(board, boards.board(board).setups, "neurocorex")
    return designs.spec_of(designs.all_sizes("neurocorex", setup.sizes, given))
