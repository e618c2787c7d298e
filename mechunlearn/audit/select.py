"""Scoring an attack's variants, and choosing one on the select fold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mechunlearn.attacks import Progress, Scored, Search, Trials, halves
from mechunlearn.bench import score, score_read_outs
from mechunlearn.bench.later import score_each
from mechunlearn.bench.renaming import fitted, suggested, under
from mechunlearn.registry import find
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Question, Role, Score, Task

ENOUGH = 8
"""With fewer lost questions than these, attacks look at the whole select fold."""


def lost(
    questions: Sequence[Question], original: Iterable[float], unlearned: Iterable[float]
) -> tuple[Question, ...]:
    """Questions that the original answers and the unlearned model does not; all if these are few.

    Args:
        original, unlearned: What the models' answers are worth, question by question.
    """
    gone = tuple(
        q
        for q, before, after in zip(questions, original, unlearned, strict=True)
        if before > 0.5 >= after
    )
    return gone if len(gone) >= ENOUGH else tuple(questions)


@dataclass(frozen=True, slots=True)
class Deciding:
    """The questions of the select fold that decide between an attack's variants."""

    task: Task
    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    places: tuple[int, ...] | None
    """Of the forget questions in the select fold; ``None``: all of them."""
    trials: tuple[Question, ...] = ()
    """Forget questions that judge ``Trials``: the other half, where the set is split."""

    @classmethod
    def of(cls, task: Task, attack: str, splits: frozenset[Role]) -> "Deciding":
        """All of the select fold, or of a set that the attack learns from the other half.

        Raises:
            ValueError: If a set is to be split and is of one source.
        """
        forget, retain = (_judging(task, attack, role, splits) for role in ("forget", "retain"))
        places, trials = None, forget
        if "forget" in splits:
            trials = _halves(task, attack, "forget")[0]
            ids = set(map(id, forget))
            whole = task.questions("forget", "select")
            places = tuple(i for i, q in enumerate(whole) if id(q) in ids)
        return cls(task, forget, retain, places, trials)

    @property
    def kept(self) -> tuple[Question, ...]:
        """Retain questions that trials are measured on: evenly spaced, as many as judge them."""
        n = min(len(self.trials), len(self.retain))
        return tuple(self.retain[i * len(self.retain) // n] for i in range(n))


def _judging(task: Task, attack: str, role: Role, splits: frozenset[Role]) -> tuple[Question, ...]:
    return _halves(task, attack, role)[1] if role in splits else task.questions(role, "select")


def _halves(
    task: Task, attack: str, role: Role
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    what = f"{attack}: the {role} questions of the select fold"
    return halves(task.questions(role, "select"), what)


class Reported(NamedTuple):
    """What is asked once, for the reported numbers.

    Asked apart, as the baseline and the shams are: how long an answer may be depends on the
    longest gold answer among the questions that are asked together.
    """

    confirm: Score
    """Forget questions of the confirm fold."""
    twins: Score | None
    """Questions that nobody can know, where there are some."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A model while an attack trains it."""

    variant: Any
    progress: Progress
    forget: Score
    retain: Score
    reported: Reported


@dataclass(slots=True)
class Measured:
    """What was measured of a model on the way; what an attack's ``watch`` fills."""

    deciding: Deciding
    twins: tuple[Question, ...] = ()
    """Questions that nobody can know, asked when the confirm fold is."""
    stages: list[Measurement] = field(default_factory=list)

    def __call__(self, model: HookedModel, variant: Any, progress: Progress) -> Scored:
        """Measure the model as it is; the confirm fold's answers stay here."""
        task, d = self.deciding.task, self.deciding
        forget, retain = (score(model, questions, task) for questions in (d.forget, d.retain))
        self.stages.append(Measurement(variant, progress, forget, retain, self.report(model)))
        return Scored(forget.accuracy, retain.accuracy)

    def report(self, model: HookedModel, change: Change = NO_CHANGE) -> Reported:
        """Ask the reported questions."""
        task = self.deciding.task
        confirm, twins = (
            score(model, questions, task, change=change) if questions else None
            for questions in (task.questions("forget", "confirm"), self.twins)
        )
        assert confirm is not None
        return Reported(confirm, twins)

    def of(self, variant: Any) -> Measurement | None:
        """What was measured at a variant; of several measurements the last."""
        return next((s for s in reversed(self.stages) if s.variant == variant), None)

    @property
    def start(self) -> Measurement | None:
        """The model before training."""
        return next((s for s in self.stages if s.variant is None), None)


def score_changes(
    model: HookedModel, changes: Sequence[Change], questions: Sequence[Question], task: Task
) -> list[Score]:
    """One score per change; changes share a forward, or its first blocks, where they can."""
    scores: dict[int, Score] = {}
    reads = {
        i: c.read_out
        for i, c in enumerate(changes)
        if c.read_out is not None and c.leaves_model and c.form is None
    }
    if reads:
        shared = score_read_outs(
            model, questions, task.prompt, list(reads.values()), scoring=task.scoring
        )
        scores |= dict(zip(reads, shared, strict=True))
    others = [i for i in range(len(changes)) if i not in scores]
    found = score_each(model, [changes[i] for i in others], questions, task)
    scores |= dict(zip(others, found, strict=True))
    return [scores[i] for i in range(len(changes))]


@dataclass(slots=True)
class Attempt:
    """A variant that was tried on the select fold."""

    variant: Any
    forget: Score
    retain: Score | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that the select fold chose, and all that were tried."""

    variant: Any
    within_limit: bool
    tried: tuple[Attempt, ...]


def choose(
    model: HookedModel,
    search: Search[Any],
    measured: Measured,
    *,
    retain_before: float,
    limit: float,
    limited: bool = True,
) -> Choice:
    """The variant with the best forget accuracy whose retain loss stays within ``limit``.

    Ties go to the smaller variant, then to the earlier one. When no variant stays within the limit,
    the one that keeps most of the retain accuracy is taken and marked. Variants that only read
    elsewhere or ask otherwise leave the model as it is and are not limited. What letters are worth
    is what they are under the renaming that they suggest, if they suggest one
    (``mechunlearn.bench.renaming``).

    Args:
        retain_before: Retain accuracy without the attack, unless the attack measured its own.
        limited: Whether the limit decides; the loss is reported in any case.
    """
    tried = _attempts(model, search, measured)
    start = measured.start
    before = retain_before if start is None else start.retain.accuracy
    changes = [search.change(t.variant) for t in tried]
    task = measured.deciding.task
    values = [worth(t.forget, task, c) for t, c in zip(tried, changes, strict=True)]
    order = sorted(
        (i for i in range(len(tried)) if search.eligible(tried[i].variant)),
        key=lambda i: (-values[i], search.size(tried[i].variant), i),
    )
    if all(c.leaves_model for c in changes):
        return Choice(tried[order[0]].variant, True, tuple(tried))
    kept: dict[int, float] = {}
    for i in order:
        at = measured.of(tried[i].variant)
        retained = (
            score(model, measured.deciding.retain, task, change=changes[i])
            if at is None
            else at.retain
        )
        tried[i].retain, kept[i] = retained, retained.accuracy
        within = retained.accuracy >= before - limit - 1e-9
        if within or not limited:
            return Choice(tried[i].variant, within, tuple(tried))
    best = max(order, key=lambda i: kept[i])
    return Choice(tried[best].variant, False, tuple(tried))


def worth(score: Score, task: Task, change: Change) -> float:
    """Mean value of a variant's answers; of letters under the renaming that they suggest."""
    measure = task.scoring if change.form is None else change.form.measure
    if not find("measure", measure).one_token:
        return score.accuracy
    said, right, n = score.predictions, score.answers, score.logits.shape[1]
    if suggested(said, right, n) is None:
        return score.accuracy
    return float(np.mean(under(fitted(said, right, n), said) == right))


def _attempts(model: HookedModel, search: Search[Any], measured: Measured) -> list[Attempt]:
    """Every variant that may be chosen, with its forget score: measured on the way, or now."""
    d = measured.deciding
    tried: list[Attempt] = []
    rounds = search.variants()
    batch = next(rounds, ())
    while batch:
        changes = [search.change(variant) for variant in batch]
        if isinstance(batch, Trials):
            worths = _tried_out(model, changes, d)
        else:
            attempts = _scored(model, batch, changes, measured)
            tried += attempts
            pairs = zip(attempts, changes, strict=True)
            worths = [Scored(worth(a.forget, d.task, c)) for a, c in pairs]
        try:
            batch = rounds.send(worths)
        except StopIteration:
            break
    if not tried:
        raise ValueError("the attack has no variants to try")
    return tried


def _scored(
    model: HookedModel, batch: Sequence[Any], changes: Sequence[Change], measured: Measured
) -> list[Attempt]:
    d = measured.deciding
    known = {i: at.forget for i, v in enumerate(batch) if (at := measured.of(v)) is not None}
    left = [i for i in range(len(batch)) if i not in known]
    asked = [changes[i] for i in left]
    known |= dict(zip(left, score_changes(model, asked, d.forget, d.task), strict=True))
    return [Attempt(v, known[i]) for i, v in enumerate(batch)]


def _tried_out(model: HookedModel, changes: Sequence[Change], d: Deciding) -> list[Scored]:
    """What variants are worth that only tell a search where to look."""
    forget, retain = (score_changes(model, changes, asked, d.task) for asked in (d.trials, d.kept))
    return [
        Scored(worth(f, d.task, c), r.accuracy)
        for f, r, c in zip(forget, retain, changes, strict=True)
    ]


def confirmed(
    model: HookedModel, search: Search[Any], measured: Measured, variant: Any
) -> Reported:
    """The reported questions under a variant; taken from the way where it was measured."""
    at = measured.of(variant)
    return measured.report(model, search.change(variant)) if at is None else at.reported
