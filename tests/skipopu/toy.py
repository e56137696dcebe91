"""A decoder that is small enough for every test; it is a model file too."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import dequantise, quantise
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import SkipLlama

#: More tokens than logits are computed together, so that the most likely one is found in parts.
CONFIG = LlamaConfig(
    width=64, hidden=96, layers=4, heads=4, kv_heads=2, head_size=32, vocabulary=1100, context=40
)

MODEL_FILE = """
from dyncc_models.skipopu.config import KvPolicy
from skipopu.toy import decoder, example_inputs

def build():
    return decoder(KvPolicy("{policy}"), {routed})
"""


def decoder(policy: KvPolicy, routed: bool = True) -> SkipLlama:
    """A decoder whose weights are those that the overlay stores."""
    torch.manual_seed(1)
    model = SkipLlama(CONFIG, routed, policy).eval()
    with torch.no_grad():
        # Larger than at the start of a training, so that routes differ from token to token.
        model.embedding.weight.mul_(3)
        for name, value in model.named_parameters():
            if value.ndim == 2 and "router" not in name:
                kind = WeightType.Q8_0 if "embedding" in name else WeightType.Q4_1
                rows = dequantise(kind, quantise(kind, value.numpy(), 32), 32)
                value.copy_(torch.from_numpy(rows))
    return model


def example_inputs() -> tuple[Tensor, Tensor]:
    return torch.tensor([3]), torch.tensor([0])


def model_file(folder: Path, policy: str = "reuse", routed: bool = True) -> Path:
    path = folder / f"{policy}.py"
    path.write_text(MODEL_FILE.format(policy=policy, routed=routed))
    return path


def tokens(count: int = 30) -> Tensor:
    return torch.randint(0, CONFIG.vocabulary, (count,), generator=torch.Generator().manual_seed(3))
