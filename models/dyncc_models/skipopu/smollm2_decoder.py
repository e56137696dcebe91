"""SmolLM2-135M-Instruct as a model file: ``dyncc compile`` this for the overlay.

With the routers of ``weights/skipopu_routers_10.safetensors`` a tenth of all executions of
sublayers is skipped, and the model still writes well; without that file every sublayer runs.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.router_files import read
from dyncc_models.skipopu.smollm2 import GgufTensor, LlamaFile, decoder, read_gguf
from dyncc_models.skipopu.tokens import Tokenizer

#: Routers that skip a quarter of all executions, which costs more than they save in most uses; see
#: `router_files` and docs/skipopu-routers.md.
ROUTERS = Path(__file__).parent.parent / "weights" / "skipopu_routers.safetensors"
#: Routers that skip a tenth.
GENTLE = ROUTERS.with_stem(f"{ROUTERS.stem}_10")
CONTEXT = 2048


@lru_cache(maxsize=1)
def _file() -> LlamaFile:
    return read_gguf()


def build(routers: Path = GENTLE) -> SkipLlama:
    """The decoder, with routers if there are any.

    Raises
    ------
    MissingToolError
        If a package is missing.
    ModelError
        If the file of routers is damaged or does not fit.
    """
    if not routers.is_file():
        return decoder(_file(), context=CONTEXT)
    found = read(routers)
    model = decoder(_file(), routed=True, policy=found.policy, context=CONTEXT)
    found.load_into(model)
    return model


def example_inputs() -> tuple[Tensor, Tensor]:
    """A token and its position."""
    return torch.tensor([1]), torch.tensor([0])


def quantised() -> dict[str, GgufTensor]:
    """Matrices as the GGUF file has them."""
    return {name: tensor for name, tensor in _file().tensors.items() if tensor.kind != "F32"}


def tokenizer() -> Tokenizer:
    """The GGUF file's."""
    return Tokenizer(_file().metadata)


def begin() -> int:
    """The token that begins a text."""
    return int(_file().metadata["tokenizer.ggml.bos_token_id"])
