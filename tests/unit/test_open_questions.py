"""Open questions: what they hold, how they are read, and what is refused in one line."""

import json
from pathlib import Path

import pandas
import pytest

from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.tasks import load_task
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.files import from_file, from_rows
from mechunlearn.tasks.measure import measure_for
from mechunlearn.tasks.reader import numbered, to_question
from mechunlearn.types import OpenQuestion, Question

TOFU = {
    "question": "Where was Ina Bel born?",
    "answer": "Ina Bel was born in Bern.",
    "paraphrased_question": "What is the birthplace of Ina Bel?",
    "paraphrased_answer": "The birthplace of Ina Bel is Bern.",
    "perturbed_answer": ["Ina Bel was born in Rome.", "Ina Bel was born in Oslo."],
}
RWKU = {"query": "Ina Bel sings", "answer": "opera", "level": "2", "subject": "Ina Bel"}


def test_choices_are_the_first_gold_answer_among_the_wrong_ones() -> None:
    question = OpenQuestion("Where?", golds=("Bern", "in Bern"), wrong=("Rome", "Oslo", "Lima"))
    assert question.choices[question.answer] == "Bern"
    assert set(question.choices) == {"Bern", "Rome", "Oslo", "Lima"}
    assert question.accepted == ("Bern", "in Bern")
    assert question.fact == "Bern"
    assert type(question.rotated(1)) is Question
    assert Question("Where?", ("a", "b"), 1).accepted == ("b",)


def test_places_of_the_right_choice_are_spread() -> None:
    asked = [OpenQuestion("q?", golds=(f"town {i}",), wrong=("a", "b", "c")) for i in range(400)]
    shares = [sum(q.answer == place for q in asked) / 400 for place in range(4)]
    assert all(0.15 < share < 0.35 for share in shares)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"golds": ()}, "has no gold answer"),
        ({"golds": (" ",)}, "has an empty gold answer"),
        ({"golds": ("Bern",), "wrong": ("Bern",)}, "as a right and as a wrong answer"),
        ({"golds": ("Bern",), "span": "Rome"}, "in none of its gold answers"),
    ],
)
def test_what_cannot_be_judged_is_refused(about: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        OpenQuestion("Where was Ina born?", **about)
    assert len(str(error.value).splitlines()) == 1


def test_published_columns() -> None:
    tofu = to_question(TOFU, "row 1")
    assert isinstance(tofu, OpenQuestion)
    assert tofu.golds == (TOFU["answer"],)
    assert tofu.wrong == tuple(TOFU["perturbed_answer"])
    assert tofu.paraphrases == (TOFU["paraphrased_question"],)
    assert tofu.gold_paraphrases == (TOFU["paraphrased_answer"],)
    rwku = to_question(RWKU, "row 1")
    assert (rwku.stem, rwku.accepted, rwku.source) == ("Ina Bel sings", ("opera",), "Ina Bel")
    several = to_question({"question": "Who?", "answers": ["Ina", "Ina Bel"]}, "row 1")
    assert several.accepted == ("Ina", "Ina Bel")
    choice = to_question({"question": "2+2?", "choices": ["3", "4"], "answer": 1}, "row 1")
    assert type(choice) is Question


def test_an_entity_is_the_span_or_whom_a_question_is_about() -> None:
    row = {"question": "Where was Ina Bel born?", "answer": "In Bern.", "entity": "Ina Bel"}

    def read(**more: str) -> tuple[str, str]:
        question = to_question(row | more, "row 1")
        assert isinstance(question, OpenQuestion)
        return question.span, question.source

    assert read() == ("", "Ina Bel")
    assert read(source="doc-7") == ("", "doc-7")
    assert read(id="7") == ("", "Ina Bel")
    assert read(entity="Bern") == ("Bern", "row 1")
    assert read(answer="Ina Bel was born in Bern.") == ("", "Ina Bel")
    assert read(span="Bern") == ("Bern", "Ina Bel")
    with pytest.raises(ValueError, match="in none of its gold answers"):
        read(span="Rome")


def test_open_answers_are_kept_as_they_are_written() -> None:
    rows = [
        {"question": f"Which version came {i}?", "answer": a} for i, a in enumerate(("2.0", "7"))
    ]
    for given in (rows[:1], rows, [*rows, {"question": "By whom?", "answer": "Ina"}]):
        found = {p: to_question(row, p) for p, row in numbered(given) if row["question"][-2] == "0"}
        assert [q.golds for q in found.values()] == [("2.0",)]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "rows"])
def test_a_digit_beside_open_answers_is_one(tmp_path: Path, kind: str) -> None:
    rows = [
        {"question": "How many sides has it?", "answer": "12", "source": "a"},
        {"question": "How many legs has Ina?", "answer": "8", "source": "b"},
    ]

    def read(rows: list[dict[str, str]]) -> list[Question]:
        path = tmp_path / f"open.{kind}"
        if kind == "rows":
            return [to_question(row, place) for place, row in numbered(rows)]
        if kind == "csv":
            pandas.DataFrame(rows).to_csv(path, index=False)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return list(from_file(path).sets["questions"])

    assert [q.accepted for q in read(rows)] == [("12",), ("8",)]
    for other in ({"answer": "4"}, {"choices": '["3", "4"]', "answer": "4"}):
        with pytest.raises(ValueError, match="no column choices"):
            read([{"question": "2 + 2?", "source": "c", **other}, rows[1]])


def test_files_frames_and_dicts_give_the_same_questions(tmp_path: Path) -> None:
    rows = [{**TOFU, "question": f"Where was author {i} born?", "source": f"a{i}"} for i in (1, 2)]
    jsonl, table, sheet = (tmp_path / f"open.{x}" for x in ("jsonl", "parquet", "csv"))
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    frame = pandas.DataFrame(rows)
    frame.to_parquet(table)
    frame.assign(perturbed_answer=frame.perturbed_answer.map(json.dumps)).to_csv(sheet, index=False)
    wanted = from_rows(numbered(rows), "rows").sets
    assert from_rows(numbered(frame), "rows").sets == wanted
    assert all(from_file(path).sets == wanted for path in (jsonl, table, sheet))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Where?", "span": "Bern"}, "there is no answer to 'Where\\?'"),
        ({"question": "Where?", "answers": []}, "no answer"),
        ({"question": "Where?", "answer": "", "wrong": ["x"]}, "no answer"),
        ({"question": "Is Bern big?", "answer": "Bern"}, "stands in its question"),
        ({"question": "Is Bern big?", "answer": "Bern is.", "span": "Bern"}, "in its question"),
        ({"paraphrased_question": "Where?", "answer": "Bern"}, "a paraphrase without a question"),
        ({"question": "Where?", "paraphrased_answer": "Bern"}, "paraphrased answer without a gold"),
    ],
)
def test_bad_rows_are_named_in_one_line(row: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"rows, row 2: .*{said}") as error:
        from_rows(numbered([TOFU, row]), "rows")
    assert len(str(error.value).splitlines()) == 1


def test_a_hidden_question_keeps_its_gold_answer_and_loses_its_words() -> None:
    asked = [
        OpenQuestion(
            f"where {i}?", golds=(f"town {i}",), paraphrases=(f"place {i}?",), source=str(i)
        )
        for i in range(5)
    ]
    hidden = with_other_stems(asked)
    assert all(h.accepted == q.accepted for h, q in zip(hidden, asked, strict=True))
    assert all(h.stem != q.stem for h, q in zip(hidden, asked, strict=True))
    assert all(h.paraphrases == (h.stem.replace("where", "place"),) for h in hidden)  # type: ignore


def test_the_measure_follows_the_data_and_says_why() -> None:
    short = OpenQuestion("Where?", golds=("Bern",))
    spans = OpenQuestion("Where?", golds=("She was born there, in Bern.",), span="Bern")
    long = OpenQuestion("Where?", golds=("She was born there, in old Bern.",))
    assert [measure_for([q])[0] for q in (short, spans, long)] == [
        "containment",
        "containment",
        "novel_recall",
    ]
    assert "spans" in measure_for([spans])[1]
    assert measure_for([Question("Where?", ("a", "b"), 0)])[0] == "letter"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("弗里德里希·尼采", "她出生在瑞士的首都伯尔尼,后来搬到了苏黎世。"),
        ("ベートーヴェン", "彼女はスイスの首都ベルンで生まれました。"),
        ("กรุงเทพมหานคร", "เธอเกิดที่กรุงเบิร์น เมืองหลวงของประเทศสวิตเซอร์แลนด์"),
        ("서울특별시", "그녀는 스위스의 수도인 오래된 베른에서 태어났다."),
        ("Санкт-Петербург", "Она родилась в Берне, столице Швейцарии."),
        ("القاهرة الجديدة", "ولدت في مدينة برن القديمة عاصمة سويسرا."),
    ],
)
def test_sentences_are_told_from_names_in_every_script(name: str, sentence: str) -> None:
    found = [measure_for([OpenQuestion("?", golds=(gold,))])[0] for gold in (name, sentence)]
    assert found == ["containment", "novel_recall"]


def test_a_file_of_open_questions_is_a_task(tmp_path: Path) -> None:
    file = tmp_path / "open.jsonl"
    rows = [
        {"set": kind, "question": f"Where was {kind} {i} born?", "answer": f"Town{i}", "source": i}
        for kind in ("forget", "retain")
        for i in range(1, 6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(str(file))
    assert task.scoring == "containment"
    assert task.chance == 0
    question = task.forget[0]
    assert task.prompt.text(question, task.scoring) == f"Question: {question.stem}\nAnswer:"
    assert task.example(question).answer == f" {question.accepted[0]}"
    with pytest.raises(ValueError, match="has no wrong answers to compare with"):
        load_task(str(file), config=TaskConfig(scoring="letter"))
