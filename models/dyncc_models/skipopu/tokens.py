"""The tokenizer of a GGUF file, through the library ``tokenizers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dyncc.core.errors import MissingToolError, ModelError

#: GGUF's type of tokens that stand for themselves, such as ``<|im_start|>``.
_CONTROL = 3
#: Pre-tokenizers that are known: digits stand alone, then GPT-2's split.
_PRE = ("smollm",)
#: That of SmolLM2-Instruct.
_CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
    "Hugging Face<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)


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
    chat_form
        A conversation around ``{question}``, as in the file's own template; None for no such.

    Raises
    ------
    MissingToolError
        If ``tokenizers`` is missing.
    ModelError
        If the file's tokenizer is of another kind.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        tokenizers = _library()
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
        self.chat_form: str | None = _CHAT

    @classmethod
    def from_json(cls, text: str, end: int, chat_form: str | None) -> Tokenizer:
        """A tokenizer from the text that `json` gave; raises ModelError if it is none."""
        tokenizers = _library()
        found = cls.__new__(cls)
        try:
            found._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            # The library raises nothing more special.
            raise ModelError(f"the tokenizer cannot be read: {error}") from error
        found.end, found.chat_form = end, chat_form
        return found

    @property
    def json(self) -> str:
        """Everything but `end` and `chat_form`, as the library writes it."""
        found: str = self._tokenizer.to_str()
        return found

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

        Raises
        ------
        ModelError
            If no such form is known.
        """
        if self.chat_form is None:
            raise ModelError("the model has no form of conversations", hint="Leave out --chat.")
        return self.encode(self.chat_form.replace("{question}", question))

    def stream(self) -> Callable[[int], str]:
        """A function from one token after the other to the text that each completes."""
        decoder = _library().decoders.DecodeStream(skip_special_tokens=True)
        return lambda token: decoder.step(self._tokenizer, token) or ""


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingToolError("tokenizers was not found", hint="pip install tokenizers") from error
    return tokenizers
