"""Image captioning with greedy decoding: a plain LSTM.

Source: O. Vinyals, A. Toshev, S. Bengio and D. Erhan, "Show and Tell: A Neural Image Caption
Generator", CVPR 2015. A CNN turns the image into a vector, which an LSTM of 512 units sees once, as
its first input; it then produces one word per step until the end token or a length limit.

The input is what a ResNet's last pooling gives, 2048 numbers; the paper's network is an Inception.
The best word is taken at each step, where the paper's beam search keeps several.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dyncc_models.steering import one_by_one, stopping_threshold

START_TOKEN = 0
END_TOKEN = 1
MAX_LENGTH = 20
COVERAGE = 24
LOGIT_SPREAD = 3.0  # standard deviation of the first step's logits over the calibration images
ENLARGED = 3.0  # by how much the LSTM's initial weights are
#: Words, features of the image, and units of the embedding and of the LSTM.
SIZES = (10_000, 2048, 512)
SMALL_SIZES = (60, 32, 48)


def image_features(count: int, seed: int, features: int) -> Tensor:
    """Draw what a CNN's last pooling may give: not negative, most of it small.

    Parameters
    ----------
    count : int
        Number of images.
    seed : int
        Seed of the function's own generator.
    features : int
        Numbers for each image.

    Returns
    -------
    Tensor, shape (count, features), float32
        Activations, no unit.
    """
    generator = torch.Generator().manual_seed(seed)
    return 0.4 * torch.randn(count, features, generator=generator).abs() ** 1.5


def centre(project: nn.Linear, outputs: Tensor) -> None:
    """Give each output of a layer zero mean and unit spread over a calibration batch.

    Images share most of their features; the LSTM should see what they do not share.

    Parameters
    ----------
    project : nn.Linear
        The layer, changed in place.
    outputs : Tensor, shape (batch, features)
        What it gives for the batch.
    """
    spread = outputs.std(0)
    project.weight.div_(spread.unsqueeze(1))
    project.bias.sub_(outputs.mean(0)).div_(spread)


class Captioner(nn.Module):
    """LSTM decoder for the features of an image.

    Parameters
    ----------
    words : int
        Size of the vocabulary.
    features : int
        Numbers that describe an image.
    hidden : int
        Units of the embedding and of the LSTM.
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
        self.project = nn.Linear(features, hidden)
        self.embedding = nn.Embedding(words, hidden)
        self.decoder = nn.LSTMCell(hidden, hidden)
        self.vocabulary = nn.Linear(hidden, words)

    def forward(self, features: Tensor) -> tuple[list[int], Tensor]:
        """Describe one image.

        Parameters
        ----------
        features : Tensor, shape (1, 2048), float32
            What a CNN says of the image.

        Returns
        -------
        tokens : list of int
            1..max_length tokens; the end token, if reached, is the last. The start token is not
            included.
        logits : Tensor, shape (tokens, 1, words)
            Logits of each step.
        """
        hidden, cell = self.decoder(self.project(features))
        token = self.start_token
        tokens: list[int] = []
        logits_list: list[Tensor] = []
        while len(tokens) < self.max_length:
            word = self.embedding(torch.tensor([token]))
            hidden, cell = self.decoder(word, (hidden, cell))
            logits = self.vocabulary(hidden)
            logits_list.append(logits)
            token = int(logits.argmax(-1))
            tokens.append(token)
            if token == self.end_token:
                break
        return tokens, torch.stack(logits_list)


def steer(network: Captioner, features: Tensor) -> None:
    """Make captions depend on the image, and end after various numbers of tokens.

    PyTorch's initial recurrent weights are small enough that a decoder forgets the image in a few
    steps and repeats one word, so they are enlarged. The end token's bias is then set: captions
    are decoded freely, without ending, and the end token's logit is compared with the best of the
    others at every step.

    Parameters
    ----------
    network : Captioner
        Network to set, in place; left in evaluation mode.
    features : Tensor, shape (batch, 2048)
        Calibration images.
    """
    network.eval()
    centre(network.project, network.project(features))
    for weight in network.decoder.parameters():
        weight.mul_(ENLARGED)
    hidden, cell = network.decoder(network.project(features))
    words = network.embedding(torch.full((len(features),), network.start_token))
    first, _ = network.decoder(words, (hidden, cell))
    network.vocabulary.weight.mul_(LOGIT_SPREAD / network.vocabulary(first).std())

    gaps = []
    for _ in range(network.max_length):
        hidden, cell = network.decoder(words, (hidden, cell))
        logits = network.vocabulary(hidden)
        end = logits[:, network.end_token].clone()
        logits[:, network.end_token] = float("-inf")
        best, token = logits.max(1)
        gaps.append(end - best)
        words = network.embedding(token)
    network.vocabulary.bias[network.end_token] -= stopping_threshold(torch.stack(gaps, dim=1))


def build(seed: int = 0, small: bool = False) -> nn.Module:
    """Build the network with random weights and a steered end token.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    small : bool
        Few words, features and units.

    Returns
    -------
    nn.Module
        A ``Captioner`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        words, size, hidden = SMALL_SIZES if small else SIZES
        network = Captioner(words, size, hidden)
        steer(network, image_features(COVERAGE, seed, size))
    return network.eval()


def example_inputs(small: bool = False) -> tuple[torch.Tensor, ...]:
    """Return the features of one image.

    Parameters
    ----------
    small : bool
        For the network that is built small.

    Returns
    -------
    tuple of one Tensor, shape (1, 2048), float32
        Activations; 32 of them if small.
    """
    return (image_features(1, 1000, (SMALL_SIZES if small else SIZES)[1]),)


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
    list of 24 tuples of one Tensor, shape (1, 2048), float32
        Activations; 32 of them if small.
    """
    return one_by_one(image_features(COVERAGE, seed, (SMALL_SIZES if small else SIZES)[1]))
