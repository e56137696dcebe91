"""The steps of a compilation, in order."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dyncc.backends import selection, variants
from dyncc.backends.measuring import samples
from dyncc.core.backends import AUTO, BACKENDS, EAGER, PACKAGES
from dyncc.core.errors import ConfigError, ModelError
from dyncc.core.tuning import Tuning, using
from dyncc.frontend import Capture, capture
from dyncc.ir.hcfg import Hcfg
from dyncc.ir.places import Places
from dyncc.ir.settling import settle
from dyncc.ir.sizes import Size, merged, parse_shape
from dyncc.ir.types import Dim
from dyncc.passes import stages
from dyncc.passes.share_weights import share_weights
from dyncc.profiling import Arguments, tune
from dyncc.profiling import Request as ProfileRequest
from dyncc.runtime import artifact
from dyncc.runtime.program import Program

if TYPE_CHECKING:
    from dyncc.arch.skipopu.spec import ArchSpec
    from dyncc.backends.skipopu.artifact import Overlay

#: Told what is done, and how far it is: (what, step, steps).
Progress = Callable[[str, int, int], None]


def compile(
    module: nn.Module,
    example_inputs: tuple[Any, ...] | list[Any] | Mapping[str, Any],
    output: str | Path | None = None,
    backend: str = "tvm",
    *,
    sizes: Mapping[str, str] | None = None,
    fallback: str | None = None,
    pins: Mapping[str, str] | None = None,
    profile: Sequence[Arguments] | Mapping[str, Arguments] | None = None,
    batch: int | None = None,
    tuning: Tuning | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    source: Mapping[str, str] | None = None,
) -> Program:
    """Compile a module.

    Parameters
    ----------
    module
        The network; compiled as it is now (usually after ``eval()``).
    example_inputs
        Positional arguments as a tuple, or keyword arguments as a dict.
    output
        Directory for the artifact; by default a temporary one that lives as long as the result.
    backend
        One of `dyncc.core.backends.BACKENDS`. ``auto`` measures each region in each of the others
        that is installed, on what it is given in a run with the example inputs, and keeps the
        fastest; the manifest's ``report`` has the times.
    sizes
        Shapes of arguments whose sizes may differ from call to call, such as
        ``{"x": "1..8,3,H,W"}``; see `dyncc.ir.sizes`. Sizes of one name are equal. A tensor in a
        structure is called as in ``batch['x'][0]``.
    fallback
        ``eager``: PyTorch runs the regions that the back end cannot compile; the manifest's
        ``report`` says which and why. By default they are refused. With ``auto`` PyTorch also
        runs a region that is fastest there.
    pins
        Back ends of regions, by their names or patterns of them, as in ``{"r1": "tvm"}``. With pins
        the artifact is one of back end ``auto``.
    profile
        Arguments of calls, each as `example_inputs`, that stand for what the network will see; as
        a mapping by what to call them in messages. The network is run on them, and regions that
        mostly follow each other are fused where what is measured says that it pays; see
        `dyncc.profiling`. The manifest has the profile.
    batch
        The most samples that a region takes at once in `dyncc.runtime.program.Program.batch`, where
        each sample goes its own way; from 2 to 256. By default there are no batches.
    tuning
        Whether to search for faster code of the kernels that TVM makes, before all else, and where
        to keep what is found; see `dyncc.core.tuning`. The manifest says what was done. What was
        found before for the same kernels on such a machine is used without this.
    name
        Name of the program, by default the class of the module.
    progress
        Called before each step.
    source
        Where the module came from, for ``dyncc verify``.

    Returns
    -------
    Program
        Called like the module.

    Raises
    ------
    UnsupportedError
        With every construct that cannot be compiled.
    ModelError, ConfigError, ToolError
        If the module, the options or the back end fail.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if fallback not in (None, "eager"):
        raise ConfigError(f"fallback must be 'eager' or None, not {fallback!r}")
    pins = dict(pins or {})
    for pattern, home in pins.items():
        if home not in PACKAGES:
            raise ConfigError(
                f"a region can be pinned to {', '.join(PACKAGES)}, not to {home!r}",
                where=f"{pattern}={home}",
            )
    if tuning is not None and tuning.seconds is not None and backend not in ("tvm", AUTO):
        raise ConfigError(f"tuning is for what TVM compiles, and the back end is {backend}")
    report = progress or (lambda what, step, steps: None)
    if batch is not None:
        variants.sizes(batch)
    if output is not None:
        artifact.check_target(Path(output))
    started = time.perf_counter()
    dims, ranges = _shapes(sizes)
    program, weights, places, frozen = capture_program(
        module, example_inputs, name, report, dims, ranges
    )
    if batch is not None:
        variants.refuse(program)
    ranged = {key: size.to_json() for key, size in ranges.items()}
    build: Callable[..., Mapping[str, Any]]
    if pins or backend == AUTO:
        build = functools.partial(
            selection.build,
            request=selection.Request(backend, pins, weights, example_inputs, ranged),
        )
        # A wrong pin is said before anything is compiled.
        kept = frozenset(selection.pinned(program, pins))
        backend = AUTO
    else:
        build, kept = selection.builder(backend), frozenset()

    def compiled(program: Hcfg, directory: Path) -> Mapping[str, Any]:
        return build(program, directory, report, fallback=fallback is not None)

    def finish(path: Path, folder: Path) -> Program:
        nonlocal program, places
        captured_at = time.perf_counter()
        extra: dict[str, Any] = {
            "torch": torch.__version__,
            "source": dict(source or {}),
            "seconds": {},
            "sizes": ranged,
            "frozen": list(frozen),
        }
        if tuning is not None and tuning.seconds is not None:
            runs = [example_inputs] if profile is None else list(_named(profile).values())
            extra["tuning"] = _search(program, tuning, weights, runs, ranged, report)
        deliver: Callable[[Path], Mapping[str, Any]] = functools.partial(compiled, program)
        if profile is not None:
            request = ProfileRequest(_named(profile), weights, ranged, backend, kept)
            tuned = tune(program, places, request, compiled, folder)
            program, places, deliver = tuned.program, tuned.places, tuned.deliver
            extra["profile"] = tuned.profile.to_json()

        def build_timed(directory: Path) -> Mapping[str, Any]:
            found = deliver(directory)
            now = time.perf_counter()
            extra["seconds"] = {
                "capture": round(captured_at - started, 3),
                "build": round(now - captured_at, 3),
            }
            if batch is not None:
                extra["batch"] = variants.build(
                    program, backend, found, batch, directory, report, weights,
                    {} if backend == EAGER else samples(program, weights, [example_inputs], ranged),
                )  # fmt: skip
                extra["seconds"]["batch"] = round(time.perf_counter() - now, 3)
            return found

        bound = {key: weights[key] for key in program.weights}
        artifact.write(path, program, bound, backend, build_timed, extra, places)
        return artifact.load(path)

    with tempfile.TemporaryDirectory(prefix="dyncc.") as folder, using(tuning):
        # The library stays mapped after its file is gone.
        return finish(Path(output or Path(folder) / "artifact"), Path(folder))


def _search(
    program: Hcfg,
    tuning: Tuning,
    weights: Mapping[str, Any],
    runs: Sequence[Any],
    sizes: Mapping[str, Any],
    report: Progress,
) -> dict[str, Any]:
    """Tune the kernels of a program; returns what the manifest says of that."""
    # Other back ends do without TVM.
    from dyncc.backends.tvm.tuning.request import Request, tune

    return tune(program, Request(tuning, weights, runs, sizes), report)


def _named(profile: Sequence[Arguments] | Mapping[str, Arguments]) -> Mapping[str, Arguments]:
    if isinstance(profile, Mapping):
        return profile
    return {f"profile[{number}]": given for number, given in enumerate(profile)}


def compile_decoder(
    module: nn.Module,
    example_inputs: tuple[Any, ...] | list[Any] | Mapping[str, Any],
    arch: ArchSpec,
    output: str | Path | None = None,
    *,
    quantised: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    slots: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    source: Mapping[str, str] | None = None,
) -> Overlay:
    """Compile a decoder for the SkipOPU overlay.

    Parameters
    ----------
    module, example_inputs, name, progress, source
        As of `compile`; the module takes a token and its position, int64 of shape (1,) each.
    arch
        The instance, such as ``ARCHS["u280"]`` of `dyncc.arch.skipopu.spec`.
    output
        Directory for the artifact, or None for none.
    quantised, tokenizer
        See `dyncc.modelfile.ModelFile`.
    slots
        Keys and values that there is room for; by default for all layers and positions.

    Raises
    ------
    UnsupportedError
        If the module is no decoder that the overlay runs; names the layer.
    ModelError, ConfigError
        If the module or the options fail, or the decoder does not fit the instance.
    """
    from dyncc.backends.skipopu import artifact as overlay_artifact
    from dyncc.backends.skipopu.build import build

    report = progress or (lambda what, step, steps: None)
    if output is not None:
        artifact.check_target(Path(output))
    started = time.perf_counter()
    program, weights, _, frozen = capture_program(module, example_inputs, name, report)
    text = None
    if tokenizer is not None:
        text = overlay_artifact.Text(tokenizer.json, tokenizer.end, tokenizer.chat_form)
    about: dict[str, Any] = {
        "torch": torch.__version__,
        "source": dict(source or {}),
        "frozen": list(frozen),
    }
    captured_at = time.perf_counter()
    overlay = build(
        program, weights, arch, quantised=quantised or {}, slots=slots, text=text, about=about,
        report=report,
    )  # fmt: skip
    about["seconds"] = {
        "capture": round(captured_at - started, 3),
        "build": round(time.perf_counter() - captured_at, 3),
    }
    if output is not None:
        overlay_artifact.save(overlay, output)
    return overlay


def stages_of(
    module: nn.Module, example_inputs: Any, sizes: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Hcfg]]:
    """What each pass makes of the program of a module.

    Parameters
    ----------
    module, example_inputs, sizes
        As of `compile`.

    Yields
    ------
    str, Hcfg
        ``capture`` and the program of the front end; then as of `dyncc.passes.stages`.

    Raises
    ------
    UnsupportedError
        With every construct that cannot be compiled.
    """
    dims, ranges = _shapes(sizes)
    program = _captured(module, example_inputs, None, dims, ranges).program
    yield "capture", program
    yield from stages(program)


def _shapes(
    sizes: Mapping[str, str] | None,
) -> tuple[dict[str, tuple[Dim, ...]], dict[str, Size]]:
    """The dimensions of arguments, by place, and the range of each name in them."""
    shapes = {place: parse_shape(text, place) for place, text in (sizes or {}).items()}
    ranges = merged(table for _, table in shapes.values())
    return {place: found for place, (found, _) in shapes.items()}, ranges


def _captured(
    module: nn.Module,
    example_inputs: Any,
    name: str | None,
    dims: Mapping[str, tuple[Dim, ...]] | None,
    sizes: Mapping[str, Size] | None,
) -> Capture:
    """What the front end makes of a module."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    args, kwargs = (
        ((), dict(example_inputs))
        if isinstance(example_inputs, Mapping)
        else (tuple(example_inputs), {})
    )
    return capture(module, args, kwargs, name or type(module).__name__, dims, sizes)


def capture_program(
    module: nn.Module,
    example_inputs: Any,
    name: str | None,
    report: Progress,
    dims: Mapping[str, tuple[Dim, ...]] | None = None,
    sizes: Mapping[str, Size] | None = None,
) -> tuple[Hcfg, dict[str, Any], Places, tuple[str, ...]]:
    """The program of a module after all passes, the arrays of its weights, its places, and what it
    froze of the process that compiled it.
    """
    report("capture", 0, 1)
    captured = _captured(module, example_inputs, name, dims, sizes)
    program, places = captured.program, captured.places
    for _, after in stages(program):
        program, places = after, settle(places, program, after)
    weights = {
        key: _array(key, tensor)
        for key, tensor in captured.weights.items()
        if key in program.weights
    }
    program = share_weights(program, weights)
    return program, {key: weights[key] for key in program.weights}, places, captured.frozen


def _array(name: str, tensor: torch.Tensor) -> Any:
    try:
        return tensor.detach().cpu().contiguous().numpy()
    except TypeError as error:
        raise ModelError(
            f"the weight {name} has the dtype {tensor.dtype}, which cannot be stored",
            hint="Convert the module, for example with .float().",
        ) from error
