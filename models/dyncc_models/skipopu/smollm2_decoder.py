"""SmolLM2-135M-Instruct as a model file: ``dyncc compile`` this for the overlay.

With the weights of routers in ``weights/skipopu_routers.safetensors`` tokens skip sublayers;
without that file every sublayer runs.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dyncc.core.errors import ModelError
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.smollm2 import GgufTensor, LlamaFile, decoder, read_gguf
from dyncc_models.skipopu.tokens import Tokenizer

#: Routers by their names in `SkipLlama`; the field ``policy`` of its metadata is a `KvPolicy`.
ROUTERS = Path(__file__).parent.parent / "weights" / "skipopu_routers.safetensors"
CONTEXT = 2048


@lru_cache(maxsize=1)
def _file() -> LlamaFile:
    return read_gguf()


def build(routers: Path = ROUTERS) -> SkipLlama:
    """The decoder, with routers if there are any.

    Raises
    ------
    MissingToolError
        If a package is missing.
    ModelError
        If the file of routers does not fit.
    """
    if not routers.is_file():
        return decoder(_file(), context=CONTEXT)
    with safe_open(routers, "pt") as content:
        policy = (content.metadata() or {}).get("policy", KvPolicy.REUSE.value)
        state = {name: content.get_tensor(name).float() for name in content.keys()}  # noqa: SIM118
    model = decoder(_file(), routed=True, policy=KvPolicy(policy), context=CONTEXT)
    wanted = {name: value.shape for name, value in model.named_parameters() if "router" in name}
    for name in sorted(wanted.keys() | state.keys()):
        found = state[name].shape if name in state else None
        if found != wanted.get(name):
            raise ModelError(
                f"{name} has shape {found}, not {wanted.get(name)}", where=str(routers)
            )
    model.load_state_dict(state, strict=False)
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
