r"""Routers for a frozen decoder: which sublayers a token may skip at little cost.

The decoder's own weights do not change. With :math:`d` the difference of a router's logits, a gate
is at first between 0 and 1, then one or the other:

.. math:: g = sigmoid(d / T), \quad\text{later}\quad g = [d > 0]

Its temperature :math:`T` falls, and a growing share of gates, drawn anew in each step, is hard (as
Fan et al. do with quantised weights, arXiv:2004.07320); in the end all are. Hard gates have the
slope of the soft ones (Bengio et al., arXiv:1308.3432). Soft ones come first since the slope of a
loss at a gate that is 0 or 1 tells little about the other end: the divergence below has none where
every gate is 1.

Minimised is the mean of the text's negative log likelihood and the divergence from the decoder
that skips nothing (Hinton et al., arXiv:1503.02531), under the constraint that a given share of
executions is skipped, by the method of multipliers.

Routers read the raw residual, whose components differ by orders of magnitude. What is trained are
their weights in coordinates in which the residual's second moments are one: with
:math:`E[x x^T] = U \Lambda U^T` the router is :math:`V \Lambda^{-1/2} U^T`, and that product is
what is stored. Before training, :math:`d` is as constant as a linear map can be, by least squares,
since a router has no bias; the constant grows with what it costs to leave out the sublayer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.core.files import write_bytes
from dyncc_models.skipopu.llama import EXECUTE, SKIP, SkipLlama, always
from dyncc_models.skipopu.perplexity import Window
from dyncc_models.skipopu.router_settings import Settings

#: Moments of residuals are of at most this many windows.
_MOMENT_WINDOWS = 16
#: Directions whose second moment is below this share of the median are not amplified more.
_DAMPING = 1e-2
#: Of the constraint: its quadratic term, and the step of its multiplier.
_STIFFNESS, _DUAL_RATE = 50.0, 1.0
#: Cost of a sublayer, in nats, whose router starts at a difference of one; and the most at start.
_CHEAP, _MOST = 0.02, 6.0
#: Temperature when all gates are hard; it begins at one.
_COLD = 0.1
#: Share of the goal that holds at the first step.
_FIRST_GOAL = 0.2
#: State of Adam for a weight.
_MOMENTS = ("exp_avg", "exp_avg_sq")
#: Shifts that are tried, and how often they are halved.
_WIDEST, _BISECTIONS = 8.0, 10
#: Rows of logits that are computed together, and tokens from which costs are measured.
_ROWS, _COST_TOKENS = 64, 256


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
        self._constants: dict[nn.Module, Tensor] = {}
        self._output = model.embedding.weight.detach().bfloat16()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self._routers = {name: module for name, module in model.named_modules() if "router" in name}
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
        ramp = min(1.0, done / settings.ramp) if settings.ramp else 1.0
        goal = settings.skip * (_FIRST_GOAL + (1 - _FIRST_GOAL) * ramp)
        hard = min(1.0, done / settings.soft) if settings.soft else 1.0
        temperature = _COLD**hard
        draw = torch.Generator().manual_seed(settings.seed * 7919 + self.steps)
        for group in self._adam.param_groups:
            group["lr"] = settings.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        indices = self._batch()
        gates: list[Tensor] = []

        def decide(router: nn.Linear | None, x: Tensor) -> Tensor:
            gate = _gate(router, x, temperature, hard, draw)
            gates.append(gate)
            return gate

        with torch.autocast("cpu", torch.bfloat16):
            states, _ = self.model.states(self._inputs[indices], decide)
        nats, divergence, slopes = self._losses(states, indices)
        skipped = 1 - torch.stack(gates).mean()
        lack = goal - skipped
        constraint = self.multiplier * lack + _STIFFNESS / 2 * lack.square()
        self._adam.zero_grad()
        torch.autograd.backward((states, constraint), (slopes, None))
        self._adam.step()
        self.multiplier = max(0.0, self.multiplier + _DUAL_RATE * lack.item())
        self.steps += 1
        return Step(nats, divergence, skipped.item(), goal)

    def weights(self, shift: float = 0.0) -> dict[str, Tensor]:
        """Weights of routers as they are now, float32 of shape (2, width), by parameter.

        Parameters
        ----------
        shift
            Added to the difference of logits, as well as a linear map can.
        """
        found = {}
        for name, router in self._routers.items():
            weight = router.weight.detach().clone()
            weight[EXECUTE] += shift / 2 * self._constants[router]
            weight[SKIP] -= shift / 2 * self._constants[router]
            found[f"{name}.weight"] = weight
        return found

    def shift(self, windows: Sequence[Window], skip: float) -> float:
        """The shift with which a share of executions is skipped, as near as bisection finds it.

        Parameters
        ----------
        windows
            Text on which this is to hold.
        skip
            The share.
        """
        low, high = -_WIDEST, _WIDEST
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if self._skip_rate(windows, middle) > skip:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def _skip_rate(self, windows: Sequence[Window], shift: float) -> float:
        def decide(router: nn.Linear | None, x: Tensor) -> Tensor:
            if router is None:
                return always(router, x)
            with torch.autocast("cpu", enabled=False):
                logits = router(x.float())
                more = (x.float() @ self._constants[router])[..., None] * shift
            gate: Tensor = logits[..., EXECUTE:] - logits[..., SKIP:EXECUTE] + more > 0
            return gate.to(x.dtype)

        ran = total = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for window in windows:
                _, gates = self.model.states(torch.from_numpy(window.inputs), decide)
                ran, total = ran + int(gates.sum()), total + gates.numel()
        return 1 - ran / total

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, under a temporary name first.

        Raises
        ------
        ConfigError
            If it cannot be written.
        """
        tensors = {}
        for name, weight in self._weights.items():
            tensors[f"{name}.weight"] = weight.detach()
            state = self._adam.state[weight]
            for moment in _MOMENTS:
                tensors[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(weight))
        record = {
            "settings": self.settings.json,
            "text": self._digest(),
            "steps": str(self.steps),
            "multiplier": repr(self.multiplier),
        }
        write_bytes(path, save(tensors, record))

    def resume(self, path: str | Path) -> None:
        """Go on from a checkpoint of the same training.

        Raises
        ------
        ArtifactError
            If it is missing, damaged, or of another decoder.
        ConfigError
            If its settings or its text are others.
        """
        tensors, record = self._checkpoint(path)
        if record["settings"] != self.settings.json:
            raise ConfigError(
                f"the checkpoint was trained with {record['settings']}, not {self.settings.json}",
                where=str(path),
            )
        for name, weight in self._weights.items():
            weight.data.copy_(tensors[f"{name}.weight"])
            state = {moment: tensors[f"{name}.{moment}"].clone() for moment in _MOMENTS}
            self._adam.state[weight] = {"step": torch.tensor(float(record["steps"])), **state}
        self.steps, self.multiplier = int(record["steps"]), float(record["multiplier"])

    def begin_with(self, path: str | Path) -> None:
        """Start from the weights of another training's checkpoint; raises as `resume` does."""
        tensors, record = self._checkpoint(path)
        for name, weight in self._weights.items():
            weight.data.copy_(tensors[f"{name}.weight"])
        self.multiplier = float(record["multiplier"])

    def _checkpoint(self, path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safe_open(path, "pt") as content:
                record = content.metadata() or {}
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"it is no checkpoint: {error}", where=str(path)) from error
        wanted = {
            f"{name}.{part}": weight.shape
            for name, weight in self._weights.items()
            for part in ("weight", *_MOMENTS)
        }
        found = {name: tensor.shape for name, tensor in tensors.items()}
        fields = ("settings", "text", "steps", "multiplier")
        if found != wanted or not record.keys() >= set(fields):
            raise ArtifactError(
                f"it has {len(found)} tensors and the fields {', '.join(sorted(record))}, "
                f"not {len(wanted)} and {', '.join(fields)}",
                where=str(path),
            )
        if record["text"] != self._digest():
            raise ConfigError("the checkpoint was trained on another text", where=str(path))
        return tensors, record

    def _digest(self) -> str:
        return hashlib.sha256(self._inputs.numpy().tobytes()).hexdigest()

    def _batch(self) -> Tensor:
        """Which windows the step is about: every one once before any comes again."""
        count, batch = len(self._inputs), self.settings.batch
        first = self.steps * batch
        found = []
        for number in range(first, first + batch):
            order = torch.Generator().manual_seed(self.settings.seed * 7919 + number // count)
            found.append(torch.randperm(count, generator=order)[number % count])
        return torch.stack(found)

    def _losses(self, states: Tensor, indices: Tensor) -> tuple[float, float, Tensor]:
        """Negative log likelihood and divergence, means over tokens; the loss's slope by state."""
        rows = states.detach().flatten(0, -2).requires_grad_()
        dense = self._dense_states(indices).flatten(0, -2)
        targets, share = self._targets[indices].flatten(), self.settings.distilled
        nats = divergence = 0.0
        # Logits are by far the largest tensors: a few rows of them stay in the cache.
        for part in torch.arange(len(rows)).split(_ROWS):
            found = self._log_likelihoods(rows[part])
            with torch.no_grad():
                wanted = self._log_likelihoods(dense[part])
            weight = len(part) / len(rows)
            likelihood = weight * F.nll_loss(found, targets[part])
            apart = weight * _divergence(found, wanted)
            ((1 - share) * likelihood + share * apart).backward()
            nats += likelihood.item()
            divergence += apart.item()
        assert rows.grad is not None
        return nats, divergence, rows.grad.reshape(states.shape)

    def _log_likelihoods(self, states: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = F.linear(states, self._output)
        return logits.float().log_softmax(-1)

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
        dense = self._log_likelihoods(self._dense_states(torch.tensor([0]))[0, :_COST_TOKENS])
        for router in self._routers.values():
            values, vectors = torch.linalg.eigh(moments[router])
            floor = _DAMPING * values.median()
            basis = vectors.T / (values + floor).sqrt()[:, None]
            cost = self._cost(router, dense)
            start = min(_MOST, 1 + max(0.0, math.log(max(cost, _CHEAP) / _CHEAP)))
            constant = basis @ means[router]
            self._constants[router] = (basis.T @ constant).float()
            half = (start / 2 * constant).float()
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
            states, _ = self.model.states(self._inputs[0, :_COST_TOKENS], decide)
        return _divergence(self._log_likelihoods(states), dense).item()


def _divergence(found: Tensor, dense: Tensor) -> Tensor:
    """Mean over tokens of the Kullback-Leibler divergence of log likelihoods, in nats."""
    return F.kl_div(found, dense, reduction="batchmean", log_target=True)


def _gate(
    router: nn.Linear | None, x: Tensor, temperature: float, hard: float, draw: torch.Generator
) -> Tensor:
    """Gates between 0 and 1; a share `hard` of them is either, with the slope of the others."""
    if router is None:
        return always(router, x)
    with torch.autocast("cpu", enabled=False):
        logits: Tensor = router(x.float())
    difference = logits[..., EXECUTE:] - logits[..., SKIP:EXECUTE]
    soft = (difference / temperature).sigmoid()
    drawn = torch.rand(soft.shape, generator=draw) < hard
    return torch.where(drawn, (difference > 0).to(soft) + soft - soft.detach(), soft)
