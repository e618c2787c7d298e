"""Hidden questions: the same choices after another question's stem."""

from collections import Counter

from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.registry import find
from mechunlearn.types import OpenQuestion, Question, Task


def test_every_question_has_another_stem_and_its_own_choices(task: Task) -> None:
    asked = task.questions("forget", "confirm")
    hidden = with_other_stems(asked)
    assert [(q.choices, q.answer, q.fold) for q in hidden] == [
        (q.choices, q.answer, q.fold) for q in asked
    ]
    assert Counter(q.stem for q in hidden) == Counter(q.stem for q in asked)
    assert Counter(q.statement for q in hidden) == Counter(q.statement for q in asked)
    assert hidden == with_other_stems(asked)
    assert hidden != with_other_stems(asked, seed=1)
    source = {q.stem: q.source for q in asked}
    assert all(source[h.stem] != q.source for h, q in zip(hidden, asked, strict=True))


def test_questions_without_sources_and_single_ones() -> None:
    many = [Question(f"what is {i}?", ("a", "b"), i % 2) for i in range(7)]
    assert all(h.stem != q.stem for h, q in zip(with_other_stems(many), many, strict=True))
    one_source = [Question(f"what is {i}?", ("a", "b"), 0, source="x") for i in range(5)]
    moved = with_other_stems(one_source)
    assert all(h.stem != q.stem for h, q in zip(moved, one_source, strict=True))
    assert with_other_stems(many[:1]) == tuple(many[:1])


def test_an_open_question_gets_the_stem_that_is_most_like_its_own() -> None:
    kinds = ("Where was {} born?", "Which prize did {} win in the end?")
    asked = [
        OpenQuestion(kind.format(name), golds=(f"{name} has number {i}",), source=name)
        for name in ("Ina", "Ole", "Uta", "Kai")
        for i, kind in enumerate(kinds)
    ]
    hidden = with_other_stems(asked)
    source = {q.stem: q.source for q in asked}
    for own, other in zip(asked, hidden, strict=True):
        name = source[other.stem]  # The answer speaks of whom the question asks about.
        assert other.golds == (own.golds[0].replace(own.source, name),)  # type: ignore[attr-defined]
        assert source[other.stem] != own.source
        assert other.stem.split()[0] == own.stem.split()[0]
    assert Counter(q.stem for q in hidden) == Counter(q.stem for q in asked)
    alone = [OpenQuestion(f"What is {i}?", golds=("a",), source="x") for i in range(4)]
    moved = with_other_stems(alone)
    assert all(h.stem != q.stem for h, q in zip(moved, alone, strict=True))


def test_the_form_of_an_answer_is_worth_the_same_hidden_or_not() -> None:
    """Right in form and wrong in fact: what a model says that never knew."""
    people = (("Ina", "Bo", "Chur"), ("Ole", "Kell", "Zug"), ("Uta", "Fry", "Thun"))
    asked = [
        OpenQuestion(
            f"Can you tell me the birthplace of {name} {family}?",
            golds=(f"{name} {family} was born in {town}.",),
            source=name,
        )
        for name, family, town in people
    ]
    hidden = with_other_stems(asked)
    for measure in ("novel_recall", "rouge_recall", "token_f1"):
        judge = find("measure", measure).judge
        for own, other in zip(asked, hidden, strict=True):
            name = " ".join(own.stem.rstrip("?").split()[-2:])
            donor = " ".join(other.stem.rstrip("?").split()[-2:])
            guessed = judge(f"{name} was born in Bern.", own)
            assert judge(f"{donor} was born in Bern.", other) == guessed < 1
