"""A small Llama of random weights, for cases."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM


def llama(words: int, longest: int, layers: int = 2) -> LlamaForCausalLM:
    """A Llama that knows some words, for sequences up to a length."""
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=words,
        max_position_embeddings=longest,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)
