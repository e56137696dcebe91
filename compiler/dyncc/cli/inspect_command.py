"""``dyncc inspect``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyncc.ir.hcfg import Hcfg
    from dyncc.runtime.program import Program

HELP = "print or draw what is in an artifact"
DESCRIPTION = """\
Print the program of an artifact, with a table of its sub-networks, or draw it.

Of a spiking network print the core, what was placed where, and what quantisation changed. Of a
language model for the overlay print what runs on the host and what on the overlay, the memory map,
and how matrices were rounded.

Regions that PyTorch runs are named with the reason, in the text, on the page and as JSON. An
artifact of --backend auto lists each region with the back end that it got, and the time of a call
in each.

With --passes, capture a model file, or the one that an artifact was made of, and list what each
pass that changed the program left of it: blocks, edges, host operations, region calls, regions."""
EPILOG = """\
examples:
  dyncc inspect model.dyncc
  dyncc inspect model.dyncc --html model.html
  dyncc inspect model.dyncc --svg model.svg
  dyncc inspect model.dyncc --json
  dyncc inspect model.dyncc --host
  dyncc inspect model.py:Net --passes --input x:float32[1..8,4]
  dyncc inspect model.dyncc --passes --ir
  dyncc inspect llm.dyncc --program token"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("artifact", metavar="DIR", help="with --passes also FILE.py[:NAME]")
    parser.add_argument("--html", metavar="FILE", help="write a page with a drawing instead")
    parser.add_argument("--svg", metavar="FILE", help="write the drawing alone instead")
    parser.add_argument("--json", action="store_true", help="print sizes and regions as JSON")
    parser.add_argument(
        "--host", action="store_true", help="print the Python function that runs on the host"
    )
    parser.add_argument(
        "--passes", action="store_true", help="list what each pass left of the captured program"
    )
    parser.add_argument(
        "--ir", action="store_true", help="with --passes: the program after each, too"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:DTYPE[SHAPE]",
        help="with --passes: an argument of forward, as of dyncc compile",
    )
    parser.add_argument(
        "--program",
        choices=("token", "logits"),
        nargs="?",
        const="token",
        help="print a program of the overlay instead (default: token)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import json

    from dyncc.cli.run_command import is_spiking, target_of
    from dyncc.core.errors import ConfigError
    from dyncc.core.files import write_text
    from dyncc.ir.drawing import quantity, to_html, to_svg
    from dyncc.ir.profile import described
    from dyncc.ir.text import to_text
    from dyncc.runtime.artifact import load
    from dyncc.runtime.summary import figures, in_torch, summary

    if arguments.passes:
        return _passes(arguments)
    if arguments.ir or arguments.input:
        raise ConfigError("--ir and --input are for --passes")
    target = target_of(arguments.artifact)
    if arguments.json and (target == "skipopu" or is_spiking(arguments.artifact)):
        raise ConfigError("--json is for artifacts of --target cpu")
    if arguments.host and (target == "skipopu" or is_spiking(arguments.artifact)):
        raise ConfigError("--host is for artifacts of --target cpu")
    if target == "skipopu":
        from dyncc.backends.skipopu.artifact import load as load_overlay
        from dyncc.backends.skipopu.describe import describe, program_text

        if arguments.html or arguments.svg:
            raise ConfigError("--html and --svg draw the programs of this machine")
        overlay = load_overlay(arguments.artifact)
        print(program_text(overlay, arguments.program) if arguments.program else describe(overlay))
        return 0
    if arguments.program:
        raise ConfigError(f"{arguments.artifact} holds no program of the overlay")
    if is_spiking(arguments.artifact):
        from dyncc import spiking

        if arguments.html or arguments.svg:
            raise ConfigError("a spiking network has no control-flow graph to draw")
        print(f"{arguments.artifact}: {spiking.load(arguments.artifact).describe()}")
        return 0
    program = load(arguments.artifact)
    if arguments.host:
        print(program.host, end="")
        return 0
    hcfg, by_torch = program.hcfg, in_torch(program)
    # The reference back end runs nothing but PyTorch; only exceptions are worth a mark.
    marked = {} if program.manifest["backend"] == "eager" else by_torch
    for file, draw in ((arguments.html, to_html), (arguments.svg, to_svg)):
        if file is not None:
            write_text(file, draw(hcfg, marks=marked))
            print(f"{file}: {summary(program)}")
    if arguments.html or arguments.svg:
        return 0
    if arguments.json:
        regions = {name: _region(program, name) for name in hcfg.regions}
        found = {
            **figures(program),
            "regions": regions,
            "profile": program.manifest.get("profile"),
            "tuning": program.manifest.get("tuning"),
            "frozen": program.manifest.get("frozen", []),
        }
        print(
            json.dumps({**found, "sizes": {k: str(v) for k, v in program.sizes.items()}}, indent=2)
        )
        return 0
    print(to_text(hcfg))
    print(f"# {hcfg.name}: {summary(program)}")
    for size, extents in program.sizes.items():
        print(f"#   size {size}: {extents}")
    for read in program.manifest.get("frozen", ()):
        print(f"#   as it was when compiled: {read}")
    for line in described(program.manifest.get("profile"), hcfg):
        print(f"#   {line}")
    for name in hcfg.regions:
        region = _region(program, name)
        called = f"called from {region['calls']} block{'s' if region['calls'] != 1 else ''}"
        print(
            f"#   @{name}: {region['operations']} operations, {quantity(region['flops'], 'FLOP')}, "
            f"{quantity(region['bytes'], 'B')}, {called}"
            f"{f', run by PyTorch: {marked[name]}' if name in marked else ''}"
            f"{_measured(region)}"
            f"{f', no batches: {alone}' if (alone := region['alone']) else ''}"
        )
        for line in _tuned(region):
            print(f"#     {line}")
    return 0


def _passes(arguments: argparse.Namespace) -> int:
    """List what each pass makes of the program of a model file."""
    import json
    from pathlib import Path

    from dyncc.cli.compile_command import examples_of
    from dyncc.cli.run_command import refuse_overlay
    from dyncc.core.errors import ConfigError
    from dyncc.driver import stages_of
    from dyncc.ir.text import to_text
    from dyncc.modelfile import load_model, parse_inputs
    from dyncc.runtime.artifact import load

    if arguments.html or arguments.svg or arguments.host or arguments.program:
        raise ConfigError("--passes goes with --ir, --input and --json only")
    reference = arguments.artifact
    if Path(reference).is_dir():
        refuse_overlay(reference)
        reference = load(reference).manifest.get("source", {}).get("model")
        if reference is None:
            raise ConfigError(
                f"{arguments.artifact} does not say which file it came from",
                hint="Give the model file, as FILE.py[:NAME].",
            )
    inputs, model = parse_inputs(arguments.input), load_model(reference)
    example = inputs.examples or examples_of(model)
    found: list[dict[str, Any]] = []
    for name, program in stages_of(model.module, example, inputs.shapes):
        found.append({"pass": name, **_sizes_of(program)})
        if arguments.ir:
            found[-1]["ir"] = to_text(program)
        if not arguments.json:
            sizes = ", ".join(
                _change(key, count, found[-2][key] if len(found) > 1 else count)
                for key, count in _sizes_of(program).items()
            )
            print(f"{name}: {sizes}")
            if arguments.ir:
                print(f"\n{found[-1]['ir']}")
    if arguments.json:
        print(json.dumps(found, indent=2))
    return 0


def _change(key: str, count: int, before: int) -> str:
    """A number of things, and what it was before if that is another."""
    return f"{count} {key}" if count == before else f"{count} {key} (was {before})"


def _sizes_of(program: Hcfg) -> dict[str, int]:
    """How many of each kind of thing there are in a program."""
    from dyncc.ir.hcfg import RegionCall

    calls = [isinstance(op, RegionCall) for block in program.blocks.values() for op in block.ops]
    return {
        "blocks": len(program.blocks),
        "edges": len(list(program.edges())),
        "host operations": calls.count(False),
        "calls": calls.count(True),
        "regions": len(program.regions),
    }


def _measured(region: dict[str, Any]) -> str:
    """The back end of a region and the times of all, for a line of text."""
    choice = region["choice"]
    if choice is None:
        return ""
    ranked = sorted(choice["seconds"].items(), key=lambda pair: pair[1])
    times = ", ".join(f"{name} {seconds * 1e6:.3g} µs" for name, seconds in ranked)
    return f"; {'pinned to ' if choice['pinned'] else ''}{choice['backend']} ({times})"


def _tuned(region: dict[str, Any]) -> list[str]:
    """A line for each kernel of a region that runs as a search found it."""
    return [
        f"{name} ({region['kernels']} kernels in all): {found['untuned'] / found['seconds']:.2f} "
        f"times as fast when it was tuned, on {found['machine']}; from {found['from']}"
        for name, found in region["tuned"].items()
    ]


def _region(program: Program, name: str) -> dict[str, Any]:
    """What there is to say of a region."""
    from dyncc.ir.cost import region_cost
    from dyncc.ir.hcfg import RegionCall
    from dyncc.runtime.summary import choice, in_torch, kernels

    hcfg = program.hcfg
    ops = (op for block in hcfg.blocks.values() for op in block.ops)
    cost = region_cost(hcfg.regions[name])
    return {
        "operations": len(hcfg.regions[name].ops),
        "flops": cost.flops,
        "bytes": cost.bytes,
        "calls": sum(isinstance(op, RegionCall) and op.region == name for op in ops),
        "torch": in_torch(program).get(name),
        "choice": choice(program, name),
        "alone": program.manifest.get("batch", {}).get("alone", {}).get(name),
        **kernels(program, name),
    }
