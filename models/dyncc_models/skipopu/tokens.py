"""The tokenizer of a GGUF file, through the library ``tokenizers``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dyncc.core.errors import MissingToolError, ModelError

#: GGUF's type of tokens that stand for themselves, such as ``<|im_start|>``.
_CONTROL = 3
#: Pre-tokenizers that are known: digits stand alone, then GPT-2's split.
_PRE = ("smollm",)


class Tokenizer:
    """Text to tokens and back.

    Parameters
    ----------
    metadata
        Fields of a GGUF file.

    Attributes
    ----------
    end
        The token that ends an answer.

    Raises
    ------
    MissingToolError
        If ``tokenizers`` is missing.
    ModelError
        If the file's tokenizer is of another kind.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise MissingToolError("tokenizers was not found", hint="pip install tokenizers") from (
                error
            )
        kind = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
        if kind[0] != "gpt2" or kind[1] not in _PRE:
            raise ModelError(f"the tokenizer {kind[0]}/{kind[1]} is not known, only gpt2/smollm")
        names: list[str] = metadata["tokenizer.ggml.tokens"]
        merges = [tuple(pair.split(" ")) for pair in metadata["tokenizer.ggml.merges"]]
        vocabulary = {name: number for number, name in enumerate(names)}
        found = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
        found.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [
                tokenizers.pre_tokenizers.Digits(individual_digits=True),
                tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        found.decoder = tokenizers.decoders.ByteLevel()
        found.add_special_tokens(
            [
                name
                for name, kind in zip(names, metadata["tokenizer.ggml.token_type"], strict=True)
                if kind == _CONTROL
            ]
        )
        self._tokenizer = found
        self.end = int(metadata["tokenizer.ggml.eos_token_id"])

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; names of control tokens in it become these."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, control tokens left out."""
        found: str = self._tokenizer.decode(tokens)
        return found

    def chat(self, question: str) -> list[int]:
        """Tokens of a conversation in which the assistant is to answer `question`.

        The wording is that of the file's own template.
        """
        return self.encode(
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
            f"Hugging Face<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
