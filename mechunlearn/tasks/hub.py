"""Data sets of the Hugging Face Hub at pinned revisions, or from local copies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechunlearn.errors import PrerequisiteError
from mechunlearn.tasks.open_reader import Row


@dataclass(frozen=True, slots=True)
class HubSet:
    """One split of a data set on the Hub."""

    id: str
    config: str | None
    split: str
    revision: str
    """Commit; ``main`` where none is pinned."""
    gated: bool = False

    def __str__(self) -> str:
        part = f" ({self.config}, {self.split})" if self.config else f" ({self.split})"
        return f"{self.id}@{self.revision[:8]}{part}"


def rows(part: HubSet, folder: str = "") -> Iterator[tuple[str, Row]]:
    """The rows of a split, each with its place.

    Args:
        folder: Where copies lie, each in ``OWNER/NAME`` as ``hf download`` writes it, or in
            ``OWNER/NAME/CONFIG`` as ``DatasetDict.save_to_disk`` does; empty: the Hub.

    Raises:
        PrerequisiteError: If it cannot be fetched; says what to do.
        ValueError: If the local copy is missing or damaged.
    """
    data = _local(part, Path(folder).expanduser() / part.id) if folder else _fetched(part)
    for number, row in enumerate(data):
        yield f"{part.config or part.id} {number}", row


def _local(part: HubSet, path: Path) -> Iterator[Row]:
    """The rows of a local copy, read as they are asked for.

    Not through the cache of ``datasets``, which knows folders by their last name alone: it would
    give the rows of another copy, or of this one before it was changed.
    """
    from datasets import load_dataset, load_from_disk

    if not path.is_dir():
        raise ValueError(f"there is no folder {path}; {_copy(part, path)} where there is a network")
    try:
        saved = path / (part.config or "")
        if (saved / "dataset_dict.json").is_file():
            yield from load_from_disk(str(saved))[part.split]
        else:
            yield from load_dataset(str(path), part.config, split=part.split, streaming=True)
    except (OSError, ValueError, KeyError, RuntimeError) as err:
        first = (str(err) or type(err).__name__).splitlines()[0]
        raise ValueError(f"{part} cannot be read in {path}: {first}") from err


def _fetched(part: HubSet) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(part.id, part.config, split=part.split, revision=part.revision)
    except (DatasetNotFoundError, OSError, RuntimeError, ValueError) as err:
        # Without a network ``datasets`` raises one of many kinds, ConnectionError among them.
        login = (
            f"accept its terms at https://huggingface.co/datasets/{part.id}, run: hf auth login"
            if part.gated
            else "connect to the network (and unset HF_HUB_OFFLINE)"
        )
        raise PrerequisiteError(
            f"{part} could not be fetched from the Hugging Face Hub ({str(err)[:100]!r}); "
            f"{login}; or {_copy(part, Path('FOLDER') / part.id)} elsewhere, and give that folder "
            "with --set task.data=FOLDER"
        ) from err


def _copy(part: HubSet, path: Path) -> str:
    return (
        f"run 'hf download {part.id} --repo-type dataset --revision {part.revision} "
        f"--local-dir {path}'"
    )
