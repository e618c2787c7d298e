"""What forwards, backward passes and copies take in memory, from a model's configuration alone.

Weights are counted on the meta device. A forward takes its largest intermediates, a backward pass
those of every block. What an attack keeps beside that stands in its own file.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from mechunlearn.bench.batches import tokens_of
from mechunlearn.bench.footprint import Widths, widths_of
from mechunlearn.bench.rows import question_rows
from mechunlearn.bench.vocabulary import row_parts
from mechunlearn.hooks.product import PART_NUMBERS
from mechunlearn.models.weights import FUSED
from mechunlearn.registry import find
from mechunlearn.tasks.entities import names_of, wordings_of
from mechunlearn.types import Task

MODULES = 1e6
"""Bytes of a block's hook points in the host's memory."""


Placed = tuple[str, int]
"""Kind of device, and bytes of a number there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Widths):
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


def shape_of(config: Any, *, trust_remote_code: bool = False) -> Shape:
    """The shape of a model with this Hugging Face configuration; no weights are made.

    Args:
        trust_remote_code: Allow code that the configuration names to run; transformers never asks.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    blocks = [p for n, p in model.named_parameters() if ".0." in n and p.ndim == 2]
    widths = widths_of(model)
    layers, d = widths.layers, widths.d_model
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        fused=3 * (d * d + d) * layers if config.model_type in FUSED else 0,
        views=config.model_type == "gpt2",
        matrices=layers * sum(p.numel() for p in blocks),
        largest=max(p.numel() for p in blocks),
        ends=layers * sum(sum(p.shape) for p in blocks),
        **dataclasses.asdict(widths),
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
    reads: int = 0
    """Places of a question that are read over the whole vocabulary; none where letters are
    compared."""
    entities: int = 0
    """Sources of forget questions that have a name."""
    wordings: int = 0
    """Different statements about them, but for the names."""


def sizes_of(task: Task, tokenizer: Any, placed: Placed) -> Sizes:
    """The sizes of a task for a model with this tokenizer."""
    sets = [task.questions(r, f) for r in ("forget", "retain") for f in ("select", "confirm")]
    counts = max(map(len, sets)), len(sets[0])
    asked = [q for questions in sets for q in questions]
    forget = [*sets[0], *sets[1]]
    names = names_of(forget)
    named = len(names), wordings_of(forget, names)
    if not find("measure", task.scoring).one_token:  # All endings follow the statement in one row.
        rows, _ = question_rows(tokenizer, asked, task.prompt, task.scoring)
        reads = max(len({at for at, _, _ in row.reads}) for row in rows)
        return Sizes(max(len(row.tokens) for row in rows), *counts, *placed, reads, *named)
    prompts = tokenizer([task.prompt.text(q, task.scoring) for q in asked])["input_ids"]
    return Sizes(max(map(len, prompts)), *counts, *placed, 0, *named)


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
    tokens = tokens or tokens_per_batch(shape, sizes)
    reads = sizes.reads * tokens // sizes.longest
    return sizes.number * tokens * shape.forward(sizes.longest) + logits_bytes(shape, sizes, reads)


def backward_bytes(shape: Shape, sizes: Sizes, tokens: int) -> float:
    """A forward that keeps what its backward pass needs, of every block."""
    return float(sizes.number * tokens * shape.backward(sizes.longest))


def logits_bytes(shape: Shape, sizes: Sizes, reads: int, *, backward: bool = False) -> float:
    """Logits over the whole vocabulary, in float32: a part of the reads at a time.

    Logits and log-probabilities, with a backward pass their gradient too; half-precision weights
    are cast in parts.
    """
    if not reads:
        return 0.0
    part = len(range(reads)[row_parts(reads, shape.vocabulary, sizes.kind)[0]])
    logits = 4.0 * (3 if backward else 2) * part * shape.vocabulary
    cast = 4.0 * min(PART_NUMBERS, shape.vocabulary * shape.d_model) if sizes.number < 4 else 0.0
    return logits + cast


def training_bytes(
    shape: Shape, sizes: Sizes, tokens: int, reads: int, trained: float
) -> dict[str, float]:
    """A training step beside the weights: moments, gradients and activations.

    Args:
        tokens: Of a backward pass.
        reads: Tokens of them whose log-probability counts.
        trained: Weights that are trained; fewer than all are adapters, which are in float32.
    """
    whole = trained >= shape.parameters
    # AdamW on a GPU steps on all weights at once and needs another copy of the gradients.
    gradients = 4.0 * trained * (1 if sizes.kind == "cpu" else 2)
    # The unembedding's gradient is added up from parts.
    ends = float(sizes.number * shape.vocabulary * shape.d_model) if whole else 0.0
    # The logits are gone before all gradients are there.
    logits = logits_bytes(shape, sizes, reads, backward=True)
    activations = backward_bytes(shape, sizes, tokens)
    parts = {"moments": 8.0 * trained, "gradients": activations + max(logits, gradients + ends)}
    if whole and sizes.number < 4:  # Float32 copies, and gradients before they are moved there.
        parts["masters"] = (4.0 + sizes.number) * trained
    return parts


def gradient_bytes(shape: Shape, sizes: Sizes, rows: int, length: int) -> float:
    """A backward pass over some rows of ``length`` tokens, as many at once as fit."""
    budget = tokens_of(sizes.kind, shape.d_model, shape.layers)
    at_once = max(1, min(rows, budget // length))
    logits = logits_bytes(shape, sizes, at_once, backward=True)
    return backward_bytes(shape, sizes, at_once * length) + logits


def weight_copies(shape: Shape, sizes: Sizes) -> dict[str, float]:
    """Of all weights, to restore them; they lie on the host."""
    held = float(sizes.number * (shape.parameters + shape.fused))
    return {"copies": held} if sizes.kind == "cpu" else {}
