"""Peak memory of an attack, from a model's configuration alone.

Weights are counted on the meta device. What an attack adds follows from what it keeps: a forward's
largest intermediates, or with a backward pass those of every block; copies, gradients and moments
of trained weights; scores of weights; activations of every layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from mechunlearn.bench.engine import tokens_of
from mechunlearn.weights import FUSED

RESERVOIR = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's memory follows from."""

    parameters: int
    """All of them, with the dead copies of fused matrices that a hooked model keeps."""
    matrices: int
    """Weights of the blocks' matrices."""
    largest: int
    """Weights of the largest of them."""
    layers: int
    d_model: int
    d_mlp: int
    heads: int
    d_kv: int
    """Numbers that a token's keys, or values, take in one layer."""
    vocabulary: int
    gated: bool


def shape_of(config: Any) -> Shape:
    """The shape of a model with this Hugging Face configuration; no weights are made."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    blocks = [p for n, p in model.named_parameters() if ".0." in n and p.ndim == 2]
    layers, d, heads = (
        config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    )  # fmt: skip
    if config.model_type in FUSED:
        total += 3 * (d * d + d) * layers
    d_head = getattr(config, "head_dim", None) or d // heads
    mlp = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * d
    return Shape(
        parameters=total,
        matrices=layers * sum(p.numel() for p in blocks),
        largest=max(p.numel() for p in blocks),
        layers=layers,
        d_model=d,
        d_mlp=mlp,
        heads=heads,
        d_kv=d_head * (getattr(config, "num_key_value_heads", None) or heads),
        vocabulary=config.vocab_size,
        gated=any("gate" in name for name, _ in model.named_parameters()),
    )


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths of a task's prompts, in tokens."""

    longest: int
    answers: int = 1
    """Tokens read per example."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes on the device that holds the model."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())
