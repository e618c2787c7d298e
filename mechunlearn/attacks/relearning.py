"""Finetune the unlearned model a little and watch what comes back, beside what had to be taught.

    L = -mean log pi(answer | prompt)      over answers alone, or over prompt and answer

One run gives a whole curve: accuracy after 0, 1, 2, 4, ... steps, for several learning rates and
seeds. The data decide what a recovery means: other facts of the forgotten domain (``disjoint``;
never the tested ones), the tested facts themselves (``tested``), facts that were to be kept
(``retain``), text (``text``) or questions (``questions``) about something else. Retain facts among
each step's examples (``keep``) make what comes back cost less of the rest. The sham trains on the
same prompts with shuffled answers: their format without their information. A model that never knew
goes through the same runs; its curve is the price of teaching.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (finetuning; their LoRA settings are the ``paper`` preset).
    Training on facts that are independent of the tested ones is RTT, Deeb and Roger 2024,
    arXiv:2410.08827.
    Differs: evaluations along one run instead of a run per number of samples; several learning
    rates and seeds; retain facts can be kept; rate and steps are chosen on the select fold.
    Disjoint facts, and retain facts where any are trained on, are halved into facts to train on and
    facts to choose by.
    Limits: training can teach: what comes back counts only beyond what the never-knew model learns.
    The loss of retain accuracy is reported, but limits nothing: an attacker may mind it, but facts
    that return were there. Facts that do not return in these steps at these rates may in others.
"""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.attacks.curves import Curve, Point
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import Span, example_rows, log_likelihoods, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.hooks import metered
from mechunlearn.models.lora import LoRA
from mechunlearn.progress import console
from mechunlearn.train import Draws, Optimizer, Share, Watch, fit, restored, trained
from mechunlearn.types import Change, Example, HookedModel, Question, Score, Task

Data = Literal["disjoint", "tested", "retain", "text", "questions"]
Role = Literal["forget", "retain"]
INFORMATIVE: tuple[Data, ...] = ("disjoint", "tested")
"""Data that states facts of the forget domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelearningConfig:
    """Settings.

    Raises:
        ValueError: If there is nothing to train, or no rate or seed.
    """

    rates: tuple[float, ...]
    """Learning rates, each a run of its own."""
    steps: int
    batch: int = 16
    keep: int = 0
    """Retain examples that each step trains on beside its batch, of half the select fold's."""
    samples: int = 0
    """Distinct examples; 0: all there are."""
    span: Span = "answer"
    """``prompt_and_answer`` is the paper's whole-chat loss."""
    lora: LoRA = LoRA()
    """Rank 0 trains the weights themselves."""
    seeds: tuple[int, ...] = (0, 1)
    warmup: float = 0.0
    """Share of the steps."""
    decay: float = 0.0
    """Share of the steps."""
    weight_decay: float = 0.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        if not self.rates or not self.seeds or min(self.steps, self.batch) < 1:
            raise ValueError(f"relearning needs rates, seeds, steps and a batch, not {self}")
        if min(self.keep, self.samples) < 0:
            raise ValueError(f"keep and samples are numbers of examples, not {self}")

    def optimizer(self, rate: float, *, recompute: bool = False) -> Optimizer:
        """AdamW at one learning rate."""
        warmup = math.ceil(self.warmup * self.steps)
        plain = Optimizer(self.steps, rate, warmup, self.decay, self.weight_decay)
        return dataclasses.replace(plain, recompute=recompute)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of steps after which is measured: powers of two, and the last."""
        return (*(2**i for i in range(self.steps.bit_length()) if 2**i < self.steps), self.steps)


def relearn_(
    model: HookedModel,
    rows: Sequence[Row],
    config: RelearningConfig,
    kept: Sequence[Row] = (),
    *,
    rate: float,
    seed: int = 0,
    steps: int | None = None,
    watch: Watch | None = None,
) -> None:
    """Train the model in place on the mean loss per token of the rows' reads.

    Args:
        kept: What is not to be lost: ``config.keep`` of them a step, in a term of equal weight.
        steps: Stop after as many of ``config.steps``; the schedule stays that of all of them.

    Raises:
        ValueError: If the loss explodes, LoRA targets match nothing, or ``kept`` is there and
            ``config.keep`` is not, or the other way round.
    """
    if bool(kept) != bool(config.keep):
        raise ValueError(f"keep={config.keep} with {len(kept)} rows to keep: give both or neither")
    generator = torch.Generator().manual_seed(seed)
    sets = {"answers": (rows, Draws(len(rows), config.batch, config.steps, generator))}
    if kept:
        sets["kept"] = kept, Draws(len(kept), config.keep, config.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        counts = [sum(len(pool[i].reads) for i in draws[step]) for pool, draws in sets.values()]
        mine = [[pool[i] for i in share(draws[step])] for pool, draws in sets.values()]
        found = log_likelihoods(model, [row for rows in mine for row in rows])  # In one pass.
        parts = found.split([len(rows) for rows in mine])
        return {k: -x.sum() / n for k, x, n in zip(sets, parts, counts, strict=True)}

    with trained(model, config.lora, seed=seed) as (parameters, _):
        # As the paper does: it makes room on a GPU.
        optimizer = config.optimizer(rate, recompute=str(model.cfg.device).startswith("cuda"))
        fit(
            parameters,
            loss,
            optimizer,
            label="relearning",
            watch=watch,
            model=model,
            seed=seed,
            stop=steps,
        )


def relearning(
    rows: Sequence[Row],
    config: RelearningConfig,
    kept: Sequence[Row] = (),
    *,
    rate: float,
    seed: int,
    steps: int,
) -> Change:
    """``relearn_`` as a reversible change: trains on entry, restores bit for bit on exit."""

    @contextmanager
    def edit(model: HookedModel) -> Iterator[None]:
        with restored(model):
            relearn_(model, rows, config, kept, rate=rate, seed=seed, steps=steps)
            yield

    return Change(f"relearned, lr {rate:g}, {steps} steps", edits=(edit,))


@dataclass(frozen=True, slots=True)
class _Found:
    config: RelearningConfig
    rows: list[Row]
    kept: list[Row]
    sham_rows: Callable[[int], list[Row]]
    curves: tuple[Curve, ...]
    measured: Mapping[tuple[float, int, int], Mapping[str, Score]]
    """(rate, seed, steps) -> scores on the folds that were measured along the way."""
    chosen_by: Sequence[Question]
    """The select-fold questions that the scores are on."""
    retain_before: float
    """Accuracy, before training, on the retain questions that the limit is held against."""
    unlimited: ClassVar[bool] = True

    def grid(self) -> list[Settings]:
        return [{"rate": rate, "seed": seed, "steps": steps} for rate, seed, steps in self.measured]

    def build(self, settings: Settings) -> Candidate:
        key = settings["rate"], settings["seed"], settings["steps"]
        change = relearning(self.rows, self.config, self.kept, **settings)
        return Candidate(settings, change, measured=self.measured.get(key, {}))

    def sham(self, settings: Settings, seed: int) -> Candidate:
        """The same prompts with shuffled answers, and the same retain facts."""
        change = relearning(self.sham_rows(seed), self.config, self.kept, **settings)
        return Candidate(settings, change)

    def details(self, settings: Settings) -> dict[str, Any]:
        curves = [dataclasses.asdict(curve) for curve in self.curves]
        return {"examples": len(self.rows), "curves": json.loads(json.dumps(curves))}


class Relearning:
    """Relearning from one kind of data as a registered attack."""

    access: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, data: Data) -> None:
        self.data: Data = data
        self.presets = {
            "paper": RelearningConfig(
                rates=(5e-5, 2e-4),
                steps=300,
                batch=1,
                span="prompt_and_answer",
                lora=LoRA(rank=128, alpha=16.0),
                warmup=0.05,
                decay=0.95,
            ),
            "small": RelearningConfig(rates=(1e-5, 5e-5), steps=32, batch=8, max_tokens=128),
            "organism": RelearningConfig(
                rates=(1e-3,), steps=128, batch=4, seeds=(0,), warmup=0.125
            ),
        }
        if data in INFORMATIVE:
            # Kept facts, and a warm-up, leave more of the rest, of NPO's models most of all.
            self.presets["organism"] = RelearningConfig(
                rates=(7e-4,), steps=64, keep=16, seeds=(0,), warmup=0.125
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """What it takes besides the model."""
        return {
            "disjoint": ("other facts of the forget domain", "retain facts"),
            "tested": ("the tested facts", "retain facts"),
            "retain": ("retain facts",),
            "text": ("benign text",),
            "questions": ("unrelated questions",),
        }[self.data]

    def reference(
        self, original: HookedModel, task: Task, asked: Sequence[Question], config: Any = None
    ) -> None:
        """Nothing is needed of the original."""

    def find(
        self,
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: None,
        config: RelearningConfig,
    ) -> _Found:
        """Curves of every learning rate and seed; ``model`` is afterwards what it was."""
        teaches_retain = config.keep > 0 or self.data == "retain"
        sets = {
            "forget select": _select(task, "forget", halved=self.data == "disjoint"),
            "retain select": _select(task, "retain", halved=teaches_retain),
            "forget confirm": task.questions("forget", "confirm"),
        }
        items = chosen_items(self._pool(task), config.samples, self.data)
        rows, kept = _rows(model, items, config), _kept(model, task, config)
        informative = self.data in INFORMATIVE
        curves: list[Curve] = []
        measured: dict[tuple[float, int, int], dict[str, Score]] = {}
        for rate in config.rates:
            for seed in config.seeds:
                curve, scores = _run(model, rows, kept, config, task, sets, rate, seed, informative)
                curves.append(curve)
                measured |= {(rate, seed, steps): found for steps, found in scores.items()}

        def sham(seed: int) -> list[Row]:
            return _rows(model, shuffled(items, seed), config)

        before = curves[0].points[0].retain
        return _Found(
            config, rows, kept, sham, tuple(curves), measured, sets["forget select"], before
        )

    def rebuild(
        self, model: HookedModel, task: Task, settings: Settings, config: RelearningConfig
    ) -> Candidate:
        """The variant with these settings, without running the curves again."""
        items = chosen_items(self._pool(task), config.samples, self.data)
        rows, kept = _rows(model, items, config), _kept(model, task, config)
        return Candidate(settings, relearning(rows, config, kept, **settings))

    def _pool(self, task: Task) -> list[Example] | list[str]:
        if self.data == "text":
            return list(task.plain_text)
        if self.data == "questions":
            return list(task.plain_examples)
        if self.data == "tested":
            return [task.example(q) for q in task.questions("forget", "confirm")]
        role: Role = "forget" if self.data == "disjoint" else "retain"
        return [task.example(q) for q in _halves(task, role)[0]]


def _select(task: Task, role: Role, *, halved: bool) -> Sequence[Question]:
    """Select-fold questions, or the half of them that is not trained on."""
    return _halves(task, role)[1] if halved else task.questions(role, "select")


def _halves(task: Task, role: Role) -> tuple[list[Question], list[Question]]:
    """Select-fold questions to train on and to choose by; they share no source."""
    questions = task.questions(role, "select")
    sources = sorted({q.source for q in questions})
    if len(sources) < 2:
        raise ValueError(
            f"relearning from {role} facts needs two sources in the select fold of task "
            f"{task.name!r}, which has {len(sources)}; give its questions sources"
        )
    first = set(sources[::2])
    return [q for q in questions if q.source in first], [
        q for q in questions if q.source not in first
    ]


def chosen_items(pool: list[Any], n: int, data: str) -> list[Any]:
    """``n`` evenly spaced items (0: all).

    Raises:
        ValueError: If there are none, or fewer than ``n``.
    """
    if not pool:
        raise ValueError(f"the task has no data for relearning from {data}")
    if n > len(pool):
        raise ValueError(f"relearning from {data}: samples={n}, but there are only {len(pool)}")
    n = n or len(pool)
    return [pool[i * len(pool) // n] for i in range(n)]


def shuffled(items: list[Any], seed: int) -> list[Any]:
    """The same prompts with each other's answers; of texts, the same words in random order."""
    rng = random.Random(seed)
    if isinstance(items[0], str):
        return [" ".join(rng.sample(words, len(words))) for words in map(str.split, items)]
    answers = [e.answer for e in items]
    rng.shuffle(answers)
    return [Example(e.prompt, answer) for e, answer in zip(items, answers, strict=True)]


def _rows(model: HookedModel, items: list[Any], config: RelearningConfig) -> list[Row]:
    limit = min(config.max_tokens, model.cfg.n_ctx or config.max_tokens)
    if isinstance(items[0], str):
        return text_rows(model, items, limit, limit)
    return example_rows(model, items, config.span, limit)


def _kept(model: HookedModel, task: Task, config: RelearningConfig) -> list[Row]:
    """Half of the select fold's retain facts, answered; none where none are to be kept."""
    if not config.keep:
        return []
    return _rows(model, [task.example(q) for q in _halves(task, "retain")[0]], config)


def _run(
    model: HookedModel,
    rows: list[Row],
    kept: list[Row],
    config: RelearningConfig,
    task: Task,
    sets: Mapping[str, Sequence[Question]],
    rate: float,
    seed: int,
    informative: bool,
) -> tuple[Curve, dict[int, dict[str, Score]]]:
    """One run from start to end, measured at the checkpoints; a run that explodes ends early."""
    draws = Draws(len(rows), config.batch, config.steps, torch.Generator().manual_seed(seed))
    reads = [len(rows[i].reads) for i in draws.all]
    points: list[Point] = []
    scores: dict[int, dict[str, Score]] = {}
    with metered() as meter:
        measuring = 0

        def measure(steps: int) -> dict[str, float]:
            nonlocal measuring
            trained_with, samples = meter.flops - measuring, steps * config.batch
            found = {
                name: score(model, questions, task.prompt, scoring=task.scoring)
                for name, questions in sets.items()
            }
            measuring = meter.flops - trained_with
            confirm, kept = found["forget confirm"], found["retain select"].accuracy
            tokens = sum(reads[:samples]) if informative else 0
            points.append(
                Point(
                    steps, samples, tokens, trained_with, confirm.accuracy, confirm.interval, kept
                )
            )
            if steps:
                scores[steps] = found
            return {"forget": confirm.accuracy, "retain": kept}

        with restored(model):
            watch = Watch(measure=measure, at=(0, *config.checkpoints), printed=False)
            try:
                relearn_(model, rows, config, kept, rate=rate, seed=seed, watch=watch)
            except ValueError as error:
                if not scores:
                    raise
                console.print(f"[dim]{error}[/dim]")
    return Curve(rate, seed, tuple(points)), scores


DISJOINT = Relearning("disjoint")
TESTED = Relearning("tested")
RETAIN = Relearning("retain")
TEXT = Relearning("text")
QUESTIONS = Relearning("questions")
