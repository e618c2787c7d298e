"""One JSON file a cell, written atomically, in a folder that one process works on at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from mechunlearn.audit.cells import Cell
from mechunlearn.environment import PARTIAL, write_json
from mechunlearn.errors import PrerequisiteError
from mechunlearn.types import Score

SCHEMA = 1
"""Version of the files' layout."""
LOCK = "lock"


def compact(score: Score) -> str:
    """Predictions in a character each: the index of the choice, ``-`` for a tie."""
    return "".join("-" if p < 0 else str(p) for p in score.predictions)


def expanded(name: str, text: str, answers: Sequence[int], choices: int) -> Score:
    """The score with these predictions; its logits are 1 at the predicted choice, else 0.

    Raises:
        ValueError: If there are not as many predictions as answers.
    """
    if len(text) != len(answers):
        raise ValueError(f"{name}: {len(text)} predictions for {len(answers)} questions")
    said = np.frombuffer(text.encode(), dtype=np.uint8).astype(int) - ord("0")
    logits = (said[:, None] == np.arange(choices)).astype(float)  # A tie is no choice's index.
    return Score(name, logits, np.array(answers))


class Store:
    """The results of one plan: ``FOLDER/store.json`` and ``FOLDER/cells/KIND-KEY.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, plan: Mapping[str, Any]) -> None:
        """Make sure that the folder is empty or holds results of this plan.

        Raises:
            ValueError: If it holds something else, or results of another schema version.
        """
        if not self.folder.exists() or all(_ours(file) for file in self.folder.iterdir()):
            return
        known = read_json(self.folder / "store.json")
        if known is None:
            raise ValueError(
                f"{self.folder} holds something else; nothing was overwritten: choose another --out"
            )
        if known.get("schema") != SCHEMA:
            raise ValueError(
                f"{self.folder} was written with store schema {known.get('schema')!r}, and this "
                f"version reads {SCHEMA}; nothing was changed: choose another --out"
            )
        if known["plan"] != plan:
            changed = sorted(k for k in plan if known["plan"].get(k) != plan[k])
            raise ValueError(
                f"{self.folder} holds something else: a run with other {', '.join(changed)}; "
                "nothing was overwritten: choose another --out"
            )

    @contextmanager
    def opened(self, plan: Mapping[str, Any]) -> Iterator["Store"]:
        """Hold the folder's lock, which goes with the process that holds it.

        Raises:
            ValueError: If the folder holds something else, or another process works on it.
            PrerequisiteError: If the folder cannot be written.
        """
        self.check(plan)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "store.json").is_file():
                write_json(self.folder / "store.json", {"schema": SCHEMA, "plan": dict(plan)})
            lock = FileLock(self.folder / LOCK)
            lock.acquire(timeout=0)
        except Timeout as err:
            raise ValueError(
                f"another process is working on {self.folder}; wait for it, or choose another --out"
            ) from err
        except OSError as err:
            raise PrerequisiteError(
                f"{self.folder} cannot be written ({err.strerror}); choose another --out"
            ) from err
        try:
            for partial in self.folder.rglob(f"{PARTIAL}*"):
                partial.unlink()
            yield self
        finally:
            lock.release()

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """A finished cell's result; ``None`` where there is none."""
        found = read_json(self._file(cell))
        return None if found is None or found.get("schema") != SCHEMA else found["result"]

    def all(self, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
        """Results of the cells that are finished, by key."""
        found = {cell.key: self.read(cell) for cell in cells}
        return {key: result for key, result in found.items() if result is not None}

    def write(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        about = {"kind": cell.kind, "model": cell.model, "attack": cell.attack}
        data = {"schema": SCHEMA, **about, "inputs": dict(cell.inputs), "result": dict(result)}
        write_json(self._file(cell), data)

    def _file(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.kind}-{cell.key[:32]}.json"


def _ours(file: Path) -> bool:
    """What a run that was killed in its first moment may leave."""
    return file.name == LOCK or file.name.startswith(PARTIAL)


def read_json(file: Path) -> dict[str, Any] | None:
    """An object from a file; ``None`` where there is no file or no whole object in it."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None
