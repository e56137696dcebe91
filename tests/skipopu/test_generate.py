"""Decoders on the simulated overlay against PyTorch, and the command that lets them write."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import tokenizers
import torch
from skipopu import toy

from dyncc.arch.skipopu.isa import Trap
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.backends.skipopu.artifact import Overlay
from dyncc.cli import main
from dyncc.core.errors import ConfigError, InputError
from dyncc.driver import compile_decoder
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.trap import TrapError


@cache
def compiled(policy: KvPolicy, arch: str, routed: bool = True, slots: int | None = None) -> Overlay:
    model = toy.decoder(policy, routed)
    return compile_decoder(model, toy.example_inputs(), ARCHS[arch], slots=slots)


#: Root mean square of the difference of logits, over that of logits: 8 and 12 bits of activations.
BOUNDS = {"ecp5_85f": 0.03, "u280": 0.004}


@pytest.mark.parametrize("policy", KvPolicy)
@pytest.mark.parametrize("arch", BOUNDS)
def test_overlay_equals_pytorch(policy: KvPolicy, arch: str) -> None:
    tokens = toy.tokens()
    with torch.no_grad():
        expected, ran = toy.decoder(policy).logits(tokens)
    overlay = compiled(policy, arch)
    # In two parts, so that the second begins in the middle of what the instance works on at once.
    one, other = Decoder(overlay), Decoder(overlay, timed=True)
    logits = numpy.concatenate([one.logits(tokens[:11].tolist()), one.logits(tokens[11:].tolist())])
    best = [other.feed(tokens[:11].tolist()), other.feed(tokens[11:].tolist())]
    error = numpy.sqrt(numpy.mean((logits - expected.numpy()) ** 2))
    assert error < BOUNDS[arch] * numpy.sqrt(numpy.mean(expected.numpy() ** 2))
    assert numpy.array_equal(one.ran, ran.numpy())
    # Both programs and both ways to run them do the same.
    assert numpy.array_equal(one.ran, other.ran)
    assert best == [logits[10].argmax(), logits[29].argmax()]
    assert one.slots == other.slots
    assert one.slots == (4 * 30 if policy is KvPolicy.DENSE else ran[:, :, 0].sum())
    rates = one.skip_rates()
    assert rates[0, 0] == 0
    assert 0.1 < rates.mean() < 0.9
    assert (one.kv.fetched, one.kv.resident) == (other.kv.fetched, other.kv.resident)
    for prompt, count in ((True, 11), (False, 19)):
        speed = other.speed(prompt)
        assert speed is not None
        assert speed.tokens == count
        assert 0 < speed.bandwidth_used <= 1
        assert one.speed(prompt) is None


def test_batches_do_not_change_numbers() -> None:
    overlay = compiled(KvPolicy.REUSE, "u280")
    tokens = toy.tokens(12).tolist()
    together, alone = Decoder(overlay), Decoder(overlay)
    expected = together.logits(tokens)
    found = numpy.concatenate([alone.logits([token]) for token in tokens])
    assert numpy.array_equal(found, expected)


def test_greedy_text() -> None:
    overlay = compiled(KvPolicy.DENSE, "ecp5_85f", routed=False)
    decoder = Decoder(overlay)
    found = list(decoder.generate([3, 4], 6))
    assert decoder.position == 7
    assert not decoder.skip_rates().any()
    decoder.reset()
    logits = decoder.logits([3, 4, *found[:-1]])
    assert found == logits[1:].argmax(axis=1).tolist()
    decoder.reset()
    assert list(decoder.generate([3, 4], 6, end=found[0])) == []


def test_contexts_and_slots_that_are_too_small() -> None:
    overlay = compiled(KvPolicy.DENSE, "ecp5_85f", routed=False, slots=9)
    decoder = Decoder(overlay)
    with pytest.raises(InputError, match=r"41 tokens need 41 positions, and the context .* is 40"):
        decoder.feed([1] * 41)
    with pytest.raises(InputError, match="50 tokens need 50 positions"):
        decoder.generate([1, 2], 49)
    with pytest.raises(InputError, match="no token 1100 in a vocabulary of 1100"):
        decoder.feed([1100])
    with pytest.raises(InputError, match="no tokens"):
        decoder.logits([])
    assert decoder.position == 0
    decoder.feed([1, 2])
    with pytest.raises(InputError, match="39 tokens after 2 need 41 positions"):
        decoder.feed([1] * 39)
    with pytest.raises(TrapError, match="all 9 slots are taken") as trapped:
        decoder.feed([3])
    assert trapped.value.trap == Trap.SLOTS
    with pytest.raises(ConfigError, match="engine must be one of simulator, link, serial:"):
        Decoder(overlay, "rtl")


def words() -> SimpleNamespace:
    """A tokenizer that knows a word for each token."""
    vocabulary = {f"w{number}": number for number in range(toy.CONFIG.vocabulary)}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return SimpleNamespace(json=found.to_str(), end=1, chat_form="w7 {question} w8")


def test_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overlay = compile_decoder(
        toy.decoder(KvPolicy.REUSE), toy.example_inputs(), ARCHS["ecp5_85f"], "toy.dyncc",
        tokenizer=words(),
    )  # fmt: skip
    expected = list(Decoder(overlay).generate([5, 6], 4))
    command = ("generate", "toy.dyncc", "--tokens", "4")
    assert main((*command, "--prompt", "w5 w6")) == 0
    out = capsys.readouterr().out
    assert out.startswith(" ".join(f"w{token}" for token in (5, 6, *expected)) + "\n")
    assert "2 tokens read, 4 written, on ecp5_85f" in out
    assert "  layer 0         0.0 %" in out
    assert "slots taken of 160" in out
    assert "tokens one by one: " in out
    assert "% of 0.1 GB/s" in out
    assert main((*command, "--prompt-tokens", "5,6", "--untimed")) == 0
    out = capsys.readouterr().out
    assert out.startswith(" ".join(map(str, (5, 6, *expected))) + "\n")
    assert "cycles" not in out
    assert main((*command, "--prompt", "w5 w6", "--chat")) == 0
    assert "4 tokens read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", "hello"), "has no tokenizer"),
        (("--prompt-tokens", "1,x"), "'1,x' is not N,N,..."),
        (("--prompt-tokens", "1", "--chat"), "--chat needs --prompt"),
        (("--prompt-tokens", "1", "--tokens", "0"), "--tokens must be 1 or more, not 0"),
        (("--prompt-tokens", "1", "--tokens", "41"), "41 tokens need 41 positions"),
        (("--prompt-tokens", "1", "-o", "x"), "--output is for model files"),
    ],
)
def test_command_refuses(
    arguments: tuple[str, ...],
    message: str,
    plain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(("generate", str(plain), *arguments)) == 1
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "toy.dyncc"
    compile_decoder(
        toy.decoder(KvPolicy.DENSE, False), toy.example_inputs(), ARCHS["ecp5_85f"], path
    )
    return path


def test_model_files_are_compiled_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = toy.model_file(tmp_path, "dense", routed=False)
    arguments = ("--arch", "ecp5_85f", "--prompt-tokens", "3", "--tokens", "2")
    assert main(("generate", str(path), *arguments)) == 0
    out = capsys.readouterr().out
    assert "dense.dyncc: 4 layers for ecp5_85f" in out
    assert "skipping is off: the model has no routers, all 4 layers ran" in out
    assert main(("generate", "nothing.dyncc", *arguments)) == 1
    assert "there is no file nothing.dyncc" in capsys.readouterr().err
