"""Generation: what a model says when it may say anything."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mechunlearn.bench.batches import (
    CONTINUED_PADDING,
    WORTH_SPLITTING,
    generation_budget,
    in_batches,
)
from mechunlearn.bench.decoding import Cached, Whole, continued, sampled
from mechunlearn.bench.engine import ending
from mechunlearn.bench.rotation import reset_rotation, rotation_limit
from mechunlearn.hooks import foreign_hooks
from mechunlearn.models.tokenizer import pads_with_borrowed
from mechunlearn.stats import wilson
from mechunlearn.tasks.refusals import is_refusal
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    HookedModel,
    Question,
    Task,
    Turn,
    whole_prompts,
)

NO_TURN = Turn()


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of generated answers."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson(self.count, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are chosen, and when a text ends; nothing of this is taken from a checkpoint.

    Raises:
        ValueError: For a value out of range, or one without effect: the most likely text is one
            text, whatever ``top_p``.
    """

    max_tokens: int = 16
    """New tokens of a text at most."""
    samples: int = 1
    """Texts of each prompt."""
    temperature: float = 0.0
    """0 takes the most likely token; otherwise logits are divided by it before one is drawn."""
    top_p: float = 1.0
    """Probability of the likeliest tokens that are drawn from; 1: of all."""
    seed: int = 0
    """With a prompt and a sample's number it decides what is drawn, whatever else is asked."""
    stop: tuple[str, ...] = ()
    """Texts that end a text; it is cut before the first."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.samples < 1 or self.temperature < 0:
            raise ValueError(
                f"max_tokens={self.max_tokens}, samples={self.samples} and temperature="
                f"{self.temperature}: the first two are at least 1, the last at least 0"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} is not above 0 and at most 1")
        if not self.temperature and (self.samples > 1 or self.top_p < 1):
            raise ValueError(
                f"temperature=0 always says the same: samples={self.samples} and top_p="
                f"{self.top_p} need a temperature above 0"
            )
        if "" in self.stop or isinstance(self.stop, str):
            raise ValueError(f"stop={self.stop!r} is not a tuple of texts that are not empty")


def generate(
    model: HookedModel,
    prompts: Sequence[str],
    max_tokens: int = 16,
    change: Change = NO_CHANGE,
    turn: Turn = NO_TURN,
) -> list[str]:
    """The most likely continuation of each prompt, token by token; see ``sample``."""
    texts = sample(model, prompts, Decoding(max_tokens=max_tokens), change, turn)
    return [text for (text,) in texts]


def sample(
    model: HookedModel,
    prompts: Sequence[str],
    decoding: Decoding,
    change: Change = NO_CHANGE,
    turn: Turn = NO_TURN,
) -> list[tuple[str, ...]]:
    """The texts that continue each prompt, ``decoding.samples`` of each; see ``continuations``."""
    rows = continuations(model, prompts, decoding, change, turn)
    return [tuple(_text(model, row, decoding.stop) for row in own) for own in rows]


@torch.no_grad()
def continuations(
    model: HookedModel,
    prompts: Sequence[str],
    decoding: Decoding,
    change: Change = NO_CHANGE,
    turn: Turn = NO_TURN,
) -> list[list[list[int]]]:
    """The tokens that continue each prompt: ``[prompt][sample][token]``, special ones included.

    Of the checkpoint's generation settings only the tokens that end an answer count: a penalty on
    repetition, a suppressed token or a least length would make the text another than the model's.
    Logits are read as scoring reads them, in float32.

    Prompts of all lengths form a batch, padded on the left, as many as the free memory holds. Where
    the model's gate forbids it, those of one length do. Where a sequence hook is on, or cached keys
    would be wrong, every step computes the whole text so far; under somebody's own hooks also each
    text alone. A change's rewrite changes the questions; what is drawn follows the prompt as it was
    given, so that two changes draw alike.

    Args:
        prompts: Whole prompts, in their chat template where they have one.
        turn: That template, for a change that rewrites questions: ``task.prompt.turn``.

    Raises:
        ValueError: If a prompt is empty or too long for the model's context, or the change has a
            read-out or a form: text is the model's own, and the prompts are asked as they are.
    """
    _refuse_what_is_no_text(change)
    if not prompts:
        return []
    given = prompts
    if change.rewrite is not None:
        prompts = change.rewrite.prompts(model, prompts, turn)
    rows = model.tokenizer(list(prompts))["input_ids"]
    _refuse_too_long(model, rows, most := decoding.max_tokens)
    ends, stopped = _ends(model), _stopped(model, decoding.stop)
    answers: list[list[list[int]]] = [[[] for _ in range(decoding.samples)] for _ in rows]
    with change.applied(model):
        for members, cached in _groups(model, [len(row) for row in rows], most):
            reset_rotation(model)
            each = [(i, k) for i in members for k in range(decoding.samples)]
            lengths = [len(rows[i]) + most for i, _ in each]

            def compute(
                batch: Sequence[int],
                each: Sequence[tuple[int, int]] = each,
                cached: bool = cached,
            ) -> None:
                own = [each[j] for j in batch]
                draw = _draw(decoding, [(given[i], k) for i, k in own])
                tokens, items = [rows[i] for i, _ in own], [i for i, _ in own]
                texts = Cached(model, tokens) if cached else Whole(model, tokens, items)
                new = continued(texts, draw, ends, stopped, most, len(own))
                for (i, k), row in zip(own, new, strict=True):
                    answers[i][k] = row

            budget = generation_budget(model, lengths, cached)
            worth = CONTINUED_PADDING if cached else WORTH_SPLITTING
            in_batches(model, lengths, compute, budget, padding=worth)
    return answers


def _refuse_too_long(model: HookedModel, rows: Sequence[Sequence[int]], most: int) -> None:
    if not all(rows):
        raise ValueError("a prompt is empty; a model needs something to go on from")
    room = (model.cfg.n_ctx or 1 << 30) - most
    if len(longest := max(rows, key=len)) > room:
        raise ValueError(
            f"a prompt has {len(longest)} tokens and there is room for {room}; shorten what ends "
            f"{ending(model, longest)!r}, or ask for fewer than max_tokens={most}"
        )


def _refuse_what_is_no_text(change: Change) -> None:
    if change.read_out is not None:
        raise ValueError(f"{change.name!r} reads elsewhere; text is generated at the output only")
    if change.form is not None:
        raise ValueError(
            f"{change.name!r} asks questions in another form, but these prompts are texts already; "
            "use score(..., change=...)"
        )


def _groups(
    model: HookedModel, lengths: Sequence[int], most: int
) -> Iterator[tuple[list[int], bool]]:
    """Prompts that may be continued together, and whether from cached keys."""
    limit = rotation_limit(model)
    cached = model.shortcuts.caching and not (whole_prompts() or foreign_hooks(model))
    near = [i for i, length in enumerate(lengths) if length + most <= limit]
    together = not cached or model.shortcuts.left_padding
    alike: dict[tuple[int, bool], list[int]] = {}
    for i in near:
        alike.setdefault((0 if together else lengths[i], cached), []).append(i)
    # Longer texts are rotated by tables of their own length in every step.
    for i in sorted(set(range(len(lengths))) - set(near)):
        alike.setdefault((lengths[i], False), []).append(i)
    for (_, kept), members in alike.items():
        yield members, kept


def _draw(
    decoding: Decoding, texts: Sequence[tuple[str, int]]
) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """How the next tokens of some texts are chosen; each is a prompt and a sample's number."""
    if not decoding.temperature:
        return lambda logits, rows: logits.argmax(-1)
    draws = [random.Random(f"{decoding.seed}-{k}-{prompt}") for prompt, k in texts]
    return lambda logits, rows: sampled(
        logits, [draws[i] for i in rows], decoding.temperature, decoding.top_p
    )


def _stopped(model: HookedModel, stop: Sequence[str]) -> Callable[[list[int]], bool]:
    """Whether new tokens hold a text that ends them; only their last ones can have brought it."""
    if not stop:
        return lambda tokens: False
    last = max(len(text.encode()) for text in stop) + 2
    return lambda tokens: any(t in model.tokenizer.decode(tokens[-last:]) for t in stop)


def _text(model: HookedModel, tokens: Sequence[int], stop: Sequence[str]) -> str:
    text = model.tokenizer.decode(tokens)
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _ends(model: HookedModel) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's, padding, and those that the checkpoint names.

    Not a token that only stands in for padding, where the tokenizer has none.
    """
    config = model.original_model.config.get_text_config()
    named = (
        None if pads_with_borrowed(model.tokenizer) else model.tokenizer.pad_token_id,
        model.tokenizer.eos_token_id,
        model.original_model.generation_config.eos_token_id,
        config.eos_token_id,
    )
    lists = [ids if isinstance(ids, list) else [ids] for ids in named]
    return frozenset(token for ids in lists for token in ids if token is not None)


def refusal_rate(
    model: HookedModel,
    questions: Sequence[Question],
    task: Task,
    change: Change = NO_CHANGE,
    max_tokens: int = 8,
) -> Rate:
    """Share of questions whose greedy answer declines to say.

    Questions are asked as ``task.prompt`` asks them: with letters, or as a statement to complete.
    """
    prompts = [task.prompt.text(q, task.scoring) for q in questions]
    answers = generate(model, prompts, max_tokens, change, task.prompt.turn)
    return Rate(sum(is_refusal(a, task.refusals) for a in answers), len(answers))
