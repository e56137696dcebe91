"""The reference decoder: token by token and all at once, for every policy."""

from __future__ import annotations

import pytest
import torch

from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import SkipLlama

CONFIG = LlamaConfig(
    width=32, hidden=48, layers=4, heads=4, kv_heads=2, head_size=8, vocabulary=50, context=24
)


def model(policy: KvPolicy, routed: bool = True) -> SkipLlama:
    torch.manual_seed(1)
    found = SkipLlama(CONFIG, routed, policy)
    with torch.no_grad():
        # Larger than at the start of a training, so that routes differ from token to token.
        found.embedding.weight.mul_(3)
    return found.eval()


@pytest.mark.parametrize("policy", KvPolicy)
def test_one_by_one_equals_all_at_once(policy: KvPolicy) -> None:
    decoder = model(policy)
    tokens = torch.randint(0, CONFIG.vocabulary, (20,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, ran = decoder.logits(tokens)
        found = [decoder(tokens[t : t + 1], torch.tensor([t])) for t in range(len(tokens))]
    assert torch.allclose(torch.stack(found), expected, atol=1e-5)
    attention, mlp = ran.unbind(-1)
    assert attention[:, 0].all()
    for gates in (attention[:, 1:], mlp):
        assert 0.1 < gates.float().mean() < 0.9


def test_policies_differ_only_where_tokens_skip() -> None:
    tokens = torch.arange(20)
    with torch.no_grad():
        dense, reuse, evict = (model(policy).logits(tokens)[0] for policy in KvPolicy)
        assert not torch.allclose(dense, reuse, atol=1e-3)
        assert not torch.allclose(dense, evict, atol=1e-3)
        first, second, third = (model(policy, False).logits(tokens)[0] for policy in KvPolicy)
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_a_text_does_not_see_what_comes_after() -> None:
    tokens = torch.arange(20)
    with torch.no_grad():
        whole = model(KvPolicy.REUSE).logits(tokens)[0]
        part = model(KvPolicy.REUSE).logits(tokens[:7])[0]
    assert torch.allclose(whole[:7], part, atol=1e-5)


def test_sizes_that_do_not_agree() -> None:
    with pytest.raises(ConfigError, match="3 heads do not share 2 key heads evenly"):
        LlamaConfig(32, 48, 2, 3, 2, 8, 50, 24)
    with pytest.raises(ConfigError, match="layers must be positive, not 0"):
        LlamaConfig(32, 48, 0, 4, 2, 8, 50, 24)
