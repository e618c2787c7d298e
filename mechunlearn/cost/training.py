"""What making a model by training takes: one rule for every method, from its settings.

A method says in a ``Work`` which weights it trains and what a step computes; the rest follows from
the optimizer, the model's shape and the lengths of what is trained on.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import Shape, Sizes, forward_bytes, logits_bytes
from mechunlearn.train import Optimizer
from mechunlearn.types import Role

CHECKS = 6
"""Times that accuracy is measured in a run, on the select fold of both sets."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of the rows of one set, in tokens."""

    mean: float
    deviation: float
    longest: int
    read: float
    """Tokens of a row that are its answers', on average."""
    count: int

    def most(self, rows: int, draws: int) -> float:
        """Tokens of the largest of some batches that are drawn at random.

        Args:
            rows: Of a batch.
            draws: Batches.
        """
        spread = self.deviation * math.sqrt(2 * rows * math.log(max(2, draws)))
        return min(rows * self.mean + spread, float(rows * self.longest))


Corpora = Mapping[tuple[str, Role], Lengths]
"""Lengths of ``examples``, of examples with a second answer (``pairs``), and of ``texts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one step of a method computes."""

    weights: float
    """That are trained."""
    adapters: bool
    """Whether these are float32 numbers beside the model's own."""
    rows: tuple[tuple[str, Role], ...]
    """Sets that a batch is drawn from, one after the other; all stay in memory together."""
    read: tuple[bool, ...] = ()
    """Of each of them, whether all of its tokens are read over the vocabulary and not the answer
    alone; empty: nothing is read."""
    forward: int
    """Blocks that a forward goes through."""
    backward: float
    """Blocks that keep what their backward pass needs."""
    recorded: float = 0.0
    """Forwards of every row that is drawn, before training."""
    again: float = 0.0
    """Further forwards of every row in a step, without gradients."""
    divergence: bool = False
    """Whether the original's distributions are compared with, by a copy of its unembedding."""
    kept: float = 0.0
    """States of a token that lie in the host's memory throughout."""
    padded: bool = False
    """Whether all rows of a batch are computed together, however long the longest is."""
    states: float = 0.0
    """States of a token that a step keeps beside its activations."""


def making_cost(
    work: Work, optimizer: Optimizer, batch: int, limit: int, job: Job, corpora: Corpora
) -> Cost:
    """What a method takes, in forwards of one question, and beside the weights in bytes.

    Args:
        batch: Rows of each set in a step.
        limit: Tokens that rows are cut to.
        corpora: Empty where they are not known: then every row has ``limit`` tokens.
    """
    sets = [_cut(corpora.get(key), limit) for key in work.rows]
    return Cost(
        search=_forwards(work, optimizer, batch, job, sets, corpora),
        variants=0.0,
        memory=_memory(work, optimizer, batch, job, sets),
    )


def _cut(lengths: Lengths | None, limit: int) -> Lengths:
    if lengths is None:
        return Lengths(float(limit), 0.0, limit, float(limit), 0)
    longest = min(lengths.longest, limit)
    return dataclasses.replace(
        lengths, mean=min(lengths.mean, longest), longest=longest, read=min(lengths.read, longest)
    )


def _forwards(
    work: Work,
    optimizer: Optimizer,
    batch: int,
    job: Job,
    sets: list[Lengths],
    corpora: Corpora,
) -> float:
    """A backward pass is two forwards; a question has as many tokens as are asked on average."""
    layers = job.shape.layers
    part, back = work.forward / layers, work.backward / layers
    once = part * (1 + work.again) + 2 * back + (back if optimizer.recompute else 0.0)
    drawn = batch * optimizer.steps
    tokens = sum(
        s.mean * (drawn * once + part * work.recorded * min(drawn, s.count or drawn)) for s in sets
    )
    asked = corpora.get(("questions", "forget"))
    checked = CHECKS * (job.forget_select + job.retain_select)
    return checked + tokens / (asked.mean if asked else job.sizes.longest)


def _memory(
    work: Work, optimizer: Optimizer, batch: int, job: Job, sets: list[Lengths]
) -> dict[str, float]:
    """The parts at the largest moment of a step, in bytes."""
    shape, sizes, drawn = job.shape, job.sizes, batch * optimizer.steps
    half = sizes.number < 4 and not work.adapters
    gradients = 4.0 * work.weights
    parts = {"moments": gradients * (2 if optimizer.rule == "adamw" else 1)}
    if work.adapters:
        parts["adapters"] = gradients
    if half:  # What the optimizer steps on.
        parts["copies"] = gradients
    if work.divergence:
        parts["reference"] = float(sizes.number * shape.vocabulary * shape.d_model)
    state = float(sizes.number * shape.d_model)
    if sizes.kind == "cpu":
        parts["states"] = state * work.kept * sum(min(drawn, s.count) * s.mean for s in sets)
    parts["gradients"] = max(
        _backward(work, optimizer, -(-batch // optimizer.accumulate), job, sets, half),
        # AdamW on a GPU steps on all weights at once and needs another copy of the gradients.
        gradients * (1 if sizes.kind == "cpu" else 2),
        forward_bytes(shape, sizes),
    )
    return parts


def _backward(
    work: Work, optimizer: Optimizer, rows: int, job: Job, sets: list[Lengths], half: bool
) -> float:
    """The largest moment of a backward pass over some rows of each set.

    The set that was computed last comes first; its gradients of all weights wait for those of the
    other while that one's activations are still there.
    """
    shape, sizes = job.shape, job.sizes
    gradients = 4.0 * work.weights
    own = sizes.number * work.weights if half else gradients
    earlier = gradients if optimizer.accumulate > 1 else 0.0
    tokens = [
        float(rows * s.longest) if work.padded else s.most(rows, optimizer.steps) for s in sets
    ]
    pairs = zip(sets, tokens, strict=True)
    found = [_kept(work, optimizer, shape, sizes, s.longest) * n for s, n in pairs]
    logits = _logits(work, shape, sizes, rows, sets)
    whole = work.weights >= shape.parameters
    ends = float(sizes.number * shape.vocabulary * shape.d_model) if whole else 0.0
    block = _block(work, shape, sizes, max(s.longest for s in sets)) if optimizer.recompute else 0.0
    inside = max(tokens) * (block + 4 * shape.d_mlp * sizes.number)
    waiting = sum(found[:-1]) + own if len(found) > 1 else own
    moved = gradients + (own if earlier and half else 0.0)
    return max(
        earlier + sum(found) + max(logits, ends + inside),
        earlier + waiting + max(logits, 2 * ends, inside),
        moved,
    )


def _kept(work: Work, optimizer: Optimizer, shape: Shape, sizes: Sizes, longest: int) -> float:
    """Bytes a token of what all blocks keep, and of the states that the loss compares."""
    state = float(sizes.number * shape.d_model)
    if optimizer.recompute:
        return state * (work.states + math.ceil(work.backward))
    return state * work.states + work.backward * _block(work, shape, sizes, longest)


def _block(work: Work, shape: Shape, sizes: Sizes, longest: int) -> float:
    """Bytes a token of what one block keeps where nothing inside it is hooked."""
    # Keys and values are repeated for every head; a CPU keeps the scores of its attention too.
    scores = 2 * shape.heads * longest if sizes.kind == "cpu" else 0
    numbers = 10 * shape.d_model + scores + (4 if shape.gated else 6) * shape.d_mlp
    found = float(sizes.number * numbers)
    if sizes.number < 4:  # Norms are computed in float32.
        found += 8.0 * shape.d_model
    if sizes.number < 4 and work.adapters:  # As is what adapters read.
        found += 4.0 * (6 * shape.d_model + shape.d_mlp)
    return found


def _logits(work: Work, shape: Shape, sizes: Sizes, rows: int, sets: list[Lengths]) -> float:
    """Of the set that is read most; a comparison with the original has as many once more."""
    reads = [
        rows * (s.mean if every else s.read) for s, every in zip(sets, work.read, strict=False)
    ]
    found = logits_bytes(shape, sizes, math.ceil(max(reads, default=0.0)), backward=True)
    return found * (2 if work.divergence else 1)
