"""Measuring a point, and what tells versions of the code apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy
import torch
from numpy.typing import NDArray

from dyncc.backends.skipopu.artifact import Overlay
from dyncc.core.errors import ConfigError
from dyncc.driver import compile_decoder
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.perplexity import nats, windows
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.study.points import Point
from dyncc_sim.skipopu.study.subjects import Matrices, build, subject

#: Tokens whose likelihood is kept together: errors of figures are estimated from such pieces.
PIECE = 128


@dataclass(frozen=True)
class Result:
    """What was measured at a point.

    Attributes
    ----------
    predicted
        Tokens in each piece of the window.
    nats
        Their negative log likelihood, a sum for each piece.
    ran
        Which sublayers ran: bits of an array of shape (tokens, layers, 2), in hexadecimal.
    layers
        Of the model.
    slots
        Slots of keys and values that the window took in the simulated memory; -1 of PyTorch.
    fetched, resident
        Slots that attention read from memory, and on chip, in batches of the instance; -1 of
        PyTorch.
    """

    predicted: list[int]
    nats: list[float]
    ran: str
    layers: int
    slots: int
    fetched: int
    resident: int

    KINDS: ClassVar[dict[str, type]] = {
        "predicted": list, "nats": list, "ran": str, "layers": int, "slots": int, "fetched": int,
        "resident": int,
    }  # fmt: skip

    @property
    def tokens(self) -> int:
        """Tokens that were read."""
        return sum(self.predicted)

    @property
    def routes(self) -> NDArray[numpy.bool_]:
        """Bool of shape (tokens, layers, 2): whether attention and MLP ran."""
        bits = numpy.frombuffer(bytes.fromhex(self.ran), numpy.uint8)
        shape = (self.tokens, self.layers, 2)
        return numpy.unpackbits(bits, count=self.tokens * self.layers * 2).reshape(shape) > 0

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Any) -> Self:
        """From `facts`; raises ValueError if something is missing or strange."""
        if not isinstance(facts, dict) or facts.keys() != cls.KINDS.keys():
            raise ValueError("a result has other fields")
        for name, kind in cls.KINDS.items():
            if not isinstance(facts[name], kind):
                raise ValueError(f"{name} is no {kind.__name__}")
        found = cls(**facts)
        if not found.predicted or len(found.predicted) != len(found.nats):
            raise ValueError("there are not as many likelihoods as pieces")
        for name, number in (("predicted", int), ("nats", float)):
            if not all(isinstance(item, number) for item in facts[name]):
                raise ValueError(f"{name} holds other things than numbers")
        if len(bytes.fromhex(found.ran)) != -(-found.tokens * found.layers * 2 // 8):
            raise ValueError(f"there are no routes of {found.tokens} tokens")
        return found


def measure(point: Point) -> Result:
    """Measure a point.

    Raises
    ------
    ConfigError
        If the text has no such window, or there are no such routers.
    MissingToolError
        If a package of the model is missing.
    """
    of = subject(point.subject)
    text = of.tokens(point.split)
    whole = len(text) // point.tokens
    if point.window >= whole:
        raise ConfigError(
            f"window {point.window} is not one of the {whole} whole windows of {point.tokens} "
            f"tokens in the split {point.split}"
        )
    first = point.window * point.tokens
    (window,) = windows(text[first : first + point.tokens], of.begin, point.tokens)
    slots = fetched = resident = -1
    if point.engine == "simulator":
        machine = Decoder(_overlay(_machine_of(point)))
        logits = machine.logits(window.inputs.tolist())
        ran = machine.ran
        slots = machine.slots
        fetched, resident = machine.kv.fetched, machine.kv.resident
    else:
        model, _ = _built(_model_of(point))
        model.policy = KvPolicy(point.policy)
        with torch.inference_mode():
            values, runs = model.logits(torch.from_numpy(window.inputs))
        logits, ran = values.numpy(), runs.numpy()
    pieces = [
        slice(begin, min(begin + PIECE, point.tokens)) for begin in range(0, point.tokens, PIECE)
    ]
    return Result(
        [piece.stop - piece.start for piece in pieces],
        [nats(logits[piece], window.targets[piece]) for piece in pieces],
        numpy.packbits(ran).tobytes().hex(),
        ran.shape[1], slots, fetched, resident,
    )  # fmt: skip


def _model_of(point: Point) -> Point:
    """What of a point its model depends on."""
    return Point(subject=point.subject, weights=point.weights, routers=point.routers)


def _machine_of(point: Point) -> Point:
    """What of a point its program and memory depend on."""
    usual = Point()
    return replace(point, split=usual.split, tokens=usual.tokens, window=usual.window)


@lru_cache(maxsize=1)
def _built(point: Point) -> tuple[SkipLlama, Matrices]:
    return build(point)


@lru_cache(maxsize=1)
def _overlay(setting: Point) -> Overlay:
    """The compiled model of a point from `_machine_of`."""
    model, matrices = _built(_model_of(setting))
    model.policy = KvPolicy(setting.policy)
    example = torch.tensor([1]), torch.tensor([0])
    return compile_decoder(model, example, setting.arch, quantised=matrices)


@lru_cache(maxsize=2)
def fingerprint(engine: str) -> str:
    """What an engine computes for the toy, as a hash: results of other code have another one.

    It covers all formats of keys and values. A change of the code that changes no
    number, as one that makes it faster, leaves it as it is. PyTorch's numbers are rounded first:
    their last digits depend on the machine.
    """
    toy = Point(subject="toy", engine=engine, routers="random", tokens=40)
    settings = [
        replace(toy, policy="reuse"),
        replace(toy, policy="evict", mantissa_bits=8, kv="BFP8", weights="Q4_0G"),
    ]
    hashed = hashlib.sha256()
    if engine == "pytorch":
        hashed.update(torch.__version__.encode())
    for result in map(measure, settings):
        digits = 9 if engine == "simulator" else 3
        hashed.update(f"{[round(number, digits) for number in result.nats]} {result.ran}".encode())
    return hashed.hexdigest()


def versions(point: Point) -> dict[str, str]:
    """What a result depends on besides its point: SHA-256 of data, and `fingerprint`."""
    found = subject(point.subject).digests(point.split, point.trained)
    return found | {"code": fingerprint(point.engine)}


def perplexity(results: Sequence[Result]) -> float:
    """Perplexity over windows."""
    return float(
        numpy.exp(
            sum(sum(result.nats) for result in results) / sum(result.tokens for result in results)
        )
    )
