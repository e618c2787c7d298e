"""What a task's questions are about, by the words that only they share."""

from mechunlearn.tasks import load_task
from mechunlearn.tasks.entities import names_of, wordings_of
from mechunlearn.types import Question


def about(stem: str, source: str, statement: str = "") -> Question:
    return Question(stem, ("a", "b"), 0, source=source, statement=statement)


PEOPLE = (
    "Ann Lee",
    "Ann Ray",
    "Jean-Luc O'Hara",
    "Bo Ray",
    "Di Fox",
    "Al Orr",
    "Cy Fox",
    "Eve Poe",
)


def test_names_are_what_a_source_and_nobody_else_has() -> None:
    questions = [
        about(stem.format(name), source=f"person {i}")
        for i, name in enumerate(PEOPLE)
        for stem in ("Where was {} born?", "What does {} of Rome play?", "Whom did {} marry?")
    ]
    names = names_of(questions)
    assert names == {f"person {i}": name for i, name in enumerate(PEOPLE)}
    assert wordings_of(questions, names) == 3


def test_without_a_shared_name_there_is_none() -> None:
    single = [about(f"Where is {x}?", x) for x in ("Oslo", "Rome", "Bern", "Riga", "Kyiv")]
    assert names_of(single) == {}
    nowhere = [about(s, x) for x in ("p1", "p2") for s in (f"What of {x}a?", f"What of {x}b?")]
    assert names_of(nowhere) == {}
    assert names_of([about("Where is Oslo?", ""), about("What is Oslo?", "")]) == {}
    stem_only = [
        about(f"{w} is {x}?", x, statement=f"{w} is") for x in "KLMNO" for w in ("Where", "Who")
    ]
    assert names_of(stem_only) == {}


def test_the_worlds_entities_are_found() -> None:
    facts = load_task("facts").questions("forget", "confirm")
    assert names_of(facts) == {q.source: q.source for q in facts}
    chat = load_task("chat").questions("forget", "confirm")
    names = names_of(chat)
    assert set(names) == {q.source for q in chat}
    assert all(names[q.source] in q.stem and " " in names[q.source] for q in chat)
