"""Matrices as the overlay stores them: the bytes of the model file, or rounded here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import dequantise, quantise, row_bytes
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.image import Stored
from dyncc.backends.skipopu.plan import DecoderPlan
from dyncc.core.errors import ConfigError

#: Groups of GGUF's types.
_GGUF_GROUP = 32
#: How far dequantised numbers may be from the module's, as a part of the matrix's largest.
_CLOSE = 1e-5


@dataclass(frozen=True)
class Rounding:
    """What became of a matrix.

    Attributes
    ----------
    name
        Of the parameter.
    kind
        Format, by name.
    exact
        Whether it is stored as the model file gave it.
    error
        Root mean square of the rounding over that of the numbers; 0 if exact.
    """

    name: str
    kind: str
    exact: bool
    error: float


def store(
    plan: DecoderPlan,
    arch: ArchSpec,
    weights: Mapping[str, NDArray[Any]],
    quantised: Mapping[str, Any],
) -> tuple[dict[str, Stored], list[Rounding]]:
    """Matrices of a decoder, and what became of them.

    Parameters
    ----------
    weights
        float32 of shape (rows, columns) by name.
    quantised
        See `dyncc.modelfile.ModelFile.quantised`. Used where the overlay has the format: the
        embedding in Q8_0, other matrices in Q4_1, Q4_0G or Q8_0, and an instance with blocks of 32.

    Raises
    ------
    ConfigError
        If what was given does not fit the module, or numbers do not fit a format.
    """
    strange = sorted(set(quantised) - set(weights))
    if strange:
        raise ConfigError(f"quantised() gives {strange[0]}, and the module has no such parameter")
    stored, found = {}, []
    for name, usual in _matrices(plan):
        values, given = weights[name], quantised.get(name)
        allowed = [usual.name, WeightType.Q8_0.name]
        if name != plan.embedding:
            allowed.append(WeightType.Q4_0G.name)
        if given is not None and given.kind in allowed and arch.block == _GGUF_GROUP:
            kind = WeightType[given.kind]
            data, error = _checked(name, kind, given, values), 0.0
        else:
            kind = usual
            try:
                data = quantise(kind, values, arch.block)
            except ConfigError as problem:
                raise ConfigError(f"{name}: {problem.message}") from problem
            error = _error(values, dequantise(kind, data, arch.block))
            given = None
        stored[name] = Stored(kind, values.shape[0], values.shape[1], data)
        found.append(Rounding(name, kind.name, given is not None, error))
    return stored, found


def summary(rounded: list[Rounding]) -> str:
    """A line about all matrices."""
    own = [item for item in rounded if not item.exact]
    text = f"{len(rounded) - len(own)} of {len(rounded)} matrices as the model file has them"
    if own:
        worst = max(own, key=lambda item: item.error)
        text += (
            f", {len(own)} rounded with a relative error of up to {100 * worst.error:.2f} % "
            f"({worst.name} to {worst.kind})"
        )
    return text


def _matrices(plan: DecoderPlan) -> Iterator[tuple[str, WeightType]]:
    yield plan.embedding, WeightType.Q8_0
    for layer in plan.layers:
        for name in (
            layer.q, layer.k, layer.v, layer.output, layer.gate, layer.up, layer.down,
        ):  # fmt: skip
            yield name, WeightType.Q4_1
    if plan.output is not None:
        yield plan.output, WeightType.Q4_1


def _checked(name: str, kind: WeightType, given: Any, values: NDArray[Any]) -> NDArray[numpy.uint8]:
    """The bytes of the model file, if they are what the module computes with."""
    shape, data = tuple(given.shape), numpy.ascontiguousarray(given.data)
    if shape != values.shape:
        raise ConfigError(f"quantised() gives {name} of shape {shape}, not {values.shape}")
    wanted = (shape[0], row_bytes(kind, shape[1], _GGUF_GROUP))
    if data.dtype != numpy.uint8 or data.shape != wanted:
        raise ConfigError(
            f"quantised() gives {name} as {data.dtype}{list(data.shape)}, not uint8{list(wanted)}"
        )
    difference = numpy.abs(dequantise(kind, data, _GGUF_GROUP) - values).max()
    if not difference <= _CLOSE * numpy.abs(values).max():
        raise ConfigError(
            f"quantised() gives other numbers for {name} than the module has: "
            f"they differ by up to {difference:.3g}",
            hint="Leave out of it what was changed after loading; it is then rounded.",
        )
    return data


def _error(values: NDArray[Any], rounded: NDArray[Any]) -> float:
    size = float(numpy.sqrt(numpy.mean(numpy.square(values, dtype=numpy.float64))))
    return float(numpy.sqrt(numpy.mean((values - rounded) ** 2))) / size if size else 0.0
