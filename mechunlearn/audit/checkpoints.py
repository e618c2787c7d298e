"""The models that an audit makes by unlearning, each with a note of what decided its weights."""

import shutil
import time
from pathlib import Path

from mechunlearn.audit.cells import Made, Setup
from mechunlearn.audit.store import read_json
from mechunlearn.environment import write_json
from mechunlearn.models import load, save
from mechunlearn.progress import console
from mechunlearn.unlearn.run import UnlearnPlan, train_method


def make(setup: Setup, made: Made) -> None:
    """Unlearn, or go on unlearning, and save; a finished model is kept.

    Raises:
        ValueError: If the folder holds a model of another origin, or training fails.
    """
    beside = made.folder.with_name(f"{made.folder.name}.json")
    known = read_json(beside)
    lineage = dict(made.lineage)
    if known is None and not made.folder.exists():
        write_json(beside, {"lineage": lineage})
    elif known is None or known["lineage"] != lineage:
        raise ValueError(
            f"{made.folder} was made with other settings or versions; remove it, or choose "
            "another --out"
        )
    partial = Path(f"{made.folder}.training")
    if made.folder.exists():
        shutil.rmtree(partial, ignore_errors=True)
        return
    console.print(f"[dim]{made.method} on {made.source}[/dim]")
    start = time.perf_counter()
    model = load(made.source, **setup.plan.loading)
    mine = [c.removeprefix(f"{made.method}.") for c in setup.plan.changes]
    mine = [c for c, whole in zip(mine, setup.plan.changes, strict=True) if c != whole]
    plan = UnlearnPlan(made.method, made.source, changes=tuple(mine))
    train_method(model, setup.task, plan, state=partial / "state.safetensors")
    save(model, made.folder)
    shutil.rmtree(partial, ignore_errors=True)
    write_json(beside, {"lineage": lineage, "seconds": round(time.perf_counter() - start, 2)})


def making(setup: Setup) -> dict[str, float]:
    """Measured seconds that each model took to make."""
    found = {}
    for made in setup.made:
        known = read_json(made.folder.with_name(f"{made.folder.name}.json")) or {}
        if "seconds" in known:
            found[f"{made.method} on {made.source}"] = known["seconds"]
    return found
