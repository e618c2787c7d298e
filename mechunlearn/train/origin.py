"""What a folder or checkpoint was made from: noted as it is begun, compared as it is taken up.

A name says too little: the questions behind it change, and so do weights, settings and versions.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mechunlearn.environment import write_json
from mechunlearn.progress import console
from mechunlearn.records import Plain, Record, plain, read_record

SHOWN = 40
"""Characters of a setting that a message shows; longer ones, such as hashes, are only named."""


class OtherOriginError(ValueError):
    """What is there was made from something else."""


class Origin(Record, frozen=True):
    """A note: what something was made from, by what a message calls each part of it."""

    made_from: dict[str, Plain]


def claim(note: Path, made: Path, made_from: Mapping[str, Plain]) -> None:
    """Note what is about to be made; where it is there already, make sure that it is the same.

    Args:
        note: File of the note; ``made`` without one is taken up, and that is said.
        made: Checkpoint or folder.

    Raises:
        OtherOriginError: If it was made from something else.
    """
    if made.exists():
        refuse_other(note, made, made_from)
    else:
        write_origin(note, made_from)


def write_origin(note: Path, made_from: Mapping[str, Plain]) -> None:
    """Write a note."""
    write_json(note, plain(Origin(made_from=dict(made_from))))


def refuse_other(note: Path, made: Path, made_from: Mapping[str, Plain]) -> None:
    """Make sure that what is there was made from this; of what has no note, say so and go on.

    Raises:
        OtherOriginError: If it was made from something else.
    """
    if not note.is_file():
        say_unknown(made, made_from)
    elif differing := differences(read_record(note, Origin).made_from, made_from):
        raise OtherOriginError(
            f"{made} differs in what it was made from: {differing}; choose another --out, or "
            "remove it"
        )


def say_unknown(made: Path, parts: Mapping[str, Plain]) -> None:
    """Say what nobody noted."""
    text = f"{made} has no note of what it was made from: {_listed([*parts])} are not known"
    console.print(f"[yellow]{text}, and taken to be the same[/yellow]")


def differences(known: Mapping[str, Plain], now: Mapping[str, Plain]) -> str:
    """What two origins disagree on, as part of a sentence; ``""`` where they agree.

    What only one of them has is not compared.

    Example:
        >>> before = {"questions": "3a51", "versions": {"torch": "2.9"}}
        >>> differences(before, {"questions": "77f0", "versions": {"torch": "2.10"}})
        'questions and versions (torch 2.9, now 2.10)'
    """
    now, found = plain(dict(now)), []
    for part, old in plain(dict(known)).items():
        if part in now and now[part] != old:
            details = list(_changed(old, now[part])) if isinstance(old, dict) else []
            found.append(f"{part} ({'; '.join(details)})" if details else part)
    return _listed(found)


def _changed(old: Plain, new: Plain, name: str = "") -> Iterator[str]:
    """Settings that differ, with both values where these are short."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{name}.{key}" if name else key
            yield from _changed(old.get(key), new.get(key), inner)
    elif old != new:
        values = ", now ".join("not set" if x is None else str(x) for x in (old, new))
        yield f"{name} {values}" if len(values) <= SHOWN else name


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
