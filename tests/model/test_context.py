"""Questions near the length of the context: refused before anything is computed."""

import dataclasses
from pathlib import Path

import pytest

from mechunlearn.attacks import Seen
from mechunlearn.audit.cells import set_up
from mechunlearn.audit.checks import refuse, told
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench.rows import tokens_needed
from mechunlearn.registry import find
from mechunlearn.types import HookedModel, Question, Role, Task


def lengthened(model: HookedModel, task: Task, role: Role, left: int) -> tuple[Task, Question]:
    """The last question of a set made so long that the context has ``left`` tokens to spare."""
    *others, last = getattr(task, role)
    (taken,) = tokens_needed(model.tokenizer, [last], task.prompt, task.scoring)
    stem = "the " * (model.cfg.n_ctx - taken - left) + last.stem
    long = dataclasses.replace(last, stem=stem)
    return dataclasses.replace(task, **{role: (*others, long)}), long


@pytest.mark.parametrize("role", ["forget", "retain"])
def test_a_question_too_long_is_refused_before_anything_runs(
    role: Role, organism: HookedModel, task: Task, tmp_path: Path
) -> None:
    setup = set_up(AuditPlan(attacks=("logit_lens",)), tmp_path, 1)
    fits, _ = lengthened(organism, task, "retain", 2)
    refuse(dataclasses.replace(setup, task=fits))
    too_long, _ = lengthened(organism, task, role, -1)
    told_so = (
        r"begins 'the the .* tokens as letter asks it.*the context of organism.* is \d+; short"
    )
    with pytest.raises(ValueError, match=told_so):
        refuse(dataclasses.replace(setup, task=too_long))


def test_a_form_that_does_not_fit_is_not_offered(organism: HookedModel, task: Task) -> None:
    attack = find("attack", "forms")
    config = attack.presets["organism"]

    def offered(question: Question) -> set[str]:
        seen = Seen.of(task, attack, config=config, asked=[*task.forget[:5], question])
        (tried,) = attack.search(organism, seen, None, config).variants()
        return {form.measure for form in tried}

    assert offered(task.forget[5]) == {"letter", "cloze"}
    long = dataclasses.replace(task.forget[5], statement="the " * 300 + "of")
    assert offered(long) == {"letter"}


def test_the_error_of_an_attack_says_whose_it_is() -> None:
    with pytest.raises(ValueError, match=r"^gcg on rmu: too long$"), told("gcg on rmu"):
        raise ValueError("too long")
