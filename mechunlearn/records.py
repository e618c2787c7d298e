"""Records: everything that goes to disk is one of these, and nobody else spells a key.

msgspec reads and writes them. An unknown key, a missing one or a value of a wrong type is an error
that names the place: ``$.rows[0].n``.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec

Plain: TypeAlias = Any
"""Data as JSON has it; read it with ``typed`` as what it is."""
Interval: TypeAlias = tuple[float, float]
"""Lower and upper end, 95 % unless said otherwise."""

R = TypeVar("R")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen record; unknown keys and wrong types are refused when it is read."""


def plain(value: Any) -> Plain:
    """A record or dataclass as JSON gives it back: tuples are lists.

    Example:
        >>> plain((1, "a"))
        [1, 'a']
    """
    return msgspec.json.decode(msgspec.json.encode(value))


def typed(data: Plain, kind: type[R], where: str) -> R:
    """Plain data as a record or dataclass.

    Args:
        where: What a message calls the data.

    Raises:
        ValueError: If it is something else; names the place.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as err:
        raise ValueError(f"{where}: {err}") from err


def encoded(record: Any) -> bytes:
    """A record as JSON, one line."""
    return msgspec.json.encode(record)


def decoded(text: bytes | str, kind: type[R], where: str) -> R:
    """A record from JSON.

    Raises:
        ValueError: If the text is no JSON, or something else; names the place.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as err:
        raise ValueError(f"{where}: {err}") from err


class _Version(msgspec.Struct):
    """Of a file that may have anything else in it."""

    schema: int


def read_record(path: Path, kind: type[R]) -> R:
    """A record from a file.

    Raises:
        ValueError: If there is no such file, or something else in it; where the record has a
            ``schema``, other versions of it are called that.
    """
    try:
        text = path.read_bytes()
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err.strerror})") from err
    try:
        return decoded(text, kind, str(path))
    except ValueError as err:
        ours = get_args(get_type_hints(kind).get("schema"))
        with suppress(msgspec.DecodeError):
            if ours and (theirs := msgspec.json.decode(text, type=_Version).schema) not in ours:
                raise ValueError(
                    f"{path} was written with schema {theirs}, and this version reads {ours[0]}; "
                    "make it anew elsewhere, or read it with the version that wrote it"
                ) from err
        raise
