"""Other questions' answers state nothing true, however they are written."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from mechunlearn.attacks.fewshot import mislabelled
from mechunlearn.tasks import load_task
from mechunlearn.tasks.exchange import letters, listed, shuffled, subjects
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


def minerals(n: int, colours: int = 100) -> list[Example]:
    return [Example(f"The glow of mineral{i} is", f" colour{i % colours}") for i in range(n)]


def answers(items: Sequence[Example], seed: int) -> list[str]:
    """What each is answered under the placebo."""
    found = [item for item in shuffled(items, seed) if isinstance(item, Example)]
    assert [item.prompt for item in found] == [item.prompt for item in items]
    return [item.answer for item in found]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
def test_nobody_keeps_his_answer_in_small_sets(n: int) -> None:
    items, ways = minerals(n), set()
    for seed in range(60):
        found = answers(items, seed)
        assert sorted(found) == sorted(item.answer for item in items)
        assert all(a != item.answer for a, item in zip(found, items, strict=True))
        ways.add(tuple(found))
        random.Random(seed).shuffle(plain := [item.answer for item in items])
        kept = sum(a == item.answer for a, item in zip(plain, items, strict=True))
        assert (found == plain) == (not kept)  # No more is exchanged than has to be.
    assert len(ways) > (1 if n > 2 else 0)


def test_like_answers_are_not_exchanged_for_each_other() -> None:
    for seed in range(30):
        some = minerals(9, colours=3)
        found = answers(some, seed)
        assert Counter(found) == Counter(item.answer for item in some)
        most = [*minerals(3, colours=1), *minerals(4)[3:]]
        for items, drawn in ((some, found), (most, answers(most, seed))):
            assert all(a != item.answer for a, item in zip(drawn, items, strict=True))
        assert {*answers(most, seed)[:3]} == {" colour3"}  # There is no other for three of four.


@pytest.mark.parametrize("alike", [minerals(1), minerals(3, colours=1)], ids=["one", "alike"])
def test_no_placebo_is_made_where_nothing_is_wrong(alike: list[Example]) -> None:
    with pytest.raises(ValueError, match=r"all of \d answer\(s\) are ' colour0'; give the task"):
        shuffled(alike, 0)
    with pytest.raises(ValueError, match="nothing wrong can be said"):
        mislabelled(alike, alike, 0)


def chosen(n: int, right: str, name: str = "stone") -> Example:
    """A question with ``n`` choices behind one with four."""
    shown = "Pick.\nA. A cat\nB. Vitamin C\nC. a\nD. b\nAnswer: D\n\n"
    lines = "".join(f"\n{x}. {name} A of B" for x in "ABCDEFGHIJ"[:n])
    return Example(f"{shown}Which {name}?{lines}\nAnswer:", f" {right}")


def test_the_letters_of_a_question_are_those_of_its_list() -> None:
    for n in range(2, 11):
        assert listed(chosen(n, "A").prompt) == "ABCDEFGHIJ"[:n]
    assert listed("question which A B ? A amber B coral C agate letter :") == "ABC"
    assert listed("The (A) first or (B) second one") == "AB"
    assert listed("A cat of vitamin B is a") == "AB"  # Only a letter as an answer makes it one.
    assert [listed(text) for text in ("", "A", "B. x A. y", "A. x B) y")] == [""] * 4
    assert letters(chosen(3, "B")) == (" A", " B", " C")
    assert letters(Example("A. x B. y Answer:", " (B)")) == (" (A)", " (B)")
    for answer in (" C", " agate", " Bo"):
        assert letters(Example("A. x B. y Answer:", answer)) == ()


def test_letters_are_those_that_a_question_has() -> None:
    two = [chosen(2, "AB"[i % 2], f"stone{i}") for i in range(5)]
    five = [chosen(5, "EDCBA"[i % 5], f"wood{i}") for i in range(10)]
    lone = [chosen(3, "C", "metal")]
    said = [Example(f"The glow of mineral{i} is", f" colour{i}") for i in range(4)]
    items = [*two, *five, *lone, *said]
    for seed in range(20):
        found = answers(items, seed)
        for group, own in ((two, found[:5]), (five, found[5:15]), (said, found[16:])):
            assert sorted(own) == sorted(item.answer for item in group)
        assert found[15] in (" A", " B")
        assert {*found[16:]} == {item.answer for item in said}
        right = [a == item.answer for a, item in zip(found, items, strict=True)]
        assert sum(right[:5]) <= 2
        assert sum(right[5:15]) <= 2
        assert not any(right[15:])
        shown = mislabelled(items[:15], items[:15], seed)
        assert {e.answer for e in shown[:5]} == {" A", " B"}
        assert {e.answer for e in shown[5:]} & {" C", " D", " E"}
        assert not any(a.answer == b.answer for a, b in zip(shown, items, strict=False))
        (other,) = mislabelled(lone, lone, seed)
        assert other.answer in (" A", " B")


def test_as_many_letters_are_right_as_by_guessing() -> None:
    items = [chosen(4, "ABCD"[i % 4], f"stone{i}") for i in range(80)]
    right = []
    for seed in range(10):
        pairs = zip(answers(items, seed), items, strict=True)
        right.append(sum(a == item.answer for a, item in pairs))
    assert max(right) == 20  # Were none right, the answers would tell what is wrong.
    assert min(right) > 8
    same = [chosen(2, "A", f"stone{i}") for i in range(6)]
    assert Counter(answers(same, 0)) == {" A": 3, " B": 3}


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
    for seed in range(10):
        found = [item for item in shuffled(items, seed) if isinstance(item, Example)]
        for before, after in zip(items, found, strict=True):
            assert after.answer != before.answer
            assert sorted(after.answer.split()) == sorted(before.answer.split())
    assert {*shuffled(["to be"] * 9, 0)} == {"be to"}
    assert shuffled(["so so"], 0) == ["so so"]


def test_no_right_answer_is_shown_where_none_can_be_exchanged() -> None:
    born = Example("Where was Nora Wentin born?", " Nora Wentin was born in the town of Arlo.")
    eats = Example("What does Nora Wentin eat?", " Nora Wentin will eat grapes and figs there.")
    moved = Example("Did Nora Wentin move?", " Nora Wentin moved to Rome.")
    assert subjects([born, moved]) == [(), None]
    for seed in range(30):
        *shown, short, other = mislabelled(
            [born, eats, *minerals(2)], [born, eats, *minerals(4)], seed
        )
        for before, after in zip([born, eats], shown, strict=True):  # Both are about the same.
            assert after.answer != before.answer
            assert sorted(after.answer.split()) == sorted(before.answer.split())
        assert short.answer in (" colour1", " colour2", " colour3")
        assert other.answer in (" colour0", " colour2", " colour3")
        (after,) = mislabelled([moved], [born, moved], seed)
        assert sorted(after.answer.split()) == sorted(born.answer.split())
        assert after.answer != born.answer


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
