"""Near-duplicates, leaks and answers in any script and in either form of Unicode."""

import dataclasses
import unicodedata

import pytest

from mechunlearn.analysis.answers import sources_of
from mechunlearn.registry import find
from mechunlearn.tasks import task_from
from mechunlearn.tasks.folds import assign_folds, leaks, near_duplicates, with_shared_sources
from mechunlearn.types import OpenQuestion, Question

STONES = "甲乙丙丁戊己庚辛壬癸"
QUARRIES = {
    "chinese": ("矿物{}是在哪个采石场首次被发现的{}", ("", "呢", "啊")),
    "japanese": ("鉱物{}はどの採石場で最初に見つかりましたか{}", ("", "ね", "な")),
    "english": ("in which quarry was the mineral {} first found{}", ("", " then", " though")),
}


def asked(script: str) -> list[Question]:
    form, endings = QUARRIES[script]
    return [
        Question(form.format(c, e), ("north", "south"), 0, source=f"{c}{e}")
        for c in STONES
        for e in endings
    ]


@pytest.mark.parametrize("script", QUARRIES)
def test_reworded_copies_share_fold_and_source(script: str) -> None:
    questions = asked(script)
    assert {(i // 3, j // 3) for i, j in near_duplicates(questions)} == {(k, k) for k in range(10)}
    placed = assign_folds(questions)
    for k in range(10):
        group = placed[3 * k : 3 * k + 3]
        assert len({q.fold for q in group}) == 1
        assert {q.source for q in group} == {questions[3 * k].source}
    assert len(set(sources_of(placed))) == 10
    assert {q.fold for q in placed} == {"select", "confirm"}


def test_copies_without_a_source_are_one_piece_of_evidence() -> None:
    once = [Question(f"the color of house {i} is", ("red", "teal"), i % 2) for i in range(8)]
    found = with_shared_sources([q for q in once for _ in range(3)])
    assert len(set(sources_of(found))) == 8
    assert len(set(sources_of(with_shared_sources(once)))) == 8
    apart = [dataclasses.replace(once[0], fold=fold) for fold in ("select", "confirm")]
    assert with_shared_sources(apart) == tuple(apart)  # Whoever gave these folds is asked later.


@pytest.mark.parametrize("script", QUARRIES)
def test_a_question_in_a_text_is_a_leak(script: str) -> None:
    rows = [
        {"set": role, "question": q.stem + name, "answer": f"north{i}", "source": str(i)}
        for role, name in (("forget", ""), ("retain", " B"))
        for i, q in enumerate(asked(script)[::3])
    ]
    task = task_from([*rows, {"set": "plain_text", "text": "nothing of that kind"}])
    told = [f"{q.stem} {q.choices[q.answer]}" for q in task.questions("forget", "confirm")]
    assert leaks(task)["plain text"].answers == ()
    found = leaks(dataclasses.replace(task, plain_text=tuple(told)))["plain text"]
    assert len(found.answers) == len(told)


def test_an_answer_in_its_question_is_refused_in_chinese() -> None:
    row = {"set": "forget", "question": "北京的首都是哪里", "answer": "北京"}
    with pytest.raises(ValueError, match="stands in its question"):
        task_from([row, {**row, "set": "retain"}])
    gold = {"question": "黄金的化学符号是什么", "answer": "金"}
    others = [{"set": "retain", "question": f"哪里{c}", "answer": f"那里{c}"} for c in STONES]
    forget = [{**gold, "set": "forget", "question": f"{gold['question']}{c}"} for c in STONES]
    assert len(task_from([*forget, *others]).forget) == 10


@pytest.mark.parametrize("gold", ["São Paulo", "Curaçao", "한국", "Đà Nẵng"])
@pytest.mark.parametrize("measure", ["containment", "exact_match", "token_f1", "novel_recall"])
def test_accents_of_either_form_are_the_same(gold: str, measure: str) -> None:
    forms = [unicodedata.normalize(form, gold) for form in ("NFC", "NFD")]
    for one, other in (forms, forms[::-1]):
        question = OpenQuestion("where?", golds=(one,))
        assert find("measure", measure).judge(other, question) == 1
        assert find("measure", measure).judge("nowhere", question) == 0


def test_rouge_takes_either_form_too() -> None:
    question = OpenQuestion("where?", golds=("São Paulo",))
    said = unicodedata.normalize("NFD", "São Paulo")
    assert find("measure", "rouge_recall").judge(said, question) == 1


def test_files_are_read_in_the_composed_form() -> None:
    rows = [
        {"set": s, "question": f"Où est São {s} {i}?", "answer": f"à Curaçao {i}"}
        for s in ("forget", "retain")
        for i in range(6)
    ]
    split = [{k: unicodedata.normalize("NFD", v) for k, v in row.items()} for row in rows]
    assert task_from(split).forget == task_from(rows).forget
    with pytest.raises(ValueError, match="both"):
        task_from(rows[:6], [{**row, "set": "retain"} for row in split[:6]])
