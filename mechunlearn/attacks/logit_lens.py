"""Read the answer at inner layers, where it may still stand before the output hides it.

    logits_l = W_U ln_final(x_l)    at the last prompt token, letters only

for four streams ``x_l`` of every layer: block output, attention output, residual between attention
and MLP, MLP output.

Reference:
    nostalgebraist 2020, Interpreting GPT: the logit lens; as an attack on unlearned models by
    Łucki et al. 2024, arXiv:2409.18025.
    Differs: logits are compared, not probabilities rounded to six decimals, and exact ties count
    as no answer (in the paper's code they become "A"); layer and stream are chosen on the select
    fold; all streams and layers come from one forward.
    Limits: the final norm and unembedding suit the last blocks; an answer that stands in an early
    block in another form is not read. What is read may also be a preference for one letter; the
    sham shuffles the answers against that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.bench import score_points
from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import continuation, encode, pad, question_rows
from mechunlearn.hooks import capture, count_flops, run_blocks, streams, unembed
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    Example,
    HookedModel,
    Point,
    Question,
    Score,
    Stream,
    Task,
)


def lens_points(model: HookedModel) -> list[Point]:
    """Every stream of every layer."""
    return [Point(i, stream) for i in range(model.cfg.n_layers) for stream in streams(model)]


def logit_lens(
    model: HookedModel,
    questions: Sequence[Question],
    task: Task,
    *,
    norm: bool = True,
    change: Change = NO_CHANGE,
) -> Mapping[Point, Score]:
    """Scores of the questions read at every stream and layer.

    Args:
        norm: Apply the final norm before unembedding, as the paper does.
    """
    return score_points(
        model,
        questions,
        task.prompt,
        lens_points(model),
        scoring=task.scoring,
        change=change,
        norm=norm,
    )


@torch.no_grad()
def answer_ranks(
    model: HookedModel, questions: Sequence[Question], task: Task, *, norm: bool = True
) -> Mapping[Point, Int[np.ndarray, " question"]]:
    """Rank of the right answer's first token among the whole vocabulary, 0 being the top.

    Read at the last token of each prompt, at every stream and layer.
    """
    rows, _ = question_rows(model.tokenizer, questions, task.prompt, task.scoring)
    points = lens_points(model)
    ranks = {p: np.zeros(len(rows), dtype=np.int64) for p in points}
    for batch in batches([r.stem for r in rows], token_budget(model)):
        tokens, _ = pad(model, [rows[i].tokens[: rows[i].stem] for i in batch])
        last = [at * tokens.shape[1] + rows[i].stem - 1 for at, i in enumerate(batch)]
        first = [
            next(token for _, token, choice in rows[i].reads if choice == questions[i].answer)
            for i in batch
        ]
        right = torch.tensor(first, device=tokens.device)[:, None]
        count_flops(model, tokens.numel())
        with capture(model, points, torch.tensor(last, device=tokens.device)) as kept:
            run_blocks(model, tokens)
        for point in points:
            logits = unembed(model, kept[point], norm=norm)
            better = logits > logits.gather(1, right)
            ranks[point][batch] = better.sum(dim=1).cpu().numpy()
    return ranks


@dataclass(frozen=True, slots=True, eq=False)
class TokenLens:
    """One prompt read at every layer and token: how high the answer's first token stands."""

    tokens: list[str]
    """The prompt."""
    answer: str
    stream: Stream
    ranks: Int[np.ndarray, "layer pos"]
    """Tokens of the vocabulary that stand above the answer; 0 is the top."""
    probabilities: Float[np.ndarray, "layer pos"]
    n_vocabulary: int


@torch.no_grad()
def token_lens(
    model: HookedModel,
    example: Example,
    *,
    stream: Stream = "resid_post",
    norm: bool = True,
    change: Change = NO_CHANGE,
) -> TokenLens:
    """Rank and probability of an answer after every token of its prompt, at every layer.

    Args:
        example: As ``task.example(question)`` makes it; of the answer its first token is read.
        norm: Apply the final norm before unembedding.

    Raises:
        ValueError: If the answer adds no token to the prompt.
    """
    tokenizer = model.tokenizer
    prompt = encode(tokenizer, example.prompt)
    answer = continuation(tokenizer, example.prompt, example.answer)
    if not answer:
        raise ValueError(f"the answer {example.answer!r} adds no token to its prompt")
    tokens, _ = pad(model, [prompt])
    points = [Point(layer, stream) for layer in range(model.cfg.n_layers)]
    count_flops(model, tokens.numel())
    with change.on(model), capture(model, points) as kept:
        run_blocks(model, tokens)
    ranks, probabilities = [], []
    for point in points:
        logits = unembed(model, kept[point][0], norm=norm).float()
        right = logits[:, answer[0], None]
        ranks.append((logits > right).sum(dim=1).cpu().numpy())
        probabilities.append(logits.softmax(dim=1)[:, answer[0]].cpu().numpy())
    words = [tokenizer.decode([token]) for token in prompt]
    size = model.cfg.d_vocab
    return TokenLens(words, example.answer, stream, np.stack(ranks), np.stack(probabilities), size)


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel

    def grid(self) -> list[Settings]:
        return [{"layer": p.layer, "stream": p.stream} for p in lens_points(self.model)]

    def build(self, settings: Settings) -> Candidate:
        return Candidate(settings, point=Point(settings["layer"], settings["stream"]))

    def sham(self, settings: Settings, seed: int) -> None:
        return None

    def details(self, settings: Settings) -> dict[str, Any]:
        return {}


class LogitLens:
    """The logit lens as a registered attack."""

    presets: ClassVar[dict[str, Any]] = {}
    access: ClassVar[tuple[str, ...]] = ("activations",)
    needs: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def reference(
        original: HookedModel, task: Task, asked: Sequence[Question], config: Any = None
    ) -> None:
        """Nothing is needed of the original."""

    @staticmethod
    def find(
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: None = None,
        config: None = None,
    ) -> _Found:
        """The lens has nothing to look for; its variants are the places to read."""
        return _Found(model)
