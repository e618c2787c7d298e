"""Facts under other names: found where names were exchanged, and nowhere else."""

import dataclasses

import numpy as np
import pytest

from mechunlearn.attacks import Grid, Seen
from mechunlearn.attacks.aliases import Aliases, AliasesConfig, Entities, Named
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.registry import find
from mechunlearn.studies.treatments import Case, permute_names_
from mechunlearn.tasks import load_task
from mechunlearn.tasks.world import World
from mechunlearn.types import HookedModel, Task

ALIASES: Aliases = find("attack", "aliases")
CONFIG = AliasesConfig()
GUESSING = 0.25


def searched(model: HookedModel, task: Task) -> Grid[Named]:
    return ALIASES.search(model, Seen.of(task, ALIASES, config=CONFIG), None, CONFIG)


def exchanged(source: str, task: Task) -> HookedModel:
    model = load(source)
    permute_names_(model, Case(source, task, World(0)))
    return model


@pytest.fixture(scope="module")
def facts() -> Task:
    return load_task("facts")


@pytest.mark.ci
def test_exchanged_names_are_found_and_the_sham_and_the_null_find_nothing(facts: Task) -> None:
    questions = facts.questions("forget", "confirm")

    def found(source: str) -> tuple[float, float, float]:
        model = exchanged(source, facts)
        search = searched(model, facts)
        changes = None, search.change(Named()), search.sham(Named(), 0)
        before, alias, sham = (
            score(model, questions, facts, change=c).accuracy
            if c
            else score(model, questions, facts).accuracy
            for c in changes
        )
        return before, alias, sham

    before, alias, sham = found("organism:original")
    assert before < GUESSING + 0.1
    assert alias > 0.6
    assert sham < GUESSING + 0.15
    assert max(found("organism:never_knew")) < GUESSING + 0.1


def test_a_question_is_renamed_by_other_facts_than_its_own(facts: Task) -> None:
    entities = Entities.of(facts.questions("forget", "confirm")[:], CONFIG)
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(len(entities.questions), len(entities.candidates)))
    before = entities.aliases(evidence)
    which = 7
    evidence[which] = 0.0
    evidence[which, 0] = 1e6
    after = entities.aliases(evidence)
    source = entities.questions[which].source
    assert after[which] == before[which]
    for i, question in enumerate(entities.questions):
        if i != which and question.source == source:
            assert after[i] == entities.candidates[0]
        elif i != which:
            assert after[i] == before[i]
    # Nobody keeps an alias, and every alias is somebody else's.
    for seed in range(3):
        assert sorted(entities.exchanged(before, seed)) == sorted(before)


def test_prompts_change_by_the_name_only_and_other_questions_stay(
    organism: HookedModel, facts: Task
) -> None:
    change = searched(organism, facts).change(Named())
    assert change.rewrite is not None
    asked = facts.questions("forget", "confirm")[0]
    text = facts.prompt.text(asked, facts.scoring)
    kept = facts.prompt.text(facts.questions("retain", "confirm")[0], facts.scoring)
    renamed, other = change.rewrite.prompts(organism, [text, kept], facts.prompt.turn)
    assert other == kept
    own, new = text.split(), renamed.split()
    assert [a for a, b in zip(own, new, strict=True) if a != b] in ([asked.source], [])


def test_a_task_without_entities_is_left_out_or_refused(facts: Task) -> None:
    apart = tuple(dataclasses.replace(q, source=f"{i}") for i, q in enumerate(facts.sets["forget"]))
    task = dataclasses.replace(facts, forget=apart)
    assert ALIASES.suits(facts)
    assert not ALIASES.suits(task)
    with pytest.raises(ValueError, match="no entities to rename"):
        ALIASES.check(CONFIG, Seen.of(task, ALIASES, config=CONFIG), 4)
    with pytest.raises(ValueError, match="two names or more"):
        AliasesConfig(names=1)
    few = Entities.of(facts.questions("forget", "confirm"), AliasesConfig(names=5))
    assert len(few.candidates) == 5
