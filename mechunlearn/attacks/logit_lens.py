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

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from mechunlearn.attacks.protocol import Attack, Confirm, Search, Trace, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need, NoSettings
from mechunlearn.bench import score_read_outs
from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.bench.rows import continuation, encode, pad, placed, question_rows
from mechunlearn.cost.job import Cost, Job
from mechunlearn.hooks import capture, count_flops, run_blocks, streams
from mechunlearn.records import Interval, Record
from mechunlearn.registry import find
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
    task: Task | Confirm,
    *,
    norm: bool = True,
    change: Change = NO_CHANGE,
) -> Mapping[Point, Score]:
    """Scores of the questions read at every stream and layer.

    Args:
        norm: Apply the final norm before unembedding, as the paper does.
    """
    points = lens_points(model)
    read_outs = [LensReadOut(point, norm) for point in points]
    scores = score_read_outs(
        model, questions, task.prompt, read_outs, scoring=task.scoring, change=change
    )
    return dict(zip(points, scores, strict=True))


@torch.no_grad()
def answer_ranks(
    model: HookedModel, questions: Sequence[Question], task: Task, *, norm: bool = True
) -> Mapping[Point, Int[np.ndarray, " question"]]:
    """Rank of the right answer's first token among the whole vocabulary, 0 being the top.

    Read at the last token of each prompt, at every stream and layer.
    """
    rows, _ = question_rows(model.tokenizer, questions, task.prompt, task.scoring)
    right = find("measure", task.scoring).right
    points = lens_points(model)
    ranks = {p: np.zeros(len(rows), dtype=np.int64) for p in points}

    def compute(batch: list[int]) -> None:
        tokens, _ = pad(model, [rows[i].tokens[: rows[i].stem] for i in batch])
        last = [at * tokens.shape[1] + rows[i].stem - 1 for at, i in enumerate(batch)]
        first = [
            next(token for _, token, choice in rows[i].reads if choice == right(questions[i]))
            for i in batch
        ]
        answers = placed(torch.tensor(first), tokens.device)[:, None]
        count_flops(model, tokens.numel())
        with capture(model, points, placed(torch.tensor(last), tokens.device)) as kept:
            run_blocks(model, tokens)
        better = []
        for point in points:
            logits = LensReadOut(point, norm).logits(model, kept[point])
            better.append((logits > logits.gather(1, answers)).sum(dim=1))
        for point, values in zip(points, torch.stack(better).cpu().numpy(), strict=True):
            ranks[point][batch] = values

    in_batches(model, [r.stem for r in rows], compute)
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
        logits = LensReadOut(point, norm).logits(model, kept[point][0])
        right = logits[:, answer[0], None]
        ranks.append((logits > right).sum(dim=1))
        probabilities.append(logits.softmax(dim=1)[:, answer[0]])
    words = [tokenizer.decode([token]) for token in prompt]
    size = model.cfg.d_vocab
    there, chances = (torch.stack(x).cpu().numpy() for x in (ranks, probabilities))
    return TokenLens(words, example.answer, stream, there, chances, size)


class LensPlace(Record, frozen=True):
    """The questions read at one place."""

    layer: int
    stream: Stream
    value: float
    """Mean value of the answers."""
    value_ci: Interval


class LensTrace(Trace, frozen=True):
    """The confirm fold's forget questions read at every stream and layer."""

    kind: ClassVar[str] = "lens"
    places: tuple[LensPlace, ...]


def lens_trace(model: HookedModel, confirm: Confirm) -> LensTrace:
    """Read the reported questions everywhere."""
    scores = logit_lens(model, confirm.forget, confirm)
    return LensTrace(
        places=tuple(
            LensPlace(
                layer=point.layer,
                stream=point.stream,
                value=round(s.accuracy, 4),
                value_ci=(round(s.interval[0], 4), round(s.interval[1], 4)),
            )
            for point, s in scores.items()
        )
    )


@dataclass(frozen=True, slots=True)
class LensSearch(Search[Point]):
    """The places where a model can be read."""

    points: Sequence[Point]

    def variants(self) -> Generator[Sequence[Point], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.points

    def change(self, variant: Point) -> Change:
        """See ``Search``."""
        return Change(f"logit lens at {variant.name}", read_out=LensReadOut(variant))

    def sham(self, variant: Point, seed: int) -> None:
        """A read-out's placebo is other questions' answers."""

    def view(self, variant: Point) -> View:
        """See ``lens_trace``."""
        return lens_trace


class LogitLens(Attack[NoSettings, None, Point]):
    """The logit lens as a registered attack."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset()
    variant = Point
    presets: Mapping[str, NoSettings] = {"organism": NoSettings()}
    limited: ClassVar[bool] = False

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> LensSearch:
        """There is nothing to look for; the variants are the places to read."""
        return LensSearch(lens_points(model))

    def cost(self, config: NoSettings, job: Job) -> Cost:
        """One forward reads all places."""
        return Cost(variants=1.0)
