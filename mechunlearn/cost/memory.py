"""What forwards, backward passes and copies take in memory, from a model's configuration alone.

Weights are counted on the meta device. A forward takes its largest intermediates, a backward pass
those of every block. What an attack keeps beside that stands in its own file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from mechunlearn.bench.engine import tokens_of
from mechunlearn.models.weights import FUSED
from mechunlearn.registry import find
from mechunlearn.types import Task

MODULES = 1e6
"""Bytes of a block's hook points in the host's memory."""


Placed = tuple[str, int]
"""Kind of device, and bytes of a number there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's memory follows from."""

    parameters: int
    fused: int
    """Weights of fused matrices, which a hooked model keeps beside those it computes with."""
    views: bool
    """Whether both share their memory."""
    matrices: int
    """Weights of the blocks' matrices."""
    largest: int
    """Weights of the largest of them."""
    ends: int
    """Inputs and outputs of all of them together."""
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
    blocks = [p for n, p in model.named_parameters() if ".0." in n and p.ndim == 2]
    layers, d, heads = (
        config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    )  # fmt: skip
    d_head = getattr(config, "head_dim", None) or d // heads
    mlp = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * d
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        fused=3 * (d * d + d) * layers if config.model_type in FUSED else 0,
        views=config.model_type == "gpt2",
        matrices=layers * sum(p.numel() for p in blocks),
        largest=max(p.numel() for p in blocks),
        ends=layers * sum(sum(p.shape) for p in blocks),
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
    """Of a task's questions, where the model runs, and with how many bytes a number."""

    longest: int
    """Tokens of the longest prompt."""
    questions: int
    """Most that are asked at once."""
    selected: int
    """Forget questions of the select fold."""
    kind: str = "cpu"
    number: int = 4


def sizes_of(task: Task, tokenizer: Any, placed: Placed) -> Sizes:
    """The sizes of a task for a model with this tokenizer."""
    sets = [task.questions(r, f) for r in ("forget", "retain") for f in ("select", "confirm")]
    texts = [task.prompt.text(q, task.scoring) for questions in sets for q in questions]
    longest = max(len(row) for row in tokenizer(texts)["input_ids"])
    if not find("measure", task.scoring).one_token:  # All endings follow the statement in one row.
        longest += max(sum(len(c.split()) + 1 for c in q.choices) for q in sets[0])
    return Sizes(longest, max(map(len, sets)), len(sets[0]), *placed)


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes on the device that holds the model."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def model_bytes(shape: Shape, sizes: Sizes) -> dict[str, float]:
    """The weights, and on the host a hooked model's modules."""
    held = shape.parameters + (0 if shape.views else shape.fused)
    parts = {"weights": float(sizes.number * held)}
    return parts | {"modules": MODULES * shape.layers} if sizes.kind == "cpu" else parts


def tokens_per_batch(
    shape: Shape, sizes: Sizes, *, backward: bool = False, questions: int = 0
) -> int:
    """Tokens of the largest batch.

    Args:
        questions: How many there are; default: as many as are asked at once.
    """
    budget = tokens_of(sizes.kind, shape.d_model, shape.layers if backward else 1)
    rows = questions or sizes.questions
    return max(1, min(budget // sizes.longest, rows)) * sizes.longest


def forward_bytes(shape: Shape, sizes: Sizes, tokens: int = 0) -> float:
    """A forward without gradients: the stream, all keys and values, one block's intermediates.

    Args:
        tokens: Of a batch; default: the largest one of scoring.
    """
    scores = 3 * shape.heads * sizes.longest
    attention = 6 * shape.d_model + 2 * shape.d_kv + scores
    mlp = (4 if shape.gated else 3) * shape.d_mlp
    stream = 4 * shape.d_model + 2 * shape.d_kv * shape.layers
    each = stream + max(attention, mlp)
    return float(sizes.number * (tokens or tokens_per_batch(shape, sizes)) * each)


def backward_bytes(shape: Shape, sizes: Sizes, tokens: int) -> float:
    """A forward that keeps what its backward pass needs, of every block."""
    attention = 8 * shape.d_model + 4 * shape.d_kv + 3 * shape.heads * sizes.longest
    mlp = (5 if shape.gated else 6) * shape.d_mlp
    block = attention + mlp + 8 * shape.d_model
    return float(sizes.number * tokens * (block * shape.layers + 4 * shape.d_mlp))


def gradient_bytes(shape: Shape, sizes: Sizes, rows: int, length: int) -> float:
    """A backward pass over some rows of ``length`` tokens, as many at once as fit."""
    budget = tokens_of(sizes.kind, shape.d_model, shape.layers)
    return backward_bytes(shape, sizes, max(1, min(rows, budget // length)) * length)


def weight_copies(shape: Shape, sizes: Sizes) -> dict[str, float]:
    """Of all weights, to restore them; they lie on the host."""
    held = float(sizes.number * (shape.parameters + shape.fused))
    return {"copies": held} if sizes.kind == "cpu" else {}
