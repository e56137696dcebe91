"""Image captioning with greedy decoding: an LSTM that looks at a part of the image for each word.

Source: K. Xu, J. L. Ba, R. Kiros, K. Cho, A. Courville, R. Salakhutdinov, R. S. Zemel and Y.
Bengio, "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention", ICML 2015.
Soft attention with 512 units, gated by the LSTM's state; the state begins as a function of the mean
of all features.

The input is what a ResNet's last convolution gives, 2048 numbers at 14 x 14 places; the paper's
network is a VGG, with 512. Words come from the LSTM's state alone, not also from the word before
and from what is looked at, and the best one is taken at each step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.dycl.captioning import (
    END_TOKEN,
    ENLARGED,
    LOGIT_SPREAD,
    MAX_LENGTH,
    START_TOKEN,
    centre,
    image_features,
)
from dyncc_models.steering import one_by_one, stopping_threshold

COVERAGE = 16
#: Words, features of a place, units of attention, embedding and LSTM, and places.
SIZES = (10_000, 2048, 512, 14 * 14)
SMALL_SIZES = (60, 32, 48, 9)


def places_features(count: int, seed: int, places: int, features: int) -> Tensor:
    """Draw what a CNN's last convolution may give: images differ more than places of one image.

    Parameters
    ----------
    count : int
        Number of images.
    seed : int
        Seed of the function's own generator.
    places : int
        Places in each image.
    features : int
        Numbers for each place.

    Returns
    -------
    Tensor, shape (count, places, features), float32
        Activations, no unit, not negative.
    """
    whole = image_features(count, seed, features).unsqueeze(1)
    generator = torch.Generator().manual_seed(seed + 1)
    return F.relu(whole + 0.5 * torch.randn(count, places, features, generator=generator))


class Attention(nn.Module):
    """Weighs the places of an image by how well they fit the state of a decoder.

    Parameters
    ----------
    features : int
        Numbers for each place.
    hidden : int
        Units of the decoder's state and of the attention.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.place = nn.Linear(features, hidden)
        self.state = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Look.

        Parameters
        ----------
        features : Tensor, shape (batch, places, features)
            What a CNN says of each place.
        hidden : Tensor, shape (batch, hidden)
            State of the decoder.

        Returns
        -------
        Tensor, shape (batch, features)
            Weighted mean of the places.
        Tensor, shape (batch, places)
            Weights, 0..1, with the sum 1.
        """
        fit = torch.tanh(self.place(features) + self.state(hidden).unsqueeze(1))
        weights = F.softmax(self.score(fit).squeeze(2), dim=1)
        return (features * weights.unsqueeze(2)).sum(1), weights


class AttentionCaptioner(nn.Module):
    """LSTM decoder with soft attention.

    Parameters
    ----------
    words : int
        Size of the vocabulary.
    features : int
        Numbers for each place of the image.
    hidden : int
        Units of attention, embedding and LSTM.
    max_length : int
        Limit on the number of tokens.
    """

    def __init__(
        self, words: int, features: int, hidden: int, max_length: int = MAX_LENGTH
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.start_token = START_TOKEN
        self.end_token = END_TOKEN
        self.attention = Attention(features, hidden)
        self.gate = nn.Linear(hidden, features)
        self.first_hidden = nn.Linear(features, hidden)
        self.first_cell = nn.Linear(features, hidden)
        self.embedding = nn.Embedding(words, hidden)
        self.decoder = nn.LSTMCell(hidden + features, hidden)
        self.vocabulary = nn.Linear(hidden, words)

    def begin(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (batch, places, features) to the LSTM's first state."""
        mean = features.mean(1)
        return torch.tanh(self.first_hidden(mean)), torch.tanh(self.first_cell(mean))

    def step(
        self, features: Tensor, token: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Go on by one word.

        Parameters
        ----------
        features : Tensor, shape (batch, places, features)
            What a CNN says of the image.
        token : Tensor, shape (batch,), int64
            The word before.
        state : tuple of two Tensor, shape (batch, hidden)
            State of the LSTM.

        Returns
        -------
        logits : Tensor, shape (batch, words)
            Logits of the next word.
        state : tuple of two Tensor, shape (batch, hidden)
            State of the LSTM after it.
        weights : Tensor, shape (batch, places)
            Where it looked.
        """
        seen, weights = self.attention(features, state[0])
        seen = torch.sigmoid(self.gate(state[0])) * seen
        hidden, cell = self.decoder(torch.cat((self.embedding(token), seen), dim=1), state)
        return self.vocabulary(hidden), (hidden, cell), weights

    def forward(self, features: Tensor) -> tuple[list[int], Tensor, Tensor]:
        """Describe one image.

        Parameters
        ----------
        features : Tensor, shape (1, 196, 2048), float32
            What a CNN says of each place of the image.

        Returns
        -------
        tokens : list of int
            1..max_length tokens; the end token, if reached, is the last. The start token is not
            included.
        logits : Tensor, shape (tokens, 1, words)
            Logits of each step.
        weights : Tensor, shape (tokens, 1, 196)
            Where it looked at each step.
        """
        state = self.begin(features)
        token = self.start_token
        tokens: list[int] = []
        logits_list: list[Tensor] = []
        weights_list: list[Tensor] = []
        while len(tokens) < self.max_length:
            logits, state, weights = self.step(features, torch.tensor([token]), state)
            logits_list.append(logits)
            weights_list.append(weights)
            token = int(logits.argmax(-1))
            tokens.append(token)
            if token == self.end_token:
                break
        return tokens, torch.stack(logits_list), torch.stack(weights_list)


def steer(network: AttentionCaptioner, features: Tensor) -> None:
    """Make captions depend on the image, and end after various numbers of tokens.

    As ``captioning.steer`` does; the scores of places are spread too, for random ones are all
    about equal.

    Parameters
    ----------
    network : AttentionCaptioner
        Network to set, in place; left in evaluation mode.
    features : Tensor, shape (batch, places, features)
        Calibration images.
    """
    network.eval()
    mean = features.mean(1)
    for project in (network.first_hidden, network.first_cell):
        centre(project, project(mean))
    for weight in network.decoder.parameters():
        weight.mul_(ENLARGED)
    attention = network.attention
    fit = torch.tanh(
        attention.place(features)
        + attention.state(mean.new_zeros(1, 1, 1).expand(1, 1, attention.state.in_features))
    )
    attention.score.weight.div_(attention.score(fit).std())
    state = network.begin(features)
    token = torch.full((len(features),), network.start_token)
    first, _, _ = network.step(features, token, state)
    network.vocabulary.weight.mul_(LOGIT_SPREAD / first.std())

    gaps = []
    for _ in range(network.max_length):
        logits, state, _ = network.step(features, token, state)
        end = logits[:, network.end_token].clone()
        logits[:, network.end_token] = float("-inf")
        best, token = logits.max(1)
        gaps.append(end - best)
    network.vocabulary.bias[network.end_token] -= stopping_threshold(torch.stack(gaps, dim=1))


def build(seed: int = 0, small: bool = False) -> nn.Module:
    """Build the network with random weights and a steered end token.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        Few words, features, units and places.

    Returns
    -------
    nn.Module
        An ``AttentionCaptioner`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        words, size, hidden, places = SMALL_SIZES if small else SIZES
        network = AttentionCaptioner(words, size, hidden)
        steer(network, places_features(COVERAGE, seed, places, size))
    return network.eval()


def example_inputs(small: bool = False) -> tuple[torch.Tensor, ...]:
    """Return the features of one image.

    Parameters
    ----------
    small : bool
        For the network that is built small.

    Returns
    -------
    tuple of one Tensor, shape (1, 196, 2048), float32
        Activations; 9 places with 32 of them if small.
    """
    _, size, _, places = SMALL_SIZES if small else SIZES
    return (places_features(1, 1000, places, size),)


def coverage_inputs(seed: int = 0, small: bool = False) -> list[tuple[torch.Tensor, ...]]:
    """Return the features ``build(seed)`` was steered with: end at once, midway, never.

    Parameters
    ----------
    seed : int
        Seed of the features.
    small : bool
        For the network that is built small.

    Returns
    -------
    list of 16 tuples of one Tensor, shape (1, 196, 2048), float32
        Activations; 9 places with 32 of them if small.
    """
    _, size, _, places = SMALL_SIZES if small else SIZES
    return one_by_one(places_features(COVERAGE, seed, places, size))
