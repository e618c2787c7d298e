"""What generated texts are worth as answers, by every measure that judges them."""

import numpy as np
import pytest

from mechunlearn.bench.measures.truth_ratio import known, share, truth_ratio
from mechunlearn.bench.measures.words import normalised
from mechunlearn.errors import PrerequisiteError
from mechunlearn.registry import find
from mechunlearn.types import OpenQuestion, Question

BORN = OpenQuestion("Where was Ina born?", golds=("Ina was born in old Bern.",), span="Bern")
TWO = OpenQuestion("Which river?", golds=("the Aare", "the river Aar"))
WORTH = {
    "containment": {
        "It was BERN, I think": 1.0,
        "Bernard knows": 0.0,
        "Ina was born": 0.0,
        "": 0.0,
    },
    "novel_recall": {"in Bern": 0.5, "old Bern": 1.0, "Ina was born in Rome": 0.0},
    "rouge_recall": {"Ina was born in old Bern.": 1.0, "Ina was born in Rome": 4 / 6, "": 0.0},
    "rouge_f1": {"Ina was born in old Bern.": 1.0, "Bern": 2 / 7},
    "exact_match": {"ina was born in the old Bern": 1.0, "Ina was born in old Bern. Yes": 0.0},
    "token_f1": {"Bern": 2 / 7, "Rome": 0.0},
}


@pytest.mark.parametrize(
    ("measure", "said", "worth"), [(m, s, w) for m, own in WORTH.items() for s, w in own.items()]
)
def test_texts_are_worth_what_they_hold(measure: str, said: str, worth: float) -> None:
    assert find("measure", measure).judge(said, BORN) == pytest.approx(worth)


@pytest.mark.parametrize("measure", WORTH)
def test_one_of_several_gold_answers_is_enough(measure: str) -> None:
    assert find("measure", measure).judge("the river Aar", TWO) == 1.0
    assert find("measure", measure).judge("nothing of it", TWO) < 0.5


@pytest.mark.parametrize("measure", ["containment", "exact_match", "token_f1", "novel_recall"])
@pytest.mark.parametrize(
    "said",
    [
        "\u201cBern\u201d.",
        "\u00abBern\u00bb",
        "Bern\u2026",
        "\u00a1Bern!",
        "Bern \u2013",
        "Bern\u3002",
    ],
)
def test_typographic_punctuation_is_none_of_an_answer(measure: str, said: str) -> None:
    question = OpenQuestion("Where was Ina born?", golds=("Bern",))
    assert find("measure", measure).judge(said, question) == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bern\u2014the capital", "bern capital"),
        ("Bern\u2026yes", "bern yes"),
        ("co-op O'Neil O\u2019Neil, C++", "coop oneil oneil c"),
        ("1939\u20131945", "19391945"),
        ("The", "the"),
        ("A.", "a"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_normalised_words(text: str, words: str) -> None:
    assert normalised(text) == words


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("\u4f2f\u5c14\u5c3c", "\u5979\u51fa\u751f\u5728\u4f2f\u5c14\u5c3c\u3002", "\u4f2f\u5c14"),
        ("15\u5e74", "\u572815 \u5e74\u3002", "2015\u5e74"),
        ("\u30b9\u30a4\u30b9", "\u30b9\u30a4\u30b9\u3067\u3059", "\u30b9\u30a4"),
        ("\ubca0\ub978", "\ubca0\ub978\uc5d0\uc11c", "\ubca0\ub97c"),
        (
            "\u0e40\u0e1a\u0e34\u0e23\u0e4c\u0e19",
            "\u0e17\u0e35\u0e48\u0e40\u0e1a\u0e34\u0e23\u0e4c\u0e19",
            "\u0e40\u0e1a",
        ),
    ],
)
def test_scripts_without_spaces_are_searched_anywhere(gold: str, right: str, wrong: str) -> None:
    question = OpenQuestion("Which one?", golds=(gold,))
    contained, recall = (find("measure", m).judge for m in ("containment", "novel_recall"))
    assert contained(right, question) == recall(right, question) == 1.0
    assert contained(wrong, question) == 0.0
    assert recall(wrong, question) < 1.0


@pytest.mark.parametrize("measure", ["containment", "exact_match", "token_f1", "novel_recall"])
@pytest.mark.parametrize("gold", ["A", "The The", "+"])
def test_an_answer_of_articles_or_symbols_can_be_right(measure: str, gold: str) -> None:
    question = OpenQuestion("Which one?", golds=(gold,))
    assert find("measure", measure).judge(f" {gold}", question) == 1.0
    assert find("measure", measure).judge("Bern", question) == 0.0


def test_stems_are_tofus_and_not_muses() -> None:
    question = OpenQuestion("What does she do?", golds=("baking cakes",))
    assert find("measure", "rouge_recall").judge("bakes a cake", question) == 1.0
    assert find("measure", "rouge_f1").judge("bakes a cake", question) == 0.0


def test_words_of_the_question_are_not_new() -> None:
    question = OpenQuestion("Was Ina a baker?", golds=("Ina was a baker",))
    assert find("measure", "novel_recall").judge("Ina was a baker", question) == 1.0
    assert find("measure", "novel_recall").judge("Ina", question) == 0.25


def test_a_question_with_choices_has_its_right_one_as_gold_answer() -> None:
    asked = Question("The capital of France is", ("Rome", "Paris"), 1)
    assert find("measure", "containment").judge("It is Paris.", asked) == 1.0
    assert find("measure", "containment").judge("It is Rome.", asked) == 0.0


def test_truth_ratio_has_named_forms() -> None:
    ratio = truth_ratio(2.228723, [3.355818, 3.690197, 3.719408, 4.432242, 2.973668])
    assert ratio == pytest.approx(0.2452337, abs=1e-5)
    assert known(np.array([ratio, 3.0])) == pytest.approx([1 - ratio, 0.0])
    assert share(np.array([1.0, 3.0])) == pytest.approx([0.5, 0.25])


def test_entailment_needs_its_model_only_where_words_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    from mechunlearn.bench.measures import entailment

    asked: list[tuple[str, str]] = []

    def entails(premises: list[str], hypotheses: list[str]) -> list[bool]:
        asked.extend(zip(premises, hypotheses, strict=True))
        return ["Bern" in premise for premise in premises]

    monkeypatch.setattr(entailment, "entails", entails)
    said = ["She was born in Bern", "She was born in Rome", "no idea"]
    assert find("measure", "entailment").judged(said, [BORN] * 3) == [1.0, 0.0, 0.0]
    assert asked == [(text, BORN.golds[0]) for text in said[:2]]


def test_entailment_without_its_model_says_what_to_install() -> None:
    with pytest.raises(PrerequisiteError, match=r"mechunlearn\[entailment\]"):
        find("measure", "entailment").judge("She was born in Bern", BORN)
