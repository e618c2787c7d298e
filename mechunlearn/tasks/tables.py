"""Rows of files, saved data sets and data frames, each with its place: the one reader of them."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mechunlearn.progress import console
from mechunlearn.tasks.open_reader import GOLDS, STEMS, Row, with_digits

Rows = Any
"""Iterable of rows; or a data frame, which has them by another call."""
LONGEST = 1_000_000
"""Characters of a row; the longest documents of corpora have less, and a question far less."""
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
CORPORA = ("forget_text", "retain_text", "plain_text")
SETS = ("forget", "retain", "twin", "shots", "prompt", *CORPORA)
"""What rows can be of."""
DIVIDED = ("forget", "retain")
"""Parts by which a file or a saved data set says which set its rows are of."""
KNOWN = frozenset({"set", "text", *STEMS, *GOLDS})
"""Columns by one of which the separator of a table is recognised."""


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL, JSON, CSV, TSV or Parquet file or of a saved data set.

    Returns:
        Each with its place.

    Raises:
        ValueError: Naming the file, and the line where there is one, of what cannot be read.
    """
    kind = path.suffix.lower()
    if path.is_dir():
        rows: Iterator[tuple[str, Row]] = _saved(path)
    elif not path.is_file():
        raise ValueError(f"there is no file {path}")
    elif kind == ".jsonl":
        rows = _jsonl(path)
    elif kind == ".json":
        rows = _json(path)
    elif kind in (".csv", ".tsv"):
        rows = _table(path, "\t,;" if kind == ".tsv" else ",;\t")
    elif kind == ".parquet":
        rows = _parquet(path)
    else:
        raise ValueError(f"{path} is none of {', '.join(SUFFIXES)}; convert it first")
    return with_digits(_of_a_length(path, rows))


def _of_a_length(path: Path, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
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
    found = ((p, {k: v for k, v in row.items() if v is not None}) for p, row in _cells(rows))
    return with_digits(found)


def _cells(
    rows: Iterable[Any], path: Path | None = None, part: str = ""
) -> Iterator[tuple[str, Row]]:
    """Rows of a table, each with its place, and its cells as JSON would have them.

    Args:
        path: Where they are from, for messages.
        part: Of what is there.
    """
    for number, row in enumerate(rows, start=1):
        place = f"{part}, row {number}" if part else f"row {number}"
        if not isinstance(row, Mapping):
            where = f"{path}, {place}" if path else place
            raise ValueError(f"{where} is {type(row).__name__}, not a row with named columns")
        yield place, {k: _plain(v) for k, v in row.items()}


def _plain(value: Any) -> Any:
    """A cell as JSON would have it; a frame's empty cell is ``None``."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and value != value else value


def _divided(parts: Mapping[str, Iterable[Any]], path: Path) -> Iterator[tuple[str, Row]]:
    """Rows of parts whose names say which set they are of; others are left out, which is said."""
    if others := [name for name in parts if name not in SETS]:
        console.print(f"[dim]{path}: {', '.join(others)} left out[/dim]", markup=True)
    for name in (name for name in parts if name in SETS):
        texts = name in CORPORA
        rows = ({"text": x} if texts and isinstance(x, str) else x for x in parts[name])
        for place, row in _cells(rows, path, name):
            if row.get("set") not in (None, "", name):
                raise ValueError(f"{path}, {place} says that its set is {row['set']!r}; mend one")
            yield place, {**row, "set": name}


def _sets_in(parts: Mapping[str, Any]) -> list[str]:
    """Those of both sets that are there, as lists of rows."""
    there = [name for name in DIVIDED if isinstance(parts.get(name), Iterable)]
    return [name for name in there if not isinstance(parts[name], str)]


def _text(data: bytes, path: Path, line: int = 0) -> str:
    """UTF-8 text.

    Args:
        line: Of the file, from 1 on; 0: it is all of it.
    """
    if line < 2 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16 text; convert it to UTF-8 first")
    try:
        return data.decode("utf-8-sig" if line < 2 else "utf-8")
    except UnicodeDecodeError as err:
        where = f"{path}, line {line}" if line else path
        raise ValueError(
            f"{where} is not UTF-8 text ({err.reason} at byte {err.start}); convert the file to "
            "UTF-8 first"
        ) from err


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(4 * LONGEST):  # No character of UTF-8 has more bytes.
            number += 1
            text = _text(line, path, number)
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


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    """A list of rows, or such lists by their sets; or one row a line, as some call JSONL too."""
    try:
        found = json.loads(_text(path.read_bytes(), path))
    except (json.JSONDecodeError, RecursionError) as err:
        if str(err).startswith("Extra data"):
            return _jsonl(path)
        raise ValueError(f"{path} is no JSON: {err}") from err
    if isinstance(found, list):
        return _cells(found, path)
    if isinstance(found, dict) and _sets_in(found):
        return _divided(found, path)
    raise ValueError(
        f"{path} is no list of rows [{{...}}, ...], and no object with such lists by their set, "
        '{"forget": [...], "retain": [...]}'
    )


def _table(path: Path, separators: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """A table with a line for each row, and the names of its columns in the first.

    Args:
        separators: Of cells; the first by which a column has a name that is known here is taken,
            or else the first.
    """
    before = csv.field_size_limit(4 * LONGEST)
    lines = _lines(path)
    head = next(lines, "")
    named = (x for x in separators if KNOWN & {*next(csv.reader([head], delimiter=x), [])})
    reader = csv.DictReader(chain([head], lines), strict=True, delimiter=next(named, separators[0]))
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
    if not isinstance(data, DatasetDict):
        return _cells(data)
    if len(_sets_in(data)) == len(DIVIDED):
        return _divided(data, path)
    if "test" not in data and len(data) != 1:
        raise ValueError(
            f"{path} has the splits {', '.join(data)}; name the folder of one, and that of the "
            f"questions to keep with --set task.retain=FOLDER, or call them {' and '.join(DIVIDED)}"
        )
    return _cells(data["test"] if "test" in data else next(iter(data.values())))
