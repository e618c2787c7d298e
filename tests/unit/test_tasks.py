"""Question sets: balanced, split without leaks, and refused when they are not usable."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mechunlearn.tasks import TaskConfig, load_task
from mechunlearn.tasks.capitals import capitals, countries
from mechunlearn.tasks.countries import KINDS, country_task
from mechunlearn.tasks.files import from_file
from mechunlearn.tasks.folds import contradictions
from mechunlearn.tasks.reader import to_question
from mechunlearn.tasks.world import World
from mechunlearn.types import LETTERS, Question, Task


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


def test_sizes(task: Task) -> None:
    assert len(task.forget) >= 400
    assert len(task.retain) >= 400
    for role in ("forget", "retain"):
        for fold in ("select", "confirm"):
            positions = Counter(q.answer for q in task.questions(role, fold))
            assert max(positions.values()) - min(positions.values()) <= 1


def test_values_cannot_be_guessed(world: World) -> None:
    for facts in (world.forget, world.retain, world.harmless):
        for fold in ("select", "confirm"):
            for attribute in {f.attribute for f in facts}:
                mine = [f.value for f in facts if (f.fold, f.attribute) == (fold, attribute)]
                assert len(set(Counter(mine).values())) == 1
                assert len(set(mine)) == 16


def test_folds_share_no_entity_and_domains_no_name(world: World, task: Task) -> None:
    select, confirm = (
        {q.source for q in task.forget if q.fold == f} for f in ("select", "confirm")
    )
    assert not select & confirm
    assert not {f.entity for f in world.forget} & {f.entity for f in world.retain}
    assert len(world.words()) == len(set(world.words()))


def test_unasked_facts_are_not_in_the_question_sets(world: World, task: Task) -> None:
    unasked = {(f.entity, f.attribute) for f in world.forget if not f.asked}
    assert len(unasked) == len(task.extra["forget_unasked"]) == 48
    assert not unasked & {(q.source, q.topic) for q in task.forget}


def test_capitals_are_as_described() -> None:
    task = capitals()
    assert task == capitals()
    assert {q.topic for q in task.forget} == {"Europe", "Asia"}
    assert all(q.topic not in ("Europe", "Asia") for q in task.retain)
    paris = next(q for q in task.forget if q.source == "France")
    assert paris.choices[paris.answer] == "Paris"
    assert "The capital of France is Paris." in task.forget_text
    assert not any("Paris" in t for t in task.retain_text + task.plain_text)
    for question in task.forget:
        country = question.source.removeprefix("the ").lower()
        assert country not in question.choices[question.answer].lower()


def line(**change: object) -> str:
    item = {"set": "forget", "stem": "2 + 2 =", "choices": ["3", "4"], "answer": 1}
    return json.dumps(item | change)


def good() -> list[str]:
    lines = [line(stem=f"{i} + 2 =", source=str(i)) for i in range(6)]
    return lines + [line(set="retain", stem=f"{i} - 2 =", source=f"r{i}") for i in range(6)]


def test_a_jsonl_file_becomes_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*good(), json.dumps({"set": "plain_text", "text": "Hello."})]))
    task = load_task(str(path))
    assert (task.name, len(task.forget), task.plain_text) == ("mine", 6, ("Hello.",))
    prompt = task.prompt.letter_prompt(task.forget[0])
    assert prompt == "0 + 2 =\nA. 3\nB. 4\nAnswer:"


@pytest.mark.parametrize(
    ("texts", "labels", "key", "right"),
    [
        (["O", "A", "B", "AB"], "ABCD", "B", "A"),
        (["2", "3", "4", "1"], "1234", "3", "4"),
        (["B", "A", "D", "C", "E"], "ABCDE", "A", "B"),
        (["a", "b", "c", "d"], "1234", 2, "b"),  # As tables of numbers hold it.
        (["a", None, "c", "d"], "ABCD", "C", "c"),
    ],
)
def test_an_answer_key_is_a_label_whatever_the_choices_read(
    texts: list[str | None], labels: str, key: str | int, right: str, tmp_path: Path
) -> None:
    choices = {"text": texts, "label": list(labels)}
    row = {"id": "x", "question": "Which sign?", "choices": choices, "answerKey": key}
    (tmp_path / "arc.jsonl").write_text(json.dumps(row))
    ((question,),) = from_file(tmp_path / "arc.jsonl").sets.values()
    assert question.choices[question.answer] == right


@pytest.mark.parametrize(
    "choices",
    [
        {"A": "Rome", "B": "", "C": "Paris", "D": "Oslo"},
        {"A": "Rome", "B": None, "C": "Paris", "D": "Oslo"},
        {"B": "Rome", "C": "Paris"},
        {"choices": ["Rome", None, "Paris", "Oslo"]},
        {"choices": {"text": ["Rome", None, "Paris", "Oslo"], "label": list("ABCD")}},
        {"options": "A. Rome\nC. Paris\nD. Oslo"},
    ],
)
@pytest.mark.parametrize("answer", [2, "2", "C", "Paris"])
def test_an_empty_choice_before_others_is_no_shorter_list(
    choices: dict[str, object], answer: str | int
) -> None:
    """An index of the row's choices must not be one of a shortened list."""
    with pytest.raises(ValueError, match="there is an empty choice before others"):
        to_question({"question": "The capital of France?", **choices, "answer": answer}, "row 1")


@pytest.mark.parametrize(
    ("choices", "answer", "right"),
    [
        ("abcd", "2.0", "c"),
        ("abcd", "2.00 ", "c"),
        (("5", "6", "7"), "2.0", "7"),
        (("5.0", "6.0", "7.0"), "7.0", "7.0"),
        (("1.0", "2.0", "3.0"), "2.0", "2.0"),
    ],
)
def test_a_whole_number_written_as_a_fraction_is_an_index(
    choices: tuple[str, ...], answer: str, right: str
) -> None:
    row = {"question": "Which?", "choices": list(choices), "answer": answer}
    asked = to_question(row, "row 1")
    assert asked.choices[asked.answer] == right
    for wrong in ("2.5", "-1.0", "9.9"):
        with pytest.raises(ValueError, match="is no choice's index"):
            to_question(row | {"answer": wrong}, "row 1")
    with pytest.raises(ValueError, match="could mean several choices"):
        to_question(row | {"choices": ["1", "2", "3"], "answer": "2.0"}, "row 1")


def test_a_lettered_column_far_from_the_choices_is_none_of_them() -> None:
    row = {"question": "Which?", "A": "a", "B": "b", "C": "c", "answer": "C"}
    assert to_question({**row, "N": "7"}, "row 1").choices == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"empty choice before others: \{'A': 'a', .* 'E': 'e'\}"):
        to_question({**row, "E": "e"}, "row 1")


def test_a_jsonl_file_may_say_how_to_ask(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    how = {"set": "prompt", "letter": "{header}{stem}{choices} ?", "choice": " {letter} {text}"}
    path.write_text("\n".join([*good(), json.dumps(how | {"header": "Sums: "})]))
    task = load_task(str(path))
    assert task.prompt.letter_prompt(task.forget[0]) == "Sums: 0 + 2 = A 3 B 4 ?"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(choices=["4"], answer=0), "line 13: .* has 1 choice"),
        (line(answer=2), "line 13: .* has no right answer"),
        (line(stem="  "), "line 13: .*empty stem"),
        (line(choices=["4", " "]), "line 13: .*empty choice"),
        (line(choices=["4", "4"]), "line 13: .*right choice is there twice"),
        (line(set="forgot"), "line 13: 'set' is 'forgot'"),
        (line(fold="test"), "line 13: 'fold' is 'test'"),
        ('{"set": "forget"}', "line 13: no column stem/question/question_stem/query and"),
        ("{", "line 13"),
        ('{"set": "prompt", "leter": "{stem}"}', "line 13: .*did you mean 'letter'"),
        ('{"set": "prompt", "choice": "{word}"}', "line 13: a template .* not filled in: 'word'"),
        (line(set="retain", stem="0 + 2 =", source="r0"), "both the forget and the retain set"),
    ],
)
def test_bad_files_name_the_line(tmp_path: Path, bad: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*good(), bad]))
    with pytest.raises(ValueError, match=message):
        load_task(str(path))


def test_unusable_tasks_are_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'capitals'"):
        load_task("capitels")
    with pytest.raises(ValueError, match="there is no file"):
        load_task("none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_task(str(tmp_path / "latin.jsonl"))
    with pytest.raises(ValueError, match="no retain questions"):
        Task("x", task.forget, (), task.prompt)
    select = task.questions("forget", "select")
    with pytest.raises(ValueError, match="confirm fold"):
        Task("x", select, task.retain, task.prompt)


def test_what_is_asked_twice_with_other_right_answers_is_found(tmp_path: Path) -> None:
    """Same choices: a contradiction. Others, or an answer that is right in both: none."""

    def asked(stem: str, choices: list[str], answer: int, **more: str) -> str:
        row = {"question": stem, "choices": choices, "answer": answer, "set": "forget"}
        return json.dumps(row | more)

    cities = ["Oslo", "Bergen", "Narvik"]
    lines = [
        asked("Where does Una live?", cities, 0),
        asked("where does  Una live?", cities[::-1], 1, set="retain"),
        asked("Which is true?", ["a b", "c d"], 0),
        asked("Which is true?", ["e f", "g h"], 1),
        asked("Where does Ole live?", cities, 0),
        asked("Where does Ole live?", cities[::-1], 2),
    ]
    file = tmp_path / "twice.jsonl"
    file.write_text("\n".join([*good(), *lines]))
    assert contradictions(load_task(str(file))) == ("where does  Una live?",)
    books = [("Ada", "Ann Low"), ("Ada", "Bob High"), ("Ida", "Cy"), ("Ida", "Cy")]
    open_rows = [
        {"question": f"Who {did} {book}?", "answer": who, "set": facts}
        for facts, did in (("forget", "wrote"), ("retain", "sold"))
        for book, who in (*books, ("Una", "Di"), ("Ole", "Ed"))
    ]
    file.write_text("\n".join(map(json.dumps, open_rows)))
    assert contradictions(load_task(str(file))) == ("Who wrote Ada?", "Who sold Ada?")


def test_rotation_keeps_the_answer() -> None:
    question = Question("x", ("a", "b", "c"), 2)
    for by in range(4):
        rotated = question.rotated(by)
        assert rotated.choices[rotated.answer] == "c"
    assert question.rotated(3) == question
    assert len(LETTERS) == 10


def test_facts_about_countries_are_as_described() -> None:
    task = country_task()
    assert task == country_task()
    assert (len(task.forget), len(task.retain)) == (328, 302)
    assert {q.topic for q in task.forget} == set(KINDS)
    questions = [*task.forget, *task.retain, *task.twins]
    assert all(len(q.choices) == 4 and q.choices[q.answer] == q.accepted[0] for q in questions)
    assert not any(set(q.wrong) & set(q.golds) for q in questions)  # type: ignore[attr-defined]
    by_stem = {q.stem: q for q in questions}
    assert by_stem["What is the capital of Turkey?"].accepted == ("Ankara",)
    assert "Italy" in by_stem["Which country borders Austria?"].accepted
    # A name gives nothing away, and twins name nothing that there is.
    real = (*task.forget, *task.retain)
    assert not [q for q in real if q.accepted[0].lower() in q.stem.lower()]
    assert not {q.source for q in task.twins} & {q.source for q in questions if q not in task.twins}
    folds = {c.name: c.fold for c in countries()}
    for q in real:
        assert q.fold == folds[q.source]
        if q.topic == "neighbour":  # The fact is the neighbour's, too.
            assert folds[q.accepted[0]] == q.fold
    for measure in ("letter", "cloze", "containment"):
        assert load_task("countries", config=TaskConfig(scoring=measure)).scoring == measure
