"""Errors of dot products on what the matrices of a real language model read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import to_memory
from dyncc_models.skipopu import corpus
from dyncc_models.skipopu.error_contract.dots import numbers
from dyncc_models.skipopu.error_contract.measure import real
from dyncc_models.skipopu.llama import RmsNorm, SkipLlama
from dyncc_models.skipopu.numerics import f25
from dyncc_models.skipopu.numerics.bfp import to_bfp
from dyncc_models.skipopu.numerics.dot import accumulate, reconstruct
from dyncc_models.skipopu.numerics.weights import from_memory
from dyncc_models.skipopu.smollm2 import LlamaFile, decoder
from dyncc_models.skipopu.tokens import Tokenizer

#: Weights of a block, as GGUF has them.
_GROUP = 32
_NONE = numpy.zeros(0, numpy.int32), numpy.zeros((0, 0), numpy.int32)
#: Matrices of a layer by name, and the norm before them; None where there is none.
MATRICES = {
    "attention.q": "norm_attention",
    "attention.k": "norm_attention",
    "attention.v": "norm_attention",
    "attention.output": None,
    "mlp.gate": "norm_mlp",
    "mlp.up": "norm_mlp",
    "mlp.down": None,
}
#: The output matrix, which is the embedding.
OUTPUT = "output (Q8_0)"


#: SkipOPU's figure for its PE array (arXiv 2603.14785), relative RMS.
LIMIT = 0.116e-2
#: Mantissas that are tried; 13 is no instance's, and shows what one more bit gives.
BITS = (8, 10, 12, 13)


class Over(Enum):
    """What errors are summed over."""

    RESULTS = "results as the array writes them: behind a norm times 1 / rms of the token"
    LATER = "the same without the first token"
    RAW = "results before that scalar"


@dataclass(frozen=True)
class Activations:
    """Errors of dot products by matrix.

    Attributes
    ----------
    tokens
        That the model read.
    digest
        SHA-256 of the text.
    outputs
        Dot products by matrix.
    squares
        By matrix, bits, and what it is over: sums of squares of errors and of exact results.
    """

    tokens: int
    digest: str
    outputs: dict[str, int]
    squares: dict[tuple[str, int, Over], NDArray[numpy.float64]]

    def relative_rms(self, name: str | None, bits: int, over: Over) -> float:
        """The norm of errors as a part of that of exact results; of None: all matrices in Q4_1."""
        names = [item for item in self.outputs if item != OUTPUT] if name is None else [name]
        errors, exact = numpy.sum([self.squares[item, bits, over] for item in names], axis=0)
        return float(numpy.sqrt(errors / exact))


def measure(file: LlamaFile, tokens: int = 256, layers: int | None = None) -> Activations:
    """Let a model read held-out text, and multiply what its matrices read by the twin.

    Parameters
    ----------
    layers
        The first so many; None for all, and the output matrix.
    """
    model = decoder(file, context=tokens)
    begin = int(file.metadata["tokenizer.ggml.bos_token_id"])
    text = [begin, *Tokenizer(file.metadata).encode(corpus.text("test"))][:tokens]
    read = _recorded(model, torch.tensor(text))
    outputs: dict[str, int] = defaultdict(int)
    squares: dict[Any, Any] = defaultdict(lambda: numpy.zeros(2))
    for name, parameter, x, scalars in _inputs(model, read, layers):
        tensor = file.tensors[parameter]
        kind = WeightType[tensor.kind]
        rows = tensor.data.reshape(tensor.shape[0], -1)
        matrix = from_memory(kind, x.shape[1], _GROUP, to_memory(kind, _GROUP, rows))
        exact = x @ numbers(matrix).T
        outputs[name] += exact.size
        codes = f25.from_float(x)
        for bits in BITS:
            mantissas, exponents = to_bfp(codes.reshape(-1), _GROUP, bits)
            accumulators, bases = accumulate(
                matrix, mantissas.reshape(x.shape), exponents.reshape(len(x), -1)
            )
            errors = real(reconstruct(accumulators, bases, *_NONE)) - exact
            # Of each token, shape (2, tokens).
            sums = numpy.stack(((errors**2).sum(axis=1), (exact**2).sum(axis=1)))
            squares[name, bits, Over.RAW] += sums.sum(axis=1)
            squares[name, bits, Over.RESULTS] += (sums * scalars**2).sum(axis=1)
            squares[name, bits, Over.LATER] += (sums * scalars**2)[:, 1:].sum(axis=1)
    return Activations(len(text), corpus.digest("test"), dict(outputs), dict(squares))


def _recorded(model: SkipLlama, tokens: Tensor) -> dict[str, Tensor]:
    """Inputs of all norms and linear maps, by module, float32 of shape (tokens, columns)."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, RmsNorm | nn.Linear):

            def keep(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                found[name] = inputs[0].detach()

            handles.append(module.register_forward_pre_hook(keep))
    with torch.inference_mode():
        model.logits(tokens)
    for handle in handles:
        handle.remove()
    return found


def _inputs(
    model: SkipLlama, read: dict[str, Tensor], layers: int | None
) -> Iterator[tuple[str, str, Any, Any]]:
    """Each matrix: its name, its parameter, what the overlay multiplies it with, and scalars.

    The scalar of a norm is applied to results; without a norm it is 1. All are float64.
    """

    def behind(norm: str) -> tuple[Any, Any]:
        gain = model.get_parameter(f"{norm}.weight").detach().double().numpy()
        x = read[norm].double().numpy()
        return x * gain, (numpy.mean(x**2, axis=1) + model.config.eps) ** -0.5

    for layer in range(model.config.layers if layers is None else layers):
        place = f"layers.{layer}"
        for name, norm in MATRICES.items():
            if norm is None:
                x = read[f"{place}.{name}"].double().numpy()
                yield name, f"{place}.{name}.weight", x, numpy.ones(len(x))
            else:
                yield name, f"{place}.{name}.weight", *behind(f"{place}.{norm}")
    if layers is None:
        yield OUTPUT, "embedding.weight", *behind("norm")
