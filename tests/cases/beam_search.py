"""bert-seq2seq: a beam search from which beams leave that have ended."""

from __future__ import annotations

import torch
from bert_seq2seq.model.roberta_model import (  # type: ignore[import-untyped]
    CLS,
    BertConfig,
    BertModel,
)
from bert_seq2seq.seq2seq_model import Seq2SeqModel  # type: ignore[import-untyped]
from torch import Tensor, nn

SLOW = True
PACKAGE = "bert-seq2seq"
FUNCTION = "Seq2SeqModel.beam_search"
WORDS, END, PROMPT, BEAMS, LONGEST = 12, 8, 3, 2, 5


class Small(Seq2SeqModel):  # type: ignore[misc]
    """The package's network with fewer layers; its constructor knows only the full size."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        config = BertConfig(
            WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            initializer_range=1.0,
        )
        self.bert, self.cls = BertModel(config), CLS(config)
        self.device = torch.device("cpu")
        self.out_max_length = LONGEST


class Search(nn.Module):
    """The most likely words after a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Small()

    def forward(self, prompt: Tensor) -> Tensor:
        kinds = torch.zeros_like(prompt)
        words: Tensor = self.network.beam_search(prompt, kinds, {"[SEP]": END}, beam_size=BEAMS)
        return words


def build() -> nn.Module:
    torch.manual_seed(0)
    return Search().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randint(3, WORDS, (1, PROMPT), generator=generator),) for _ in range(12)]
