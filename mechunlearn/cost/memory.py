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
from mechunlearn.models.weights import FUSED
from mechunlearn.types import Task

RESERVOIR = 1000
"""Tokens kept of each model for a principal component."""
ROUNDING = 4 * 4
"""Bytes beside each weight of a matrix that is rounded: four arrays of float32."""
KINDS = 3
"""Rankings of weights: by the forget corpus, by own answers, by utility."""
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
    if task.scoring == "cloze":  # All endings follow the statement in one row.
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


def needed(attack: str, config: Any, shape: Shape, sizes: Sizes) -> Memory:
    """Peak memory of one attack on one model, ``baseline`` being no attack.

    Args:
        config: The attack's settings.
    """
    cpu = sizes.kind == "cpu"
    held = shape.parameters + (0 if shape.views else shape.fused)
    parts = {"weights": float(sizes.number * held)}
    if cpu:
        parts["modules"] = MODULES * shape.layers
    scoring = _forward(shape, sizes, _tokens(shape, sizes))
    if attack in ("direction_ablation", "perturbation_informed"):
        sample = RESERVOIR if attack == "direction_ablation" else 0
        return Memory(parts | {"activations": _streamed(shape, sizes, scoring, sample)})
    if attack == "quantization":
        rounding = float(max(scoring, ROUNDING * shape.largest))
        return Memory(parts | _copies(shape, sizes) | {"activations": rounding})
    if attack == "pruning_weights":
        return Memory(parts | _pruning(config, shape, sizes, scoring))
    if attack.startswith("pruning"):
        rows = _tokens(shape, sizes, backward=True, questions=config.examples)
        return Memory(parts | {"activations": max(scoring, _backward(shape, sizes, rows))})
    if attack.startswith("relearning"):
        return Memory(parts | _training(config, shape, sizes, scoring))
    if attack == "soft_prompt":
        rows = min(config.batch, sizes.questions)
        gradient = _gradient(shape, sizes, rows, sizes.longest + config.length)
        return Memory(parts | {"activations": max(scoring, gradient)})
    if attack == "gcg":
        items = min(config.questions, sizes.selected) / (1 - config.retain_share)
        rows = round(min(config.search.gradient_questions or items, items))
        # A text before the questions is run once for all of them.
        length = sizes.longest + (config.search.length if config.place == "suffix" else 0)
        gradient = _gradient(shape, sizes, rows, length)
        return Memory(parts | {"activations": max(scoring, gradient)})
    return Memory(parts | {"activations": scoring})


def _tokens(shape: Shape, sizes: Sizes, *, backward: bool = False, questions: int = 0) -> int:
    """Tokens of the largest batch."""
    budget = tokens_of(sizes.kind, shape.d_model, shape.layers if backward else 1)
    asked = questions or sizes.questions
    return max(1, min(budget // sizes.longest, asked)) * sizes.longest


def _forward(shape: Shape, sizes: Sizes, tokens: int) -> float:
    """A forward without gradients: the stream, all keys and values, one block's intermediates."""
    scores = 3 * shape.heads * sizes.longest
    attention = 6 * shape.d_model + 2 * shape.d_kv + scores
    mlp = (4 if shape.gated else 3) * shape.d_mlp
    kept = 4 * shape.d_model + 2 * shape.d_kv * shape.layers
    return float(sizes.number * tokens * (kept + max(attention, mlp)))


def _backward(shape: Shape, sizes: Sizes, tokens: int) -> float:
    """A forward that keeps what its backward pass needs, of every block."""
    attention = 8 * shape.d_model + 4 * shape.d_kv + 3 * shape.heads * sizes.longest
    mlp = (5 if shape.gated else 6) * shape.d_mlp
    block = attention + mlp + 8 * shape.d_model
    return float(sizes.number * tokens * (block * shape.layers + 4 * shape.d_mlp))


def _gradient(shape: Shape, sizes: Sizes, rows: int, length: int) -> float:
    """A backward pass over some rows, as many at once as fit."""
    budget = tokens_of(sizes.kind, shape.d_model, shape.layers)
    return _backward(shape, sizes, max(1, min(rows, budget // length)) * length)


def _streamed(shape: Shape, sizes: Sizes, scoring: float, sampled: int) -> float:
    """Every token's activation at every layer, for a batch; or two samples' principal component.

    Args:
        sampled: Tokens of a sample.
    """
    tokens = _tokens(shape, sizes, backward=True)
    batch = 2 * sizes.number * tokens * shape.d_model * shape.layers
    if sizes.kind != "cpu":  # Sums and samples lie on the host.
        return max(scoring, _forward(shape, sizes, tokens) + batch)
    batch += 8 * tokens * shape.d_model * shape.layers
    sample = min(sampled, sizes.longest * sizes.questions) * shape.layers * shape.d_model
    component = 2 * sample * (4 + 3 * 8) + 8 * shape.layers * shape.d_model**2 if sample else 0
    return 4 * 2 * sample + max(batch + scoring, component)


def _pruning(config: Any, shape: Shape, sizes: Sizes, scoring: float) -> dict[str, float]:
    """Scores of the blocks at once, as many bytes of ranks per kind of data, one backward pass."""
    blocks = config.blocks_at_once or shape.layers
    scores = 4.0 * shape.matrices * blocks / shape.layers
    ranks = float(KINDS * shape.matrices) if sizes.kind == "cpu" else 0.0
    tokens = _tokens(shape, sizes, backward=True, questions=config.examples)
    once = _backward(shape, sizes, tokens) + 8 * shape.largest
    pruned = config.levels[-1] * sizes.number * shape.matrices
    return {"ranks": ranks, "scores": max(scores + once, scoring + pruned)}


def _copies(shape: Shape, sizes: Sizes) -> dict[str, float]:
    """Of all weights, to restore them; they lie on the host."""
    held = float(sizes.number * (shape.parameters + shape.fused))
    return {"copies": held} if sizes.kind == "cpu" else {}


def _training(config: Any, shape: Shape, sizes: Sizes, scoring: float) -> dict[str, float]:
    """Copies of the weights, gradients and two moments of what is trained."""
    parts = _copies(shape, sizes)
    trained = float(shape.parameters)
    if config.lora.rank:
        trained = float(config.lora.rank * shape.ends)
        parts["adapters"] = float(sizes.number * trained)
    tokens = (config.batch + config.keep) * sizes.longest
    kept = _backward(shape, sizes, tokens)
    if sizes.kind != "cpu":  # Blocks are recomputed one by one; only their inputs are kept.
        kept = kept / shape.layers + sizes.number * tokens * shape.d_model * shape.layers
    parts["moments"] = 2.0 * sizes.number * trained
    gradients = sizes.number * trained * (1 if sizes.kind == "cpu" else 2)
    parts["gradients"] = max(gradients + kept, scoring)
    return parts
