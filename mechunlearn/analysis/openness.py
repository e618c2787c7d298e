"""How much is still answered without any attack, and whether anything can be judged at all."""

import numpy as np
from msgspec import UnsetType

from mechunlearn.analysis.answers import guessing_level
from mechunlearn.analysis.contrasts import Before
from mechunlearn.analysis.records import Openness
from mechunlearn.analysis.recovery import interval
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.rows import before_of
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import Answers
from mechunlearn.stats import Values


def openness_of(evidence: Evidence, model: str) -> Openness:
    """Of an unlearned model, measured from the highest level of guessing that the audit knows."""
    original = evidence.setup.original.label
    hidden = evidence.baseline(original).hidden
    before = before_of(evidence, model)
    levels = [guessing_level(evidence, model)]
    if before.control is not None:
        levels.append(before.control)
    return openness(
        before,
        known_from=guessing_level(evidence, original, hidden),
        open_from=max(levels, key=lambda level: float(level.mean())),
        seed=evidence.setup.plan.seed,
    )


def openness(before: Before, *, known_from: Values, open_from: Values, seed: int) -> Openness:
    """The share of the original's knowledge that the unlearned model still answers.

        share = mean[unlearned - guessing] / mean[original - guessing]

    Args:
        known_from: What the original answers without knowing.
        open_from: What the unlearned model answers without knowing.
    """
    knows = interval(before.original - known_from, before.sources, seed)
    still = before.unlearned - open_from
    share = None
    if knows[0] > 0 and (known := float((before.original - open_from).mean())) > 0:
        share = short(float(np.clip(still.mean() / known, 0, 1)))
    return Openness(
        guessing=short(open_from.mean()),
        knows_ci=short_interval(knows),
        open_ci=short_interval(interval(still, before.sources, seed)),
        share=share,
    )


def nonfinite_of(evidence: Evidence, model: str) -> tuple[str, ...]:
    """The model, the original or attacks, where an answer is no finite number."""
    original = evidence.setup.original.label
    names = [
        label
        for label in (original, model)
        if any(map(_nonfinite, evidence.baseline(label).sets.values()))
    ]
    attacks = [attack for label, attack in evidence.complete if label == model]
    names += [a for a in attacks if _nonfinite(evidence.attack(model, a).forget)]
    return tuple(names)


def _nonfinite(answers: Answers) -> bool:
    return not isinstance(answers.nonfinite, UnsetType)
