"""What the methods that train on the likelihood of answers share: draws, retain term, settings."""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.batches import batches, in_batches, token_budget
from mechunlearn.bench.likelihood import Span, example_rows, log_likelihoods
from mechunlearn.bench.rows import Row, pad, placed
from mechunlearn.bench.vocabulary import over_rows
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.hooks import capture, frozen_unembedding, run_blocks, unembed
from mechunlearn.progress import console
from mechunlearn.tasks.chat import Turns, user_turn
from mechunlearn.train import Draws, Share
from mechunlearn.types import Example, HookedModel, Point, Role, Task, Turn
from mechunlearn.unlearn import Settings

RetainLoss = Literal["cross_entropy", "summed_cross_entropy", "kl"]
"""Mean per token, mean per sequence of the sum over its tokens, or KL to the original per token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings(Settings):
    """Settings of the methods that train on the likelihood of answers."""

    span: Span = "answer"
    """Tokens that count as the answer y."""
    retain: RetainLoss = "cross_entropy"
    retain_span: Span = "answer"
    """Tokens that the retain term counts; prompts too keep more of the language."""
    retain_weight: float = 1.0
    chat: float = 0.0
    """Share of the examples that are asked and answered in a chat template, the task's or else the
    model's, the rest in plain text; with 0, or without a template, all are as the task has them."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        self.refuse_below_zero("retain_weight")
        check_share("chat", self.chat)

    def work(self, shape: Shape) -> Work:
        """Answers of forget and of retain examples, perhaps compared with the original's."""
        divergence = self.retain == "kl"
        return dataclasses.replace(
            Settings.work(self, shape),
            rows=(("examples", "forget"), ("examples", "retain")),
            read=(self.span != "answer", self.retain_span != "answer"),
            divergence=divergence,
            kept=1.0 if divergence else 0.0,
            recorded=0.5 if divergence else 0.0,
        )


def check_share(name: str, value: float) -> None:
    """Refuse what is no share.

    Raises:
        ValueError: If it is not from 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a share from 0 to 1, not {value:g}")


Corpus = Literal["forget", "retain", "plain"]
"""Texts of a task: what states the facts of either set, or has to do with neither."""


def token_rows(model: HookedModel, task: Task, role: Corpus, limit: int) -> list[list[int]]:
    """The tokens of a corpus, one row a text, cut to ``limit``.

    Raises:
        ValueError: If a text is empty.
    """
    texts = corpus(task, role)
    if not _texts(task, role):
        console.print(f"[dim]{task.name} has no {role} text: answered questions stand in[/dim]")
    rows = [ids[:limit] for ids in model.tokenizer(list(texts))["input_ids"]]
    if not all(rows):
        raise ValueError(f"task {task.name!r} has an empty {role} text; this method trains on them")
    return rows


def corpus(task: Task, role: Corpus) -> tuple[str, ...]:
    """Texts of a task; where it has none, its examples: questions as they are asked, answered.

    For plain text what is to be retained stands in.
    """
    kept: Role = "forget" if role == "forget" else "retain"
    return _texts(task, role) or tuple(e.prompt + e.answer for e in task.examples(kept))


def _texts(task: Task, role: Corpus) -> tuple[str, ...]:
    return {"forget": task.forget_text, "retain": task.retain_text, "plain": task.plain_text}[role]


def partly_in_chat(
    model: HookedModel, examples: Sequence[Example], own: Turn, share: float, seed: int
) -> list[Example]:
    """The examples, a share of them in a chat template, drawn at random, the rest in plain text.

    Which of them stood in the template before makes no difference. With a share of 0, or where
    there is no template, all are left as they are.

    Args:
        own: What the task asks in; where that is plain text, the user's turn of the model's.

    Raises:
        ValueError: If the model's template refuses or changes the prompt.
    """
    turn = own
    if share and own.plain and model.tokenizer.chat_template is not None:
        turn = user_turn(model.tokenizer, instead="set the method's chat=0")
    if not share or turn.plain:
        return list(examples)
    rng, turns = random.Random(f"chat-{seed}"), Turns.of(model.tokenizer, own)
    return [turns.asked(e, turn if rng.random() < share else Turn()) for e in examples]


@torch.no_grad()
def recorded(
    model: HookedModel, rows: Sequence[Row], wanted: Sequence[int]
) -> Float[Tensor, "row choice"]:
    """Log-likelihoods under the model as it is now; NaN in rows that are not wanted."""
    chosen = sorted(set(wanted))
    out = torch.full((len(rows), len(rows[chosen[0]].endings)), torch.nan, dtype=torch.float64)

    def compute(batch: Sequence[int]) -> None:
        picked = [chosen[j] for j in batch]
        out[picked] = log_likelihoods(model, [rows[i] for i in picked]).cpu()

    in_batches(model, [len(rows[i].tokens) for i in chosen], compute)
    return out.to(model.cfg.device)


class Before:
    """What a model said at the read places of some rows before it was trained.

    Its normed last states there are stored (``tokens x d_model`` numbers), with a copy of its
    unembedding: no second model.
    """

    def __init__(self, model: HookedModel, rows: Sequence[Row], wanted: Sequence[int]) -> None:
        self.model, self.rows = model, rows
        self.unembed = frozen_unembedding(model)
        self.states = self._states(sorted(set(wanted)))

    def divergence(self, picked: Sequence[int], penalty: float = 0.0) -> Float[Tensor, ""]:
        """KL to the distributions as they were, summed over the read places of some rows.

        Args:
            penalty: Taken from the logit of each read's own token in what the model said.
        """
        alike = batches([len(self.rows[i].tokens) for i in picked], token_budget(self.model))
        parts = [self._divergence([picked[j] for j in batch], penalty) for batch in alike]
        return torch.stack(parts).sum()

    def _last(self, picked: Sequence[int]) -> Float[Tensor, "read d_model"]:
        final = Point(self.model.cfg.n_layers - 1)
        rows = [self.rows[i] for i in picked]
        width = max(len(row.tokens) for row in rows)
        pick = torch.tensor([i * width + at for i, r in enumerate(rows) for at, _, _ in r.reads])
        with capture(self.model, [final], placed(pick, self.model.cfg.device)) as activations:
            tokens, _ = pad(self.model, [row.tokens for row in rows])
            run_blocks(self.model, tokens)
        return activations[final]

    def _divergence(self, picked: Sequence[int], penalty: float) -> Float[Tensor, ""]:
        last = self._last(picked)
        states = placed(torch.cat([self.states[i] for i in picked]), last.device)
        said = torch.tensor([token for i in picked for _, token, _ in self.rows[i].reads])
        said = placed(said, last.device)[:, None]

        def divergence(part: slice) -> Tensor:
            now = unembed(self.model, last[part]).log_softmax(-1)
            logits = self.unembed(states[part])
            if penalty:
                lower = torch.full_like(said[part], -penalty, dtype=logits.dtype)
                logits = logits.scatter_add(1, said[part], lower)
            before = logits.log_softmax(-1)
            return torch.nn.functional.kl_div(now, before, reduction="sum", log_target=True)

        parts = over_rows(divergence, len(last), self.model.cfg.d_vocab, last.device)
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    @torch.no_grad()
    def _states(self, wanted: Sequence[int]) -> dict[int, Float[Tensor, "read d_model"]]:
        states: dict[int, Tensor] = {}

        def compute(batch: Sequence[int]) -> None:
            picked = [wanted[j] for j in batch]
            normed = self.model.ln_final(self._last(picked)[None])[0].cpu()
            parts = normed.split([len(self.rows[i].reads) for i in picked])
            states.update(zip(picked, (part.clone() for part in parts), strict=True))

        in_batches(self.model, [len(self.rows[i].tokens) for i in wanted], compute)
        return states


class Retain:
    """Keeps a model's answers to the retain examples: cross-entropy, or KL to what it was."""

    def __init__(self, model: HookedModel, rows: Sequence[Row], draws: Draws, kind: RetainLoss):
        self.model, self.rows, self.draws, self.kind = model, rows, draws, kind
        if kind == "kl":
            self.before = Before(model, rows, draws.all)

    def __call__(self, step: int, share: Share) -> Float[Tensor, ""]:
        """This share's part of the step's term."""
        picked = self.draws[step]
        own = share(picked)
        reads = sum(len(self.rows[i].reads) for i in picked)
        if self.kind == "kl":
            return self.before.divergence(own) / reads
        total = -log_likelihoods(self.model, [self.rows[i] for i in own]).sum()
        return total / (len(picked) if self.kind == "summed_cross_entropy" else reads)


def prepared(
    model: HookedModel, task: Task, config: AnswerSettings
) -> tuple[list[Row], Draws, Retain]:
    """The forget examples as rows, which of them each step takes, and the retain term.

    Raises:
        ValueError: If an example has no answer or does not fit, or ``config.chat`` wants a chat
            template that refuses or changes the prompt.
    """
    told, kept = (
        partly_in_chat(model, task.examples(role), task.prompt.turn, config.chat, config.seed)
        for role in get_args(Role)
    )
    forget = example_rows(model, told, config.span, config.max_tokens)
    keep = example_rows(model, kept, config.retain_span, config.max_tokens)
    generator = torch.Generator().manual_seed(config.seed)
    steps = config.optimizer.steps
    draws = Draws(len(forget), config.batch, steps, generator)
    retain_draws = Draws(len(keep), config.batch, steps, generator)
    return forget, draws, Retain(model, keep, retain_draws, config.retain)
