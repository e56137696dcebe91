r"""Perplexity of a text: one way to cut it and to count, for PyTorch and for the overlay.

The tokens of a text are cut into windows without overlap. A window's input is the token that
begins a text, then the window's tokens but the last; its targets are the window's tokens. So every
token of the text is predicted once, from at most ``size - 1`` tokens before it and the begin:

.. math:: perplexity = \exp\left(-\frac{1}{N} \sum_{i=1}^{N} \ln p(t_i)\right)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.llama import Decide, SkipLlama, by_router

#: Input tokens of a window in published figures.
WINDOW = 512
#: Rows of logits that are turned into float64 together, to bound memory.
_ROWS = 64


@dataclass(frozen=True)
class Window:
    """A piece of text.

    Attributes
    ----------
    inputs, targets
        int64 of shape (tokens,): what the model reads, and what is to follow each of these.
    """

    inputs: NDArray[numpy.int64]
    targets: NDArray[numpy.int64]


def windows(tokens: Sequence[int], begin: int, size: int = WINDOW) -> Iterator[Window]:
    """Cut a text.

    Parameters
    ----------
    tokens
        The text's, without `begin`.
    begin
        The token that is put before each window.
    size
        Input tokens of a window, `begin` among them; the last window may be shorter.

    Raises
    ------
    ConfigError
        If `size` is less than 1, or the text is empty.
    """
    if size < 1:
        raise ConfigError(f"a window must have at least 1 token, not {size}")
    if not len(tokens):
        raise ConfigError("perplexity needs at least 1 token of text")
    for first in range(0, len(tokens), size):
        targets = numpy.asarray(tokens[first : first + size], numpy.int64)
        yield Window(numpy.concatenate(([begin], targets[:-1])), targets)


def nats(logits: NDArray[Any], targets: NDArray[numpy.int64]) -> float:
    """Negative log likelihood of the targets, summed, in float64.

    Parameters
    ----------
    logits
        Float of shape (tokens, vocabulary).
    targets
        int64 of shape (tokens,).
    """
    total = 0.0
    for first in range(0, len(targets), _ROWS):
        rows = logits[first : first + _ROWS].astype(numpy.float64)
        rows -= rows.max(-1, keepdims=True)
        chosen = numpy.take_along_axis(rows, targets[first : first + _ROWS, None], -1)
        total += float(numpy.log(numpy.exp(rows).sum(-1)).sum() - chosen.sum())
    return total


@dataclass
class Score:
    """What was counted so far.

    Attributes
    ----------
    tokens
        Tokens that were predicted.
    nats
        Their negative log likelihood.
    executed
        int64 of shape (layers, 2): how often attention and MLP of a layer ran, over the inputs.
        Sublayers without a router are among them.
    """

    tokens: int = 0
    nats: float = 0.0
    executed: NDArray[numpy.int64] = field(default_factory=lambda: numpy.zeros((0, 2), numpy.int64))

    @property
    def perplexity(self) -> float:
        """See the module."""
        return math.exp(self.nats / self.tokens)

    @property
    def skipped(self) -> NDArray[numpy.float64]:
        """Share of executions that are skipped, of shape (layers, 2)."""
        return 1 - self.executed / self.tokens

    @property
    def skip_rate(self) -> float:
        """Share of executions that are skipped, over all sublayers."""
        return float(self.skipped.mean())

    @property
    def kv_saved(self) -> float:
        """Share of KV slots that are not stored where the policy is reuse or evict."""
        return float(self.skipped[:, 0].mean())

    def add(self, window: Window, logits: NDArray[Any], ran: NDArray[Any]) -> None:
        """Count a window.

        Parameters
        ----------
        logits
            Float of shape (tokens, vocabulary).
        ran
            Bool of shape (tokens, layers, 2), for attention and MLP.
        """
        executed = ran.astype(numpy.int64).sum(0)
        self.executed = executed if self.tokens == 0 else self.executed + executed
        self.tokens += len(window.targets)
        self.nats += nats(logits, window.targets)


def perplexity(
    model: SkipLlama,
    tokens: Sequence[int],
    begin: int,
    size: int = WINDOW,
    decide: Decide = by_router,
    progress: Callable[[Score], None] | None = None,
) -> Score:
    """Perplexity of a text under a model, and what it skipped.

    Parameters
    ----------
    model
        With its policy; its state is not touched.
    tokens, begin, size
        See `windows`.
    decide
        Gates, see `SkipLlama.run`.
    progress
        Called after every window.

    Raises
    ------
    ConfigError
        If the text is empty, or `size` is less than 1 or more than the model's context.
    """
    if size > model.config.context:
        raise ConfigError(
            f"a window of {size} tokens is longer than the context of {model.config.context}"
        )
    score = Score()
    for window in windows(tokens, begin, size):
        with torch.inference_mode():
            logits, ran = model.run(torch.from_numpy(window.inputs), decide)
        score.add(window, logits.numpy(), ran.numpy())
        if progress is not None:
            progress(score)
    return score
