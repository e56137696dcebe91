r"""Routers for a frozen decoder: which sublayers a token may skip at little cost.

The decoder's own weights do not change. A gate is drawn from the difference :math:`d` of a
router's logits, with logistic noise :math:`n` that fades in the course of training (Maddison et
al., "The Concrete distribution", ICLR 2017), and its gradient is that of a sigmoid, straight
through the threshold (Bengio et al., arXiv:1308.3432):

.. math:: g = [d + \sigma n > 0], \quad dg / dd = sigmoid'(d + \sigma n)

Minimised is the mean of the text's negative log likelihood and the divergence from the decoder
that skips nothing (Hinton et al., arXiv:1503.02531), under the constraint that a given share of
executions is skipped, by the method of multipliers.

Routers read the raw residual, whose components differ by orders of magnitude. What is trained are
their weights in coordinates in which the residual's second moments are one: with
:math:`E[x x^T] = U \Lambda U^T`, the weight is :math:`V \Lambda^{-1/2} U^T`. When training is done, the
product is what is stored. The first weights make :math:`d` as constant as a linear map can, by least squares,
since a router has no bias.
"""

from __future__ import annotations

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.core.files import write_bytes
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import EXECUTE, SKIP, SkipLlama, always
from dyncc_models.skipopu.perplexity import Window

#: Moments of residuals are of at most this many windows.
_MOMENT_WINDOWS = 16
#: Directions whose second moment is below this share of the median are not amplified more.
_DAMPING = 1e-2
#: Of the constraint: its quadratic term, and the step of its multiplier.
_STIFFNESS, _DUAL_RATE = 50.0, 1.0
#: Cost of a sublayer, in nats, whose router starts at a difference of one; and the most at start.
_CHEAP, _MOST = 0.02, 6.0


@dataclass(frozen=True)
class Settings:
    """How routers are trained.

    Attributes
    ----------
    policy
        KV policy of the decoder while it trains.
    skip
        Share of all executions of sublayers that is to be skipped, in 0..1; sublayers without a
        router count too.
    steps
        Steps, of one batch each.
    batch
        Windows of a step.
    ramp, quiet
        Shares of the steps in which the goal rises to `skip`, and after which there is no noise.
    rate
        Learning rate of Adam at its highest; it falls by a cosine.
    distilled
        Weight of the divergence from the dense decoder; the text's likelihood has the rest.
    seed
        Of the order of windows and of the noise.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    policy: KvPolicy = KvPolicy.DENSE
    skip: float = 0.25
    steps: int = 1500
    batch: int = 1
    ramp: float = 0.4
    quiet: float = 0.8
    rate: float = 2e-3
    distilled: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("skip", "ramp", "quiet", "distilled"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.rate <= 0:
            raise ConfigError(f"rate must be positive, not {self.rate}")


class _Whitened(nn.Module):
    """Weights of a router from those in the coordinates in which they train."""

    basis: Tensor

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)

    def forward(self, weight: Tensor) -> Tensor:
        return weight @ self.basis


@dataclass(frozen=True)
class Step:
    """What a step of training saw.

    Attributes
    ----------
    nats
        Mean negative log likelihood of the text.
    divergence
        Mean divergence from the dense decoder, in nats.
    skipped, goal
        Share of executions that were skipped, and that should have been.
    """

    nats: float
    divergence: float
    skipped: float
    goal: float


class Trainer:
    """Training of a decoder's routers, one step after the other.

    Parameters
    ----------
    model
        With routers, whose weights are replaced. Its policy must be that of `settings`.
    windows
        The text, all of one size but the last, which is left out if it is shorter.
    settings
        How.

    Attributes
    ----------
    steps
        Steps so far.
    multiplier
        Of the constraint, in nats for each execution more that a token skips, by their number.
    """

    def __init__(self, model: SkipLlama, windows: Sequence[Window], settings: Settings) -> None:
        if model.policy is not settings.policy:
            raise ConfigError(
                f"the decoder's policy is {model.policy.value}, not {settings.policy.value}"
            )
        whole = [item for item in windows if len(item.targets) == len(windows[0].targets)]
        self.model, self.settings = model, settings
        self.steps, self.multiplier = 0, 0.0
        self._inputs = torch.stack([torch.from_numpy(item.inputs) for item in whole])
        self._targets = torch.stack([torch.from_numpy(item.targets) for item in whole])
        self._dense: dict[int, Tensor] = {}
        self._noise = torch.Generator()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self._routers = {
            name: module for name, module in model.named_modules() if "router" in name
        }
        if not self._routers:
            raise ConfigError("the decoder has no routers to train")
        self._prepare()
        self._weights = {
            name: router.parametrizations.weight.original for name, router in self._routers.items()
        }
        for weight in self._weights.values():
            weight.requires_grad_(True)
        self._adam = torch.optim.Adam(self._weights.values(), betas=(0.9, 0.98))

    def step(self) -> Step:
        """Take a step."""
        settings, done = self.settings, self.steps / self.settings.steps
        goal = settings.skip * min(1.0, (self.steps + 1) / max(1.0, settings.ramp * settings.steps))
        scale = max(0.0, 1 - done / settings.quiet) if settings.quiet else 0.0
        self._noise.manual_seed(settings.seed * 1_000_003 + self.steps)
        for group in self._adam.param_groups:
            group["lr"] = settings.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        indices = self._batch()
        gates: list[Tensor] = []

        def decide(router: nn.Linear | None, x: Tensor) -> Tensor:
            gate = _gate(router, x, scale, self._noise)
            gates.append(gate)
            return gate

        with torch.autocast("cpu", torch.bfloat16):
            states, _ = self.model.states(self._inputs[indices], decide)
        nats, divergence = self._losses(states, indices)
        skipped = 1 - torch.stack(gates).mean()
        lack = goal - skipped
        loss = (1 - settings.distilled) * nats + settings.distilled * divergence
        loss = loss + self.multiplier * lack + _STIFFNESS / 2 * lack.square()
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self.multiplier = max(0.0, self.multiplier + _DUAL_RATE * lack.item())
        self.steps += 1
        return Step(nats.item(), divergence.item(), skipped.item(), goal)

    def weights(self) -> dict[str, Tensor]:
        """Weights of routers as they are now, float32 of shape (2, width), by parameter."""
        return {
            f"{name}.weight": router.weight.detach().clone()
            for name, router in self._routers.items()
        }

    def _batch(self) -> Tensor:
        """Which windows the step is about: every one once before any comes again."""
        count, batch = len(self._inputs), self.settings.batch
        first = self.steps * batch
        found = []
        for number in range(first, first + batch):
            order = torch.Generator().manual_seed(self.settings.seed * 7919 + number // count)
            found.append(torch.randperm(count, generator=order)[number % count])
        return torch.stack(found)

    def _losses(self, states: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log likelihood and divergence, means over tokens."""
        found = self._log_likelihoods(states)
        with torch.no_grad():
            dense = self._log_likelihoods(self._dense_states(indices))
        nats = F.nll_loss(found, self._targets[indices].flatten())
        return nats, _divergence(found, dense)

    def _log_likelihoods(self, states: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = F.linear(states, self.model.embedding.weight)
        return logits.float().log_softmax(-1).flatten(0, -2)

    def _dense_states(self, indices: Tensor) -> Tensor:
        """States of the decoder that skips nothing, computed once for a window."""
        for index in indices.tolist():
            if index not in self._dense:
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    states, _ = self.model.states(self._inputs[index], always)
                self._dense[index] = states
        return torch.stack([self._dense[index] for index in indices.tolist()])

    @torch.no_grad()
    def _prepare(self) -> None:
        """Make routers train in coordinates of moment one, and start almost constant."""
        moments: dict[nn.Linear | None, Tensor] = {}
        means: dict[nn.Linear | None, Tensor] = {}

        def measure(router: nn.Linear | None, x: Tensor) -> Tensor:
            flat = x.double().flatten(0, -2)
            moments[router] = moments.get(router, 0) + flat.T @ flat / rows
            means[router] = means.get(router, 0) + flat.sum(0) / rows
            return always(router, x)

        part = self._inputs[:: max(1, len(self._inputs) // _MOMENT_WINDOWS)]
        rows = part.numel()
        with torch.autocast("cpu", torch.bfloat16):
            for row in part:
                self.model.states(row, measure)
        dense = self._log_likelihoods(self._dense_states(torch.tensor([0])))
        for router in self._routers.values():
            values, vectors = torch.linalg.eigh(moments[router])
            floor = _DAMPING * values.median()
            basis = vectors.T / (values + floor).sqrt()[:, None]
            cost = self._cost(router, dense)
            start = min(_MOST, 1 + max(0.0, math.log(max(cost, _CHEAP) / _CHEAP)))
            half = start / 2 * (basis @ means[router]).float()
            router.weight.data[EXECUTE], router.weight.data[SKIP] = half, -half
            # What is trained is not what the map gives: the inverse is of no use.
            parametrize.register_parametrization(
                router, "weight", _Whitened(basis.float()), unsafe=True
            )

    def _cost(self, router: nn.Linear, dense: Tensor) -> float:
        """Divergence from the dense decoder where the sublayer of a router never runs."""

        def decide(asked: nn.Linear | None, x: Tensor) -> Tensor:
            return always(asked, x) * float(asked is not router)

        with torch.autocast("cpu", torch.bfloat16):
            states, _ = self.model.states(self._inputs[:1], decide)
        return _divergence(self._log_likelihoods(states), dense).item()


def _divergence(found: Tensor, dense: Tensor) -> Tensor:
    """Mean over tokens of the Kullback-Leibler divergence of log likelihoods, in nats."""
    return F.kl_div(found, dense, reduction="batchmean", log_target=True)


def _gate(router: nn.Linear | None, x: Tensor, scale: float, noise: torch.Generator) -> Tensor:
    """A gate that is 0 or 1, with the gradient of a sigmoid."""
    if router is None:
        return always(router, x)
    with torch.autocast("cpu", enabled=False):
        logits = router(x.float())
    drawn = torch.rand((*x.shape[:-1], 1), generator=noise).clamp(1e-6, 1 - 1e-6).logit()
    difference = logits[..., EXECUTE:] - logits[..., SKIP:EXECUTE] + scale * drawn
    soft = difference.sigmoid()
    return (difference > 0).to(soft.dtype) + soft - soft.detach()
