"""Greedy generation: what a model says when it may say anything."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.engine import telling
from mechunlearn.hooks import count_flops
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


def generate(
    model: HookedModel,
    prompts: Sequence[str],
    max_tokens: int = 16,
    change: Change = NO_CHANGE,
    turn: Turn = NO_TURN,
) -> list[str]:
    """The greedy continuation of each prompt, as text; see ``continuations``."""
    rows = continuations(model, prompts, max_tokens, change, turn)
    return [model.tokenizer.decode(row) for row in rows]


@torch.no_grad()
def continuations(
    model: HookedModel,
    prompts: Sequence[str],
    max_tokens: int = 16,
    change: Change = NO_CHANGE,
    turn: Turn = NO_TURN,
) -> list[list[int]]:
    """The tokens of the greedy continuation of each prompt, special ones in it included.

    Of the checkpoint's generation settings only the tokens that end an answer count: a penalty on
    repetition, a suppressed token or a least length would make the text another than the model's.

    Prompts of one length form a batch, so that nothing is padded. A change's rewrite changes the
    questions. Where a sequence hook is on, every step computes the whole text so far.

    Args:
        prompts: Whole prompts, in their chat template where they have one.
        turn: That template, for a change that rewrites questions: ``task.prompt.turn``.

    Raises:
        ValueError: If a prompt is empty or too long for the model's context, or the change has a
            read-out or a form: text is the model's own, and the prompts are asked as they are.
    """
    if change.read_out is not None:
        raise ValueError(f"{change.name!r} reads elsewhere; text is generated at the output only")
    if change.form is not None:
        raise ValueError(
            f"{change.name!r} asks questions in another form, but these prompts are texts already; "
            "use score(..., change=...)"
        )
    if change.rewrite is not None:
        prompts = change.rewrite.prompts(model, prompts, turn)
    rows = model.tokenizer(list(prompts))["input_ids"]
    room = (model.cfg.n_ctx or 1 << 30) - max_tokens
    if not all(0 < len(row) <= room for row in rows):
        raise ValueError(
            f"a prompt is empty or longer than {room} tokens; shorten it, or ask for fewer than "
            f"max_tokens={max_tokens}"
        )
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(len(row), []).append(i)
    answers: list[list[int]] = [[] for _ in rows]
    with change.applied(model):
        for length, members in groups.items():

            def compute(batch: Sequence[int], members: Sequence[int] = members) -> None:
                picked = [members[j] for j in batch]
                with _steps_told(model, picked):
                    new = _greedy(model, [rows[i] for i in picked], max_tokens)
                for i, row in zip(picked, new, strict=True):
                    answers[i] = row

            in_batches(model, [length + max_tokens] * len(members), compute)
    return answers


@contextmanager
def _steps_told(model: HookedModel, items: Sequence[int]) -> Iterator[None]:
    """Tell sequence hooks, where there are some, which rows each step of decoding computes."""
    if not whole_prompts():
        yield
        return

    def tell(module: torch.nn.Module, args: tuple[()], kwargs: dict[str, Tensor]) -> None:
        everything = torch.ones_like(kwargs["input_ids"], dtype=torch.bool)
        stack.enter_context(telling(items, everything))

    with ExitStack() as stack:
        before = model.original_model.register_forward_pre_hook(tell, with_kwargs=True)
        stack.callback(before.remove)
        yield


def _greedy(model: HookedModel, rows: list[list[int]], max_tokens: int) -> list[list[int]]:
    tokens = torch.tensor(rows, device=model.cfg.device)
    count_flops(model, tokens.numel() + len(rows) * (max_tokens - 1))
    stops = _stops(model)
    plainly = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=not whole_prompts(),
        pad_token_id=model.tokenizer.pad_token_id,
        eos_token_id=sorted(stops) or None,
    )
    plain = model.original_model
    shipped, plain.generation_config = plain.generation_config, plainly
    try:  # What a configuration leaves open, transformers takes from the model's own.
        new = plain.generate(
            tokens, generation_config=plainly, attention_mask=torch.ones_like(tokens)
        )[:, tokens.shape[1] :]
    finally:
        plain.generation_config = shipped
    stops |= {model.tokenizer.pad_token_id}
    ends = (next((i for i, t in enumerate(r) if t in stops), len(r)) for r in new.tolist())
    return [row[:end] for row, end in zip(new.tolist(), ends, strict=True)]


def _stops(model: HookedModel) -> set[int]:
    """Tokens that end an answer: the tokenizer's, and those that the checkpoint names."""
    config = model.original_model.config.get_text_config()
    named = (
        model.tokenizer.eos_token_id,
        model.original_model.generation_config.eos_token_id,
        config.eos_token_id,
    )
    lists = [ids if isinstance(ids, list) else [ids] for ids in named]
    return {token for ids in lists for token in ids if token is not None}


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
