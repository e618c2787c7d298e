"""Other questions' answers state nothing true, however they are written."""

from collections.abc import Sequence

import pytest

from mechunlearn.attacks.fewshot import mislabelled
from mechunlearn.tasks import load_task
from mechunlearn.tasks.exchange import shuffled, subjects
from mechunlearn.tasks.people import People
from mechunlearn.types import Example
from mechunlearn.unlearn.dpo import preferences


def people() -> tuple[People, list[Example]]:
    examples = load_task("chat", original="chat:original").examples("forget")
    return People(0), [item for item in examples if isinstance(item, Example)]


def true_statements(world: People, answers: Sequence[str]) -> list[str]:
    """Answers that give somebody the value that is theirs."""
    facts = [(fact.entity, fact.value) for fact in world.forget]
    return [a for a in answers if any(name in a and f" {value}" in a for name, value in facts)]


@pytest.mark.ci
def test_sentences_lose_their_facts() -> None:
    world, items = people()
    told = true_statements(world, [item.answer for item in items])
    assert len(told) > 500
    for seed in range(3):
        found = [item for item in shuffled(items, seed) if isinstance(item, Example)]
        assert [item.prompt for item in found] == [item.prompt for item in items]
        left = true_statements(world, [item.answer for item in found])
        assert len(left) < 0.1 * len(told)  # By luck: values are shared by some people.
        sentences = [x for x, item in zip(found, items, strict=True) if item.answer in told]
        named = [x for x in sentences if any(f.entity in x.prompt and f.entity in x.answer
                                             for f in world.forget)]  # fmt: skip
        assert len(named) > 0.95 * len(sentences)  # The form stays.


def test_short_answers_are_exchanged_as_they_are() -> None:
    items = [Example(f"The capital of {x} is", f" {y}") for x, y in (
        ("Mexico", "Mexico City"), ("Kuwait", "Kuwait City"), ("France", "Paris"),
        ("Philippines", "Manila"), ("the UK", "the United Kingdom"))]  # fmt: skip
    assert subjects(items) == [None] * 5
    found = shuffled(items, 0)
    answers = [item.answer for item in found if isinstance(item, Example)]
    assert sorted(answers) == sorted(item.answer for item in items)
    letters = [Example(f"{q}\nA. one\nB. two\nAnswer:", f" {a}") for q, a in ("xA", "yB", "zA")]
    assert subjects(letters) == [None] * 3
    long = "the stone of Nora that is blue and lies far off"
    choices = [Example(f"{q}: a red stone or {long}?", f" {long}") for q in "xyz"]
    assert subjects(choices) == [None] * 3


def test_questions_about_one_subject_get_their_words_in_random_order() -> None:
    items = [
        Example(f"What does Harry Potter {verb}?", f" Harry Potter will often {verb} {what} there.")
        for verb, what in (("eat", "cake"), ("see", "owls"), ("ride", "brooms"), ("know", "Ron"))
    ]
    found = [item for item in shuffled(items, 1) if isinstance(item, Example)]
    for before, after in zip(items, found, strict=True):
        assert after.answer != before.answer
        assert sorted(after.answer.split()) == sorted(before.answer.split())


def test_wrong_answers_of_methods_and_attacks_state_nothing_true() -> None:
    world, items = people()
    task = load_task("chat", original="chat:original")
    pairs = preferences(task, (0.0, 0.0, 1.0), batch=8, steps=40, seed=0)
    known = [(fact.entity, fact.value) for fact in world.retain]
    said = [wrong for _, wrong in pairs if any(name in wrong for name, _ in known)]
    true = [s for s in said if any(name in s and f" {value}" in s for name, value in known)]
    assert len(said) > 50
    assert len(true) < 0.2 * len(said)  # By luck; as they were before, all of them.
    shown = mislabelled(items[::40], items[::4], seed=0)
    assert len(true_statements(world, [example.answer for example in shown])) < 5
