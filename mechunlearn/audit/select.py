"""Scoring an attack's variants, and choosing one on the select fold."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechunlearn.attacks import Candidate, Found
from mechunlearn.bench import score, score_points
from mechunlearn.types import Fold, HookedModel, Question, Score, Task

Role = Literal["forget", "retain"]


def score_candidates(
    model: HookedModel, candidates: Sequence[Candidate], role: Role, fold: Fold, task: Task
) -> list[Score]:
    """One score per variant: taken along the way, or now.

    Variants that only read elsewhere share one forward.
    """
    questions = task.questions(role, fold)
    scores = {
        i: c.measured[f"{role} {fold}"]
        for i, c in enumerate(candidates)
        if f"{role} {fold}" in c.measured
    }
    for norm in (True, False):
        reads = {
            i: c.point
            for i, c in enumerate(candidates)
            if c.point is not None and c.norm is norm and not c.change.hooks
        }
        if reads:
            points = list(dict.fromkeys(reads.values()))
            found = score_points(
                model, questions, task.prompt, points, scoring=task.scoring, norm=norm
            )
            scores |= {i: found[point] for i, point in reads.items()}
    for i, c in enumerate(candidates):
        if i not in scores:
            scores[i] = score_candidate(model, c, questions, task)
    return [scores[i] for i in range(len(candidates))]


def score_candidate(
    model: HookedModel, candidate: Candidate, questions: Sequence[Question], task: Task
) -> Score:
    """The model's answers under one variant, read at the output."""
    prompt = task.prompt
    if candidate.rewrite is not None:
        candidate.rewrite.prepare(model, [prompt.text(q, task.scoring) for q in questions])
        prompt = dataclasses.replace(prompt, rewrite=candidate.rewrite)
    return score(model, questions, prompt, scoring=task.scoring, change=candidate.change)


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant the select fold chose, and all that were tried."""

    candidate: Candidate
    forget: float
    """Select-fold accuracy on forget questions."""
    retain: float
    within_limit: bool
    tried: list[dict[str, object]]
    scores: list[Score]
    """Select-fold forget scores of all that were tried."""


def choose(
    model: HookedModel, found: Found, task: Task, *, retain_before: float, limit: float
) -> Choice:
    """The variant with the best forget accuracy whose retain loss stays within ``limit``.

    Ties go to fewer layers, then to the earlier variant. When no variant stays within the limit,
    the one that keeps most of the retain accuracy is taken and marked. Variants that only read
    elsewhere leave the model as it is and are not limited; nor is relearning, which probes what is
    there: no training leaves the rest as it was.

    Args:
        retain_before: Retain accuracy without the attack, unless the attack held part of the retain
            questions back and measured its own.
    """
    retain_before = getattr(found, "retain_before", retain_before)
    candidates = [found.build(settings) for settings in found.grid()]
    forget = score_candidates(model, candidates, "forget", "select", task)
    tried: list[dict[str, object]] = [
        {**c.settings, "forget_select": round(s.accuracy, 4)}
        for c, s in zip(candidates, forget, strict=True)
    ]

    def rank(i: int) -> tuple[float, int, int]:
        layers = candidates[i].settings.get("layers", [0])
        return -forget[i].accuracy, len(layers), i

    order = sorted(range(len(candidates)), key=rank)
    if all(c.point is not None for c in candidates):
        best = order[0]
        return Choice(candidates[best], forget[best].accuracy, retain_before, True, tried, forget)
    kept: dict[int, float] = {}
    for i in order:
        (scored,) = score_candidates(model, [candidates[i]], "retain", "select", task)
        kept[i] = scored.accuracy
        tried[i]["retain_select"] = round(scored.accuracy, 4)
        within = scored.accuracy >= retain_before - limit - 1e-9
        if within or getattr(found, "unlimited", False):
            return Choice(candidates[i], forget[i].accuracy, kept[i], within, tried, forget)
    best = max(order, key=lambda i: kept[i])
    return Choice(candidates[best], forget[best].accuracy, kept[best], False, tried, forget)


def shuffled_answers(score: Score, seed: int) -> Score:
    """The placebo of a read-out: the same readings, held against other questions' answers."""
    order = np.random.default_rng(seed).permutation(score.n)
    return Score(f"{score.name}, shuffled answers", score.logits, score.answers[order])
