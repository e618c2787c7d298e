"""The report's questions for the page: for its script, as tables without it, and by letters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mechunlearn.analysis.answers import texts_of
from mechunlearn.analysis.records import Questions, QuestionSet
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import name
from mechunlearn.records import Plain, plain
from mechunlearn.registry import find, names
from mechunlearn.types import LETTERS

TITLES = {
    "forget": "forget, confirm fold",
    "forget_select": "forget, select fold",
    "retain": "retain, confirm fold",
    "retain_select": "retain, select fold",
}
"""Question sets as the page calls them."""


def browser_data(report: Report) -> Plain:
    """What ``browser.js`` reads; empty where the report holds no questions.

    ``sets``, ``models``, ``attacked`` and ``control`` are those of ``Questions``, with the right
    answers as a string too; ``original`` is that model's label, ``plain`` the label of what each
    unlearned model is compared with.
    """
    questions = report.questions
    if questions is None:
        return {}
    return {
        "original": report.original.label,
        "plain": {m.label: m.control for m in report.unlearned},
        "sets": {
            key: {
                "title": TITLES.get(key, name(key)),
                "stem": asked.stem,
                "topic": asked.topic,
                "choices": asked.choices,
                "answer": "".join(map(str, asked.right)),
                "shown": asked.shown,
            }
            for key, asked in questions.sets.items()
        },
        "models": questions.models,
        "attacked": questions.attacked,
        "control": questions.control,
        "texts": plain(questions.texts),
        "margins": plain(questions.margins),
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """One question in a table."""

    stem: str
    choices: tuple[tuple[str, str], ...]
    """Letter and text."""
    right: str
    answers: tuple[str, ...]
    """A letter and whether it is right, in the order of the table's columns."""


@dataclass(frozen=True, slots=True)
class QuestionTable:
    """A question set with every answer to it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Asked, ...]


def tables(questions: Questions | None) -> Iterator[QuestionTable]:
    """Each question set as a table: columns of answers, and a row for every question."""
    if questions is None:
        return
    for key, asked in questions.sets.items():
        answers = _answers(questions, key)
        rows = tuple(_asked(asked, i, answers) for i in range(len(asked.stem)))
        yield QuestionTable(TITLES.get(key, name(key)), tuple(answers), rows)


Given: TypeAlias = tuple[str, Sequence[str]]
"""A character an answer, and the texts where there are some."""


def _answers(questions: Questions, key: str) -> Mapping[str, Given]:
    """Everything that was answered to a set, by the title of its column."""
    found: dict[str, Given] = {
        model: (sets[key], texts_of(questions, model, "", "baseline", key))
        for model, sets in questions.models.items()
    }
    for model, attacks in questions.attacked.items():
        for attack, sets in attacks.items():
            if key in sets:
                texts = texts_of(questions, model, attack, "attacked", key)
                found[f"{model}, {name(attack)}"] = sets[key], texts
    return found


def _asked(asked: QuestionSet, i: int, answers: Mapping[str, Given]) -> Asked:
    right = asked.right[i]
    return Asked(
        asked.stem[i],
        tuple(zip(LETTERS, asked.choices[i], strict=False)),
        LETTERS[right],
        tuple(_mark(given[i], str(right), texts[i : i + 1]) for given, texts in answers.values()),
    )


def _mark(answer: str, right: str, text: Sequence[str]) -> str:
    """An answer's letter or text and whether it is right; empty where nothing was asked."""
    if answer == ".":
        return ""
    letter = "tie" if answer == "-" else LETTERS[int(answer)]
    return f"{text[0] if text else letter} {'✓' if answer == right else '✗'}"


def letters(report: Report) -> dict[str, tuple[float, ...]]:
    """Share of each answer letter among what a model says to the forget questions (confirm fold).

    By label; exact ties are left out. Empty where answers are no letters.
    """
    scoring = report.runcard.task.scoring  # Perhaps a measure that only another process knew.
    if scoring not in names("measure") or not find("measure", scoring).one_token:
        return {}
    counts = {m.label: [sum(n) for n in zip(*m.letters, strict=True)] for m in report.models
              if m.letters}  # fmt: skip
    if not counts and report.questions is not None:
        most = max(map(len, report.questions.sets["forget"].choices))
        for label, sets in report.questions.models.items():
            counts[label] = [sets["forget"].count(mark) for mark in [*map(str, range(most)), "-"]]
    return {label: tuple(n / sum(each) for n in each[:-1]) for label, each in counts.items()}
