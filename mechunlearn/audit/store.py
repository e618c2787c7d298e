"""One JSON file a cell, written atomically, in a folder that one process works on at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mechunlearn.audit.cells import Cell
from mechunlearn.audit.records import SCHEMA, CellFile, Result, StoreFile
from mechunlearn.environment import PARTIAL, write_bytes
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console
from mechunlearn.records import Plain, Record, decoded, encoded

LOCK = "lock"
CELLS = "cells"


class _Version(Record, frozen=True, forbid_unknown_fields=False):
    """The one key that every version of the store has."""

    schema: int


class Store:
    """The results of one plan: ``FOLDER/store.json`` and ``FOLDER/cells/KIND-KEY.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, plan: Mapping[str, Plain]) -> StoreFile | None:
        """Make sure that the folder is empty or holds results of this plan.

        Returns:
            What the folder says it holds; ``None`` where it is empty.

        Raises:
            ValueError: If it holds something else, results of another schema version, or a
                ``store.json`` that is damaged.
        """
        if not self.folder.exists() or all(_ours(file) for file in self.folder.iterdir()):
            return None
        file = self.folder / "store.json"
        if not file.is_file():
            raise ValueError(
                f"{self.folder} holds something else; nothing was overwritten: choose another --out"
            )
        known = self._header(file)
        if changed := sorted(k for k, v in plan.items() if known.plan.get(k) != v):
            raise ValueError(
                f"{self.folder} holds a run with other {', '.join(changed)}; nothing was "
                "overwritten: choose another --out"
            )
        return known

    def _header(self, file: Path) -> StoreFile:
        text = file.read_bytes()
        try:
            version = decoded(text, _Version, str(file)).schema
            if version == SCHEMA:
                return decoded(text, StoreFile, str(file))
        except ValueError as err:
            raise ValueError(
                f"{err}; the file is damaged and nothing was changed: restore it, or choose "
                "another --out"
            ) from err
        raise ValueError(
            f"{self.folder} was written with store schema {version}, and this version reads "
            f"{SCHEMA}; nothing was changed: choose another --out"
        )

    @contextmanager
    def opened(self, plan: Mapping[str, Plain], threads: int) -> Iterator["Store"]:
        """Hold the folder's lock, which goes with the process that holds it.

        Raises:
            ValueError: If the folder holds something else, or another process works on it.
            PrerequisiteError: If the folder cannot be written.
        """
        self.check(plan)
        header = StoreFile(schema=SCHEMA, plan=dict(plan), threads=threads)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "store.json").is_file():
                write_bytes(self.folder / "store.json", encoded(header) + b"\n")
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

    def read(self, cell: Cell) -> CellFile | None:
        """A finished cell; ``None`` where there is none, or a damaged or edited one (said)."""
        file = self._file(cell)
        if not file.is_file():
            return None
        try:
            kept = decoded(file.read_bytes(), CellFile, file.name)
            if kept.checksum != checksum(kept.inputs, kept.seconds, kept.result):
                raise ValueError(f"{file.name} is not as it was written")
        except ValueError as err:
            console.print(f"[yellow]{err}: it is computed again[/yellow]", markup=True)
            return None
        return kept

    def all(self, cells: Iterable[Cell]) -> dict[str, CellFile]:
        """The cells that are finished, by key."""
        files = {cell.key: self.read(cell) for cell in cells}
        return {key: file for key, file in files.items() if file is not None}

    def write(self, cell: Cell, result: Result, seconds: float) -> CellFile:
        """Keep a result."""
        file = CellFile(
            schema=SCHEMA,
            kind=cell.kind,
            model=cell.model,
            attack=cell.attack,
            inputs=dict(cell.inputs),
            seconds=seconds,
            result=result,
            checksum=checksum(cell.inputs, seconds, result),
        )
        write_bytes(self._file(cell), encoded(file) + b"\n")
        return file

    def _file(self, cell: Cell) -> Path:
        return self.folder / CELLS / f"{cell.kind}-{cell.key[:32]}.json"


def checksum(inputs: Mapping[str, Plain], seconds: float, result: Result) -> str:
    """SHA-256 of what a cell's file says."""
    return hashlib.sha256(encoded([dict(inputs), seconds, result])).hexdigest()


def _ours(file: Path) -> bool:
    """What a run that was killed in its first moment may leave, and cells shared with others."""
    shared = file.name == CELLS and file.is_symlink()
    return shared or file.name == LOCK or file.name.startswith(PARTIAL)


def share_cells(folder: Path, cells: Path) -> None:
    """Let a run keep its cells where others do, so that what they have in common is there once.

    A cell's name depends on everything that its result depends on. One process at a time may work
    on runs that share their cells.
    """
    cells.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CELLS).exists():
        (folder / CELLS).symlink_to(cells.resolve())
