"""Statistics beside attacks: whether likelihood, responses and activations tell questions apart.

Each is an area under the ROC curve within one model (``mechunlearn.bench.membership`` and
``mechunlearn.bench.outsider``); the original, a never-knew model and a benign finetune stand beside
the unlearned ones. None of them is an attack, and no verdict reads them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechunlearn.audit.labels import free_label, tail
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench.membership import membership_scores, right_and_wrong
from mechunlearn.bench.outsider import last_states, responses, shifts
from mechunlearn.environment import write_json
from mechunlearn.models import load
from mechunlearn.presets import configured, preset_for
from mechunlearn.records import Interval, Record, plain
from mechunlearn.registry import find
from mechunlearn.stats import auc
from mechunlearn.tasks import load_task
from mechunlearn.types import Fold, HookedModel, Question, Task
from mechunlearn.unlearn.gradient_difference import GradientDifference

Values = Mapping[str, Float[np.ndarray, " _"]]
Against = Literal["wrong answers", "retain questions"]
MOST = 400
"""Questions of each set and fold that are looked at."""
BENIGN = "benign finetune"


class Separation(Record, frozen=True):
    """How well one number tells a model's forget questions from others."""

    model: str
    score: str
    against: Against
    """From what: from themselves with wrong answers, or from the retain questions."""
    auc: float
    """1: every forget question's is higher; a half: nothing is told apart."""
    auc_ci: Interval
    n: int
    """Forget questions."""
    others: int


class SeparationResult(Record, frozen=True):
    """``trace.json``: all models of one task."""

    task: str
    command: str
    reference: str
    """The model whose loss ``reference`` takes off."""
    benign_steps: int
    rows: tuple[Separation, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions, and what is the same for every model."""

    task: Task
    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    seen: tuple[Question, ...]
    """Of the select fold, of both sets: the mean shift is theirs."""

    @classmethod
    def of(cls, task: Task) -> "_Asked":
        def some(role: Literal["forget", "retain"], fold: Fold) -> tuple[Question, ...]:
            questions = task.questions(role, fold)
            return questions[:: -(-len(questions) // MOST)]

        seen = some("forget", "select") + some("retain", "select")
        return cls(task, some("forget", "confirm"), some("retain", "confirm"), seen)

    def prompts(self, questions: Sequence[Question]) -> list[str]:
        return [self.task.prompt.text(q, self.task.scoring) for q in questions]


@dataclass(frozen=True, slots=True)
class _Measured:
    """One model: scores of right and of wrong answers, responses, and states."""

    right: Values
    wrong: Values
    responses: Values
    """Of the forget questions, then of the retain questions."""
    states: Float[Tensor, "layer prompt d_model"]
    """Of these, and of the questions that are seen before."""


def separations(plan: AuditPlan, out: Path, *, benign: int = 0) -> SeparationResult:
    """Measure all models of a plan, one in memory at a time, and write ``trace.json`` to ``out``.

    Args:
        benign: Steps of a finetune of the original on retain examples alone, as a further model
            (0: none); as many as the unlearning took.

    Raises:
        ValueError: If the plan makes models instead of naming them.
    """
    if plan.methods:
        raise ValueError("traces are of models that were unlearned: give --unlearned")
    config = plan.resolved("organism").task
    trust = plan.trust_remote_code
    task = load_task(plan.task or None, plan.original, config, trust_remote_code=trust)
    asked, measured = _Asked.of(task), {}
    names = dict(_models(plan))
    for label, source in names.items():
        measured[label] = _measure(load(source, **plan.loading), asked)
    if benign:
        model = load(plan.original, **plan.loading)
        _finetune_(model, task, benign)
        measured[BENIGN] = _measure(model, asked)
    original, *others = names
    reference = next((label for label in others if names[label] in plan.control_models), original)
    result = SeparationResult(
        task=task.name,
        command=_command(plan, out, benign),
        reference=reference,
        benign_steps=benign,
        rows=tuple(_rows(measured, asked, original, reference)),
    )
    write_json(out / "trace.json", plain(result))
    return result


def _models(plan: AuditPlan) -> Iterator[tuple[str, str]]:
    """Label and source of the original, the never-knew models and the unlearned ones."""
    taken = [*plan.labels]
    for source, role in (
        (plan.original, "original"),
        *((c, "never-knew") for c in plan.control_models),
    ):
        label = free_label(tail(source), taken, role)
        taken.append(label)
        yield label, source
    yield from plan.labels.items()


def _finetune_(model: HookedModel, task: Task, steps: int) -> None:
    """Cross-entropy of the retain answers alone, at the rate of gradient difference."""
    preset = preset_for(GradientDifference, model)
    config = configured(GradientDifference, preset, ["retain=cross_entropy"])
    optimizer = dataclasses.replace(config.optimizer, steps=steps)
    config = dataclasses.replace(config, forget_weight=0.0, optimizer=optimizer)
    GradientDifference.apply_(model, task, config)


def _measure(model: HookedModel, asked: _Asked) -> _Measured:
    task = asked.task
    right, wrong = right_and_wrong(asked.forget, task.prompt)
    scores = membership_scores(model, [*right, *wrong])
    both = asked.prompts((*asked.forget, *asked.retain))
    states = last_states(model, [*both, *asked.prompts(asked.seen)])
    generates = find("measure", task.scoring).generates
    said = responses(model, both, states[:, : len(both)], generates=generates)
    return _Measured(
        right={name: of[: len(right)] for name, of in scores.items()},
        wrong={name: of[len(right) :] for name, of in scores.items()},
        responses=said,
        states=states,
    )


def _rows(
    measured: Mapping[str, _Measured], asked: _Asked, original: str, reference: str
) -> Iterator[Separation]:
    forget, retain = ([q.source or q.stem for q in of] for of in (asked.forget, asked.retain))
    n = len(asked.forget)
    before = measured[original].states
    known = measured[reference]
    for label, own in measured.items():
        right, wrong = dict(own.right), dict(own.wrong)
        if label != reference:
            for mine, theirs in ((right, known.right), (wrong, known.wrong)):
                mine["reference"] = mine["loss"] - theirs["loss"]
        for score, of in right.items():
            yield _row(label, score, "wrong answers", (of, wrong[score]), (forget, forget))
        found = dict(own.responses)
        if label != original:
            found["shift"] = _shift(before, own.states, len(forget) + len(retain))
        for score, of in found.items():
            yield _row(label, score, "retain questions", (of[:n], of[n:]), (forget, retain))


def _shift(
    before: Float[Tensor, "layer prompt d_model"],
    after: Float[Tensor, "layer prompt d_model"],
    reported: int,
) -> Float[np.ndarray, " reported"]:
    """At the layer whose mean shift is the largest, in the size of its states."""
    mean = (after[:, reported:] - before[:, reported:]).mean(1)
    size = before[:, reported:].norm(dim=-1).mean(1)
    layer = int((mean.norm(dim=-1) / size).argmax())
    return shifts(before[layer, :reported], after[layer, :reported], mean[layer])


def _row(
    model: str,
    score: str,
    against: Against,
    values: tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]],
    sources: tuple[Sequence[str], Sequence[str]],
) -> Separation:
    members, others = values
    value, (low, high) = auc(members, others, sources)
    return Separation(
        model=model,
        score=score,
        against=against,
        auc=round(value, 4),
        auc_ci=(round(low, 4), round(high, 4)),
        n=len(members),
        others=len(others),
    )


def _command(plan: AuditPlan, out: Path, benign: int) -> str:
    words = plan.command(out).replace("mechunlearn audit", "mechunlearn trace", 1)
    return f"{words} --benign {benign}" if benign else words
