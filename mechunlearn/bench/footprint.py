"""How many numbers a forward or backward pass keeps per token, from a model's widths."""

from dataclasses import dataclass
from typing import Any

import torch

LOGITS = {"cpu": 2**24, "cuda": 2**28}
"""Logits over the whole vocabulary that are computed at once (64 MiB, 1 GiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """What the memory of a batch follows from."""

    layers: int
    d_model: int
    d_mlp: int
    heads: int
    d_kv: int
    """Numbers that a token's keys, or values, take in one layer."""
    vocabulary: int
    gated: bool
    """Whether the MLPs have a gate."""

    def forward(self, longest: int) -> int:
        """Per token, without gradients: the stream, keys and values, one block's intermediates.

        Args:
            longest: Tokens of a row, which attention compares.
        """
        attention = 6 * self.d_model + 2 * self.d_kv + 3 * self.heads * longest
        mlp = (4 if self.gated else 3) * self.d_mlp
        stream = 4 * self.d_model + 2 * self.d_kv * self.layers
        return stream + max(attention, mlp)

    def backward(self, longest: int) -> int:
        """Per token, with what a backward pass needs of every block."""
        attention = 8 * self.d_model + 4 * self.d_kv + 3 * self.heads * longest
        mlp = (5 if self.gated else 6) * self.d_mlp
        block = attention + mlp + 8 * self.d_model
        return block * self.layers + 4 * self.d_mlp


def widths_of(model: torch.nn.Module) -> Widths:
    """The widths of a Hugging Face model, whose weights may be on the meta device."""
    config: Any = model.config
    config = config.get_text_config()
    layers, d, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or d // heads
    mlp = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * d
    return Widths(
        layers=layers,
        d_model=d,
        d_mlp=mlp,
        heads=heads,
        d_kv=d_head * (getattr(config, "num_key_value_heads", None) or heads),
        vocabulary=config.vocab_size,
        gated=any("gate" in name for name, _ in model.named_parameters()),
    )
