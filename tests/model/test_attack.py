"""One attack on a loaded model, as an audit does it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn import attack
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.relearning import TESTED
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.models import load
from mechunlearn.records import plain
from mechunlearn.tasks import load_task
from mechunlearn.types import HookedModel, Task


def test_it_chooses_what_an_audit_chooses(tiny_plan: AuditPlan, finished: Path) -> None:
    report = Report.load(finished)
    (model,) = report.unlearned
    task = load_task(tiny_plan.task)
    unlearned, original = load(tiny_plan.unlearned[0]), load(tiny_plan.original)
    (row,) = (r for r in report.rows if r.family == "read-out")
    lens = attack(row.attack, unlearned, original, task)
    tried = report.findings_of(model.label).tried[row.attack]
    assert plain(lens.variant) == row.variant
    assert [round(t.forget.accuracy, 4) for t in lens.tried] == [t.forget for t in tried]
    with pytest.raises(ValueError, match="only reads and has no sham"):
        lens.sham()


def test_an_attack_can_be_given_with_its_settings(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    model = tiny("gpt2")
    config = TESTED.presets["organism"]
    with pytest.raises(ValueError, match="samples=100000, but there are only"):
        attack(TESTED, model, model, task, config=dataclasses.replace(config, samples=100_000))
    with pytest.raises(ValueError, match="did you mean 'logit_lens'"):
        attack("logit_lense", model, model, task)
