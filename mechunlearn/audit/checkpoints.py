"""The models that an audit makes by unlearning, each with a note of what decided its weights."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from mechunlearn.audit.cells import Setup
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.records import CheckpointFile
from mechunlearn.environment import write_bytes
from mechunlearn.models import load, save
from mechunlearn.models.identity import model_identity
from mechunlearn.progress import console
from mechunlearn.records import encoded, read_record
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.run import UnlearnPlan, train_method


def make(setup: Setup, recipe: Recipe) -> None:
    """Unlearn, or go on unlearning, and save; a finished model is kept.

    Raises:
        ValueError: If the folder holds a model of another origin or one that was changed since, or
            training fails.
    """
    folder = recipe.folder
    known = _note(folder)
    lineage = dict(recipe.lineage)
    if known is None and not folder.exists():
        _write(folder, CheckpointFile(lineage=lineage))
    elif known is None or known.lineage != lineage:
        raise ValueError(
            f"{folder} was made with other settings, versions or threads; remove it, or choose "
            "another --out"
        )
    partial = Path(f"{folder}.training")
    if folder.exists():
        if known is not None and known.weights not in ("", model_identity(str(folder))):
            raise ValueError(
                f"{folder} is not as it was made; remove it with {_file(folder).name} beside it, "
                "and the same command makes it again"
            )
        shutil.rmtree(partial, ignore_errors=True)
        return
    console.print(f"[dim]{recipe.method} on {recipe.source}[/dim]")
    start = time.perf_counter()
    model = load(recipe.source, **setup.plan.loading)
    changes = (*setup.resolved.changes_of(recipe.method), *_seeded(setup, recipe.method))
    plan = UnlearnPlan(recipe.method, recipe.source, changes=changes)
    train_method(model, setup.task, plan, state=partial / "state.safetensors")
    save(model, folder)
    shutil.rmtree(partial, ignore_errors=True)
    seconds = round(time.perf_counter() - start, 2)
    note = CheckpointFile(lineage=lineage, seconds=seconds, weights=model_identity(str(folder)))
    _write(folder, note)


def is_made(recipe: Recipe) -> bool:
    """Whether a model is finished, and of this origin."""
    note = _note(recipe.folder)
    return recipe.folder.exists() and note is not None and note.lineage == dict(recipe.lineage)


def _seeded(setup: Setup, method: str) -> Iterator[str]:
    """The seed of a method, which is moved along with the audit's."""
    config = setup.resolved.methods[method]
    if setup.plan.seed and isinstance(config, Settings):
        yield f"seed={config.seed}"


def making_seconds(setup: Setup) -> dict[str, float]:
    """Measured seconds that each model took to make."""
    notes = {f"{r.method} on {r.source}": _note(r.folder) for r in setup.recipes}
    return {name: n.seconds for name, n in notes.items() if n is not None and n.seconds is not None}


def _file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _note(folder: Path) -> CheckpointFile | None:
    file = _file(folder)
    if not file.is_file():
        return None
    try:
        return read_record(file, CheckpointFile)
    except ValueError as err:
        raise ValueError(
            f"{err}; remove {file} and {folder}, and the same command makes the model again"
        ) from err


def _write(folder: Path, note: CheckpointFile) -> None:
    write_bytes(_file(folder), encoded(note) + b"\n")
