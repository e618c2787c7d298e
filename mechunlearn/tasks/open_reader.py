"""Rows that ask open questions: their columns, in our own names and those of published sets."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mechunlearn.tasks.words import characters
from mechunlearn.types import LETTERS, OpenQuestion

Row = Mapping[str, Any]
STEMS = ("stem", "question", "question_stem", "query")
CHOICES = ("choices", "options")
GOLDS = ("answers", "golds", "answer")
WRONG = ("wrong", "perturbed_answer")
PARAPHRASES = ("paraphrases", "paraphrased_question")
GOLD_PARAPHRASES = ("gold_paraphrases", "paraphrased_answer")
SPANS = ("span", "entity")
SOURCES = ("source", "author", "document", "subject")
"""Columns of open questions: our own names, then those of TOFU, MUSE and RWKU."""


def first(row: Row, names: Sequence[str]) -> Any:
    """The value of the first of some columns that is there."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def named(row: Row, names: Sequence[str], default: str = "") -> str:
    """The first of some columns that holds something, as text; 0 is something."""
    values = (as_text(row[name]) for name in names if row.get(name) is not None)
    return next((value for value in values if value), default)


def as_text(value: Any) -> str:
    """A cell as a text; a whole number that a column with gaps made fractional is whole again."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def filled(values: Sequence[Any]) -> list[str]:
    """The items of a list that are not empty: tables pad short lists."""
    return [as_text(x) for x in values if x is not None and x == x]


def is_open(row: Row) -> bool:
    """Whether answers are texts, with no choices beside them."""
    if _has_choices(row):
        return False
    columns = (*GOLDS[:-1], *WRONG, *PARAPHRASES, *GOLD_PARAPHRASES, *SPANS, "query")
    if any(row.get(name) is not None for name in columns):
        return True
    answer = row.get("answer")
    if answer is None or isinstance(answer, bool):
        return False
    return not _is_digit(answer)


def _has_choices(row: Row) -> bool:
    lettered = any(row.get(x) not in (None, "") for x in LETTERS)
    return lettered or first(row, CHOICES) not in (None, "")


def _is_digit(answer: Any) -> bool:
    """Whether an answer looks like a choice's index."""
    return re.fullmatch(r"\d", as_text(answer).strip()) is not None


def with_digits(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    """Rows of one origin; where all are open questions, so are those that a digit answers.

    In all others it is taken for the index of a choice that is missing. Rows without a question
    are passed on.
    """
    kept = list(rows)
    asked = [row for _, row in kept if first(row, STEMS) is not None]
    unsure = not any(map(is_open, asked)) or any(map(_has_choices, asked))
    for place, row in kept:
        answer = row.get("answer")
        if unsure or answer is None or is_open(row) or not _is_digit(answer):
            yield place, row
        else:
            rest = {name: value for name, value in row.items() if name != "answer"}
            yield place, {**rest, "answers": [as_text(answer).strip()[0]]}


def open_question(row: Row, source: str) -> OpenQuestion:
    """A question that is answered in words.

    ``question``, ``answer`` or a list of ``answers``; optional: ``wrong``, ``paraphrases``,
    ``gold_paraphrases`` (texts or lists of them), ``span``, ``topic``, ``source``, ``statement``.
    An ``entity`` is the span where a gold answer has it and the question has not, else the source.
    TOFU's columns (``perturbed_answer``, ``paraphrased_question``, ``paraphrased_answer``), RWKU's
    (``query``, ``answer``, ``subject``) and MUSE's (``question``, ``answer``) do too; lists in CSV
    files are JSON.

    Args:
        source: The question's source where the row names none;
            ``author``, ``document`` or ``subject`` come before it.

    Raises:
        ValueError: If the question or the gold answer is missing or empty, or as ``OpenQuestion``.
    """
    stem, golds = first(row, STEMS), _texts(row, GOLDS)
    paraphrases, gold_paraphrases = _texts(row, PARAPHRASES), _texts(row, GOLD_PARAPHRASES)
    if stem is None or not str(stem).strip():
        what = "a paraphrase without a question" if paraphrases else "no question"
        raise ValueError(f"there is {what}; give the column question")
    if not golds:
        what = "a paraphrased answer without a gold answer" if gold_paraphrases else "no answer"
        raise ValueError(f"there is {what} to {str(stem)[:60]!r}; give the column answer")
    span, entity = named(row, ("span",)).strip(), named(row, ("entity",)).strip()
    about = _stands_in(entity, str(stem)) or not any(entity in gold for gold in golds)
    own = (*SOURCES, *(("entity",) if about else ()), "id")
    return OpenQuestion(
        str(stem).strip(),
        golds=golds,
        wrong=_texts(row, WRONG),
        paraphrases=paraphrases,
        gold_paraphrases=gold_paraphrases,
        span=span or ("" if about else entity),
        topic=named(row, ("topic", "subject")),
        source=named(row, own, source),
        statement=str(row.get("statement") or ""),
    )


def _stands_in(part: str, text: str) -> bool:
    """Whether some words stand in a text, as they do in a question about them."""
    return f" {' '.join(characters(part))} " in f" {' '.join(characters(text))} "


def _texts(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """The text or texts of the first of some columns that is there."""
    value = first(row, names)
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(json.JSONDecodeError):  # A text may begin with a bracket.
            value = json.loads(value)
    if value is None or value == "":
        return ()
    return tuple(x.strip() for x in filled(value if isinstance(value, list | tuple) else [value]))
