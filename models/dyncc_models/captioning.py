"""Image captioning with greedy decoding.

Source: O. Vinyals, A. Toshev, S. Bengio and D. Erhan, "Show and Tell: A Neural Image Caption
Generator", CVPR 2015. A CNN turns the image into a vector, which an LSTM sees once, as its first
input; it then produces one word per step until the end token or a length limit. The paper's
Inception encoder is replaced by three convolutions, and its beam search by the greedy choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyncc_models.steering import (
    one_by_one,
    settle_batch_norm,
    stopping_threshold,
    textured_images,
)

START_TOKEN = 0
END_TOKEN = 1
VOCABULARY = 32
MAX_LENGTH = 12
EMBEDDING_SIZE = 32
HIDDEN_SIZE = 64
COVERAGE = 40
LOGIT_SPREAD = 3.0  # standard deviation of the first step's logits over the calibration images


class ImageEncoder(nn.Module):
    """Three convolutions of stride 2 and a projection to the embedding size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(32)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.project = nn.Linear(32, EMBEDDING_SIZE)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to embeddings (batch, 32)."""
        x = F.relu(self.norm1(self.conv1(image)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.norm3(self.conv3(x)))
        embedded: Tensor = self.project(self.average(x).flatten(1))
        return embedded


class Captioner(nn.Module):
    """CNN encoder and LSTM decoder.

    Parameters
    ----------
    max_length : int
        Limit on the number of tokens.
    """

    def __init__(self, max_length: int = MAX_LENGTH) -> None:
        super().__init__()
        self.max_length = max_length
        self.start_token = START_TOKEN
        self.end_token = END_TOKEN
        self.encoder = ImageEncoder()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING_SIZE)
        self.decoder = nn.LSTMCell(EMBEDDING_SIZE, HIDDEN_SIZE)
        self.vocabulary = nn.Linear(HIDDEN_SIZE, VOCABULARY)

    def forward(self, image: Tensor) -> tuple[list[int], Tensor]:
        """Describe one image.

        Parameters
        ----------
        image : Tensor, shape (1, 3, 32, 32), float32
            Image, normalised intensity.

        Returns
        -------
        tokens : list of int
            1..max_length tokens; the end token, if reached, is the last. The start token is not
            included.
        logits : Tensor, shape (tokens, 1, 32)
            Logits of each step.
        """
        hidden, cell = self.decoder(self.encoder(image))
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


def steer(network: Captioner, images: Tensor) -> None:
    """Make captions depend on the image, and end after various numbers of tokens.

    PyTorch's initial recurrent weights are small enough that a decoder forgets the image in a few
    steps and repeats one word, so they are enlarged. The end token's bias is then set: captions
    are decoded freely, without ending, and the end token's logit is compared with the best of the
    others at every step.

    Parameters
    ----------
    network : Captioner
        Network to set, in place; left in evaluation mode.
    images : Tensor, shape (batch, 3, 32, 32)
        Calibration images.
    """
    network.eval()
    embedded = settle_batch_norm(network.encoder, images)
    # Zero mean and unit spread, feature by feature: the images share most of an average-pooled
    # embedding, and the LSTM should see what they do not share.
    project = network.encoder.project
    spread = embedded.std(0)
    project.weight.div_(spread.unsqueeze(1))
    project.bias.sub_(embedded.mean(0)).div_(spread)
    for weight in network.decoder.parameters():
        weight.mul_(3.0)

    hidden, cell = network.decoder(network.encoder(images))
    words = network.embedding(torch.full((len(images),), network.start_token))
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


def build(seed: int = 0) -> nn.Module:
    """Build the network with random weights and a steered end token.

    Parameters
    ----------
    seed : int
        Seed of the weights.

    Returns
    -------
    nn.Module
        A ``Captioner`` in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Captioner()
        steer(network, textured_images(COVERAGE, seed))
    return network.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Return one image.

    Returns
    -------
    tuple of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    return (textured_images(1, 1000),)


def coverage_inputs(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Return the images ``build(seed)`` was steered with: end at once, midway, never.

    Parameters
    ----------
    seed : int
        Seed of the images.

    Returns
    -------
    list of 40 tuples of one Tensor, shape (1, 3, 32, 32), float32
        Normalised intensity.
    """
    return one_by_one(textured_images(COVERAGE, seed))
