"""The models of the study with their texts, their routers, and weights in other formats."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy
import torch
from torch import nn

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import dequantise, quantise
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu import corpus, router_files, smollm2_decoder
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.smollm2 import GgufTensor, LlamaFile, decoder, packaged_file, read_gguf
from dyncc_models.skipopu.tokens import Tokenizer
from dyncc_sim.skipopu.study.points import ALWAYS, NONE, WEIGHTS, Point

#: GGUF's groups.
_GROUP = 32
Matrices = Mapping[str, GgufTensor]


class Subject(Protocol):
    """A model and its text.

    Attributes
    ----------
    title
        For readers.
    begin
        The token that begins every window.
    config
        Sizes of the model.
    """

    title: str
    begin: int
    config: LlamaConfig

    def tokens(self, split: str) -> Sequence[int]:
        """Tokens of a text."""

    def matrices(self) -> Matrices:
        """Matrices as they are shipped."""

    def model(self, routers: str) -> SkipLlama:
        """A model with trained routers, or with none; raises ConfigError if there are none such."""

    def trained(self) -> list[str]:
        """Names of trained routers."""

    def policy(self, routers: str) -> KvPolicy:
        """The policy of keys and values that routers were trained for."""

    def digests(self, split: str, routers: str) -> dict[str, str]:
        """What results depend on: SHA-256 of weights, text and, if they have a name, routers."""


class SmolLm2:
    """SmolLM2-135M-Instruct on the text of `dyncc_models.skipopu.corpus`."""

    title = "SmolLM2-135M-Instruct, Q4_1"

    def __init__(self) -> None:
        self._places = {
            place.stem.removeprefix("skipopu_"): place
            for place in sorted(
                smollm2_decoder.ROUTERS.parent.glob(f"{smollm2_decoder.ROUTERS.stem}*.safetensors")
            )
        }
        self.config = _file().config
        self.begin = int(_file().metadata["tokenizer.ggml.bos_token_id"])

    def tokens(self, split: str) -> Sequence[int]:
        """Tokens of a split."""
        return _encoded(split)

    def matrices(self) -> Matrices:
        """Those of the GGUF file."""
        return {name: tensor for name, tensor in _file().tensors.items() if tensor.kind != "F32"}

    def trained(self) -> list[str]:
        """Names of the files of routers."""
        return list(self._places)

    def model(self, routers: str) -> SkipLlama:
        """The dequantised model; its parameters are not to be changed in place."""
        if routers:
            return smollm2_decoder.build(self._place(routers))
        plain = _plain()
        # Parameters are shared: they take most of the memory, and of the time to make a model.
        return copy.deepcopy(plain, {id(value): value for value in plain.parameters()})

    def digests(self, split: str, routers: str) -> dict[str, str]:
        """See `Subject`."""
        found = {"weights": _digest(packaged_file()), "text": corpus.digest(split)}
        if routers:
            found["routers"] = _digest(self._place(routers))
        return found

    def policy(self, routers: str) -> KvPolicy:
        """As the file says."""
        return router_files.read(self._place(routers)).policy

    def _place(self, routers: str) -> Path:
        if routers not in self._places:
            known = ", ".join((NONE, f"{ALWAYS}a7,m12", *self._places))
            raise ConfigError(f"there are no routers {routers!r}", hint=f"Choose from {known}.")
        return self._places[routers]


class Toy:
    """A decoder of random numbers on random tokens: for trying the study, and for its tests."""

    title = "a toy of random numbers"
    begin = 0
    config = LlamaConfig(
        width=64, hidden=96, layers=3, heads=4, kv_heads=2, head_size=32, vocabulary=300,
        context=160,
    )  # fmt: skip
    _SEED = 1

    def tokens(self, split: str) -> Sequence[int]:
        """Some tokens, drawn anew for each split."""
        draw = numpy.random.default_rng([self._SEED, *split.encode()])
        found: list[int] = draw.integers(0, self.config.vocabulary, 256).tolist()
        return found

    def matrices(self) -> Matrices:
        """Random numbers, rounded."""
        found = {}
        for name, value in self._parameters().items():
            if value.ndim == 2 and "router" not in name:
                kind = WeightType.Q8_0 if "embedding" in name else WeightType.Q4_1
                rows = quantise(kind, value.numpy(), _GROUP)
                found[name] = GgufTensor(kind.name, tuple(value.shape), rows)
        return found

    def trained(self) -> list[str]:
        """Routers that nobody trained."""
        return ["random"]

    def model(self, routers: str) -> SkipLlama:
        """The model of these matrices."""
        if routers not in ("", *self.trained()):
            raise ConfigError(f"the toy has no routers {routers!r}, only none, random and skip:")
        found = SkipLlama(self.config, routed=routers != "").eval()
        found.load_state_dict(self._parameters(), strict=False)
        _put(found, self.matrices())
        return found

    def digests(self, split: str, routers: str) -> dict[str, str]:
        """See `Subject`."""
        text = numpy.array(self.tokens(split), "<u4").tobytes()
        hashed = hashlib.sha256()
        for tensor in self._parameters().values():
            hashed.update(tensor.numpy().astype("<f4").tobytes())
        return {"weights": hashed.hexdigest(), "text": hashlib.sha256(text).hexdigest()}

    def policy(self, routers: str) -> KvPolicy:
        """None better than another."""
        return KvPolicy.REUSE

    def _parameters(self) -> dict[str, torch.Tensor]:
        draw = numpy.random.default_rng(self._SEED)
        with torch.device("meta"):
            shapes = {
                name: tuple(value.shape)
                for name, value in SkipLlama(self.config, routed=True).named_parameters()
            }
        found = {}
        for name, shape in shapes.items():
            scale = 0.1 if "embedding" in name else shape[-1] ** -0.5
            numbers = draw.normal(size=shape) * scale if len(shape) > 1 else numpy.ones(shape)
            found[name] = torch.from_numpy(numbers.astype(numpy.float32))
        return found


@lru_cache(maxsize=2)
def subject(name: str) -> Subject:
    """A subject by the name that points give it."""
    return Toy() if name == "toy" else SmolLm2()


def build(point: Point) -> tuple[SkipLlama, Matrices]:
    """The model of a point, but for its policy, and its matrices as the overlay stores them."""
    of = subject(point.subject)
    model = of.model(point.trained)
    _skip_always(model, point.skipped())
    matrices = of.matrices()
    if point.weights != "Q4_1":
        matrices = rounded(matrices, point.weights)
        _put(model, matrices)
    return model, matrices


def rounded(matrices: Matrices, weights: str) -> Matrices:
    """Matrices in another format, but for the embedding, which is in 8 bits and stays so."""
    scheme = WEIGHTS[weights]
    found = {}
    for name, tensor in matrices.items():
        if tensor.kind == WeightType.Q4_1.name:
            values = dequantise(WeightType.Q4_1, numpy.ascontiguousarray(tensor.data), _GROUP)
            rows = quantise(scheme.kind, values, _GROUP, scheme.levels)
            found[name] = GgufTensor(scheme.kind.name, tensor.shape, rows)
        else:
            found[name] = tensor
    return found


def _put(model: SkipLlama, matrices: Matrices) -> None:
    """Make a model compute with matrices."""
    state = {
        name: torch.from_numpy(
            dequantise(WeightType[tensor.kind], numpy.asarray(tensor.data), _GROUP).astype("<f4")
        )
        for name, tensor in matrices.items()
    }
    model.load_state_dict(state, strict=False, assign=True)


def _skip_always(model: SkipLlama, skipped: Sequence[tuple[int, int]]) -> None:
    """Give sublayers routers that skip whatever the token: their logits are equal."""
    for layer, sublayer in skipped:
        if layer >= model.config.layers:
            raise ConfigError(f"there is no layer {layer} in {model.config.layers} layers")
        router = nn.Linear(model.config.width, 2, bias=False)
        nn.init.zeros_(router.weight)
        setattr(model.layers[layer], ("router_attention", "router_mlp")[sublayer], router)


@lru_cache(maxsize=1)
def _file() -> LlamaFile:
    return read_gguf()


@lru_cache(maxsize=1)
def _plain() -> SkipLlama:
    return decoder(_file(), context=smollm2_decoder.CONTEXT)


@lru_cache(maxsize=3)
def _encoded(split: str) -> tuple[int, ...]:
    return tuple(Tokenizer(_file().metadata).encode(corpus.text(split)))


@lru_cache(maxsize=8)
def _digest(place: Path) -> str:
    with place.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
