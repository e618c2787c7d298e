"""Hidden questions: the same choices after another question's stem."""

from collections import Counter

from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.types import Question, Task


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
