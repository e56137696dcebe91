r"""A Llama-style decoder whose tokens skip sublayers, in plain PyTorch.

In every layer two linear routers read the raw residual :math:`x` (SkipGPT, ICML 2025, with the rule
of SkipOPU, arXiv 2603.14785: both read the layer's input, so the MLP's route is known before
attention):

.. math::

   r_a, r_m = R_a x, R_m x \in R^2, \quad g = [r_{execute} > r_{skip}]

   h = x + g_a\, Attention(RMSNorm_1(x)), \quad y = h + g_m\, MLP(RMSNorm_2(h))

Without routers every sublayer runs. `SkipLlama.forward` decodes one token with ordinary Python
control flow; `SkipLlama.logits` computes all tokens of a text at once, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyncc_models.skipopu.config import KvPolicy, LlamaConfig

#: Rows of a router: its two logits.
SKIP, EXECUTE = 0, 1
Decide = Callable[[nn.Linear | None, Tensor], Tensor]


def always(router: nn.Linear | None, x: Tensor) -> Tensor:
    """Gates, for `SkipLlama.run`, with which every sublayer runs."""
    return x.new_ones(*x.shape[:-1], 1)


def by_router(router: nn.Linear | None, x: Tensor) -> Tensor:
    """Gates of a router's argmax; equal logits skip."""
    if router is None:
        return always(router, x)
    logits: Tensor = router(x)
    return (logits[..., EXECUTE:] > logits[..., SKIP:EXECUTE]).to(x.dtype)


def rotations(config: LlamaConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding.

    Parameters
    ----------
    positions
        int64 of shape (tokens,).

    Returns
    -------
    Tensor, Tensor
        float32 of shape (tokens, head_size / 2).
    """
    half = torch.arange(0, config.head_size, 2, dtype=torch.float64) / config.head_size
    angles = positions.double()[:, None] * config.rope_base**-half
    return angles.cos().float(), angles.sin().float()


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn neighbouring pairs of numbers (Su et al., RoFormer, 2021; the order of GGUF weights).

    Parameters
    ----------
    heads
        Shape (..., tokens, heads, head_size).
    cosine, sine
        Shape (tokens, head_size / 2).
    """
    even, odd = heads[..., 0::2], heads[..., 1::2]
    c, s = cosine[:, None], sine[:, None]
    turned = torch.stack((even * c - odd * s, even * s + odd * c), dim=-1)
    return turned.flatten(-2)


class RmsNorm(nn.Module):
    r""":math:`g \cdot x / \sqrt{mean(x^2) + \epsilon}` (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


class Attention(nn.Module):
    """Grouped-query attention; keys and values come from outside."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        heads, kv = config.heads * config.head_size, config.kv_heads * config.head_size
        self.q = nn.Linear(config.width, heads, bias=False)
        self.k = nn.Linear(config.width, kv, bias=False)
        self.v = nn.Linear(config.width, kv, bias=False)
        self.output = nn.Linear(heads, config.width, bias=False)

    def key_value(self, x: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        """Keys, turned, and values: shape (..., tokens, kv_heads, head_size) each."""
        shape = (*x.shape[:-1], self.config.kv_heads, self.config.head_size)
        return rotate(self.k(x).reshape(shape), cosine, sine), self.v(x).reshape(shape)

    def forward(
        self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor, cosine: Tensor, sine: Tensor
    ) -> Tensor:
        """Attend.

        Parameters
        ----------
        x
            Normalised input, shape (..., tokens, width).
        k, v
            Shape (..., positions, kv_heads, head_size).
        visible
            Bool, shape (..., tokens, positions): what a token attends to.
        """
        config = self.config
        shape = (*x.shape[:-1], config.heads, config.head_size)
        q = rotate(self.q(x).reshape(shape), cosine, sine)
        shared = config.heads // config.kv_heads
        k, v = (item.repeat_interleave(shared, -2).transpose(-2, -3) for item in (k, v))
        scores = q.transpose(-2, -3) @ k.transpose(-1, -2) / config.head_size**0.5
        scores = scores.masked_fill(~visible.unsqueeze(-3), -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(-2, -3)
        found: Tensor = self.output(mixed.flatten(-2))
        return found


class Mlp(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., width) to the same."""
        found: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return found


class Layer(nn.Module):
    """A layer; `router_attention` and `router_mlp` are None where the sublayer always runs."""

    def __init__(self, config: LlamaConfig, route_attention: bool, route_mlp: bool) -> None:
        super().__init__()
        self.norm_attention = RmsNorm(config.width, config.eps)
        self.attention = Attention(config)
        self.norm_mlp = RmsNorm(config.width, config.eps)
        self.mlp = Mlp(config)
        self.router_attention = nn.Linear(config.width, 2, bias=False) if route_attention else None
        self.router_mlp = nn.Linear(config.width, 2, bias=False) if route_mlp else None


class SkipLlama(nn.Module):
    """The decoder; keys and values of the tokens so far are its state.

    Parameters
    ----------
    config
        Sizes.
    routed
        Whether it has routers. Attention of layer 0 always runs.
    policy
        What becomes of keys and values of tokens that skip attention.
    """

    layers: Sequence[Layer]
    keys: Tensor
    values: Tensor
    attended: Tensor

    def __init__(
        self, config: LlamaConfig, routed: bool = False, policy: KvPolicy = KvPolicy.DENSE
    ) -> None:
        super().__init__()
        self.config = config
        self.policy = policy
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # A module list holds its modules as plain ones; here they are known to be layers.
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            Layer(config, routed and index > 0, routed) for index in range(config.layers)
        )
        self.norm = RmsNorm(config.width, config.eps)
        shape = (config.layers, config.context, config.kv_heads, config.head_size)
        self.register_buffer("keys", torch.zeros(shape), persistent=False)
        self.register_buffer("values", torch.zeros(shape), persistent=False)
        self.register_buffer("attended", torch.zeros(shape[:2], dtype=torch.bool), persistent=False)

    def forward(self, token: Tensor, position: Tensor) -> Tensor:
        """Decode one token.

        Parameters
        ----------
        token, position
            int64 of shape (1,); positions go up from 0, one by one.

        Returns
        -------
        Tensor
            Logits of the next token, float32 of shape (vocabulary,).
        """
        x = self.embedding(token)
        cosine, sine = rotations(self.config, position)
        past = torch.arange(self.config.context) <= position
        k = v = torch.zeros(1, self.config.kv_heads, self.config.head_size)
        for index, layer in enumerate(self.layers):
            run_attention = run_mlp = True
            if layer.router_attention is not None:
                logits = layer.router_attention(x)
                run_attention = bool(logits[0, EXECUTE] > logits[0, SKIP])
            if layer.router_mlp is not None:
                logits = layer.router_mlp(x)
                run_mlp = bool(logits[0, EXECUTE] > logits[0, SKIP])
            normed = layer.norm_attention(x)
            if run_attention or self.policy is KvPolicy.DENSE:
                k, v = layer.attention.key_value(normed, cosine, sine)
            self.keys[index].index_copy_(0, position, k)
            self.values[index].index_copy_(0, position, v)
            seen = run_attention or self.policy is not KvPolicy.EVICT
            self.attended[index].index_copy_(0, position, torch.tensor([seen]))
            if run_attention:
                visible = (past & self.attended[index])[None]
                x = x + layer.attention(
                    normed, self.keys[index], self.values[index], visible, cosine, sine
                )
            if run_mlp:
                x = x + layer.mlp(layer.norm_mlp(x))
        return F.linear(self.norm(x), self.embedding.weight)[0]

    def logits(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits after each token of a text, and which sublayers ran.

        Parameters
        ----------
        tokens
            int64 of shape (..., tokens).

        Returns
        -------
        Tensor, Tensor
            float32 of shape (..., tokens, vocabulary); bool of shape (..., tokens, layers, 2), for
            attention and MLP.
        """
        return self.run(tokens, by_router)

    def run(self, tokens: Tensor, decide: Decide) -> tuple[Tensor, Tensor]:
        """`logits`, with gates from `decide`.

        Parameters
        ----------
        decide
            From a router and its input to a gate of shape (..., tokens, 1): 1 where the sublayer
            runs, 0 where not. A gate that carries a gradient makes routers trainable.
        """
        states, ran = self.states(tokens, decide)
        return F.linear(states, self.embedding.weight), ran

    def states(self, tokens: Tensor, decide: Decide) -> tuple[Tensor, Tensor]:
        """`run` without the output matrix.

        Returns
        -------
        Tensor, Tensor
            Float of shape (..., tokens, width), normalised; bool of shape (..., tokens, layers, 2).
        """
        count = tokens.shape[-1]
        x = self.embedding(tokens)
        cosine, sine = rotations(self.config, torch.arange(count))
        causal = torch.ones(count, count, dtype=torch.bool).tril()
        k = v = x.new_zeros(*tokens.shape, self.config.kv_heads, self.config.head_size)
        ran = []
        for layer in self.layers:
            gate_attention = decide(layer.router_attention, x)
            gate_mlp = decide(layer.router_mlp, x)
            normed = layer.norm_attention(x)
            own_k, own_v = layer.attention.key_value(normed, cosine, sine)
            visible = causal
            if self.policy is KvPolicy.REUSE:
                own = gate_attention[..., None]
                k, v = own * own_k + (1 - own) * k, own * own_v + (1 - own) * v
            else:
                k, v = own_k, own_v
            if self.policy is KvPolicy.EVICT:
                seen = gate_attention[..., 0] > 0.5
                # A token that skips attention attends to itself, so that softmax has something.
                visible = causal & (seen[..., None, :] | torch.eye(count, dtype=torch.bool))
            x = x + gate_attention * layer.attention(normed, k, v, visible, cosine, sine)
            x = x + gate_mlp * layer.mlp(layer.norm_mlp(x))
            ran.append(torch.cat((gate_attention, gate_mlp), -1))
        return self.norm(x), torch.stack(ran, -2) > 0.5
