"""A run of 2,000 finished cells starts and reports at once."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechunlearn.audit.cells import Cell, set_up
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.store import Store
from mechunlearn.models import save
from mechunlearn.registry import ATTACKS
from mechunlearn.tasks.world import World
from mechunlearn.types import HookedModel, Question

MODELS = 50
REPORTING = """
import time
from pathlib import Path
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
given = {plan!r}
plan = AuditPlan(**{{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}})
start = time.process_time()
audit(plan, Path({folder!r}))
print(time.process_time() - start)
"""
SETTINGS = 60
"""Variants tried by each attack."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., HookedModel]) -> AuditPlan:
    folder = tmp_path_factory.mktemp("many")
    original = save(tiny("gpt2"), folder / "original")
    for i in range(MODELS):
        shutil.copytree(original, folder / f"unlearned-{i}")
        (folder / f"unlearned-{i}" / "note.json").write_text(str(i))  # Another model, to a hash.
    return AuditPlan(
        original=str(original),
        unlearned=tuple(str(folder / f"unlearned-{i}") for i in range(MODELS)),
        control=str(original),
        task="organism@0",
        attacks=tuple(ATTACKS),
    )


@cache
def sets() -> dict[str, tuple[Question, ...]]:
    task = World(0).task()
    return {
        "forget": task.questions("forget", "confirm"),
        "retain": task.questions("retain", "confirm"),
        "forget_select": task.questions("forget", "select"),
        "retain_select": task.questions("retain", "select"),
    }


def made_up(cell: Cell, rng: np.random.Generator) -> dict[str, Any]:
    """A result of the right form: guesses, except that the original knows."""

    def guesses(name: str = "forget") -> str:
        return "".join(map(str, rng.integers(0, 4, len(sets()[name]))))

    if cell.kind == "baseline":
        answers = {k: "".join(str(q.answer) for q in s) for k, s in sets().items()}
        known = answers if cell.model == "original" else {k: guesses(k) for k in sets()}
        return {
            "predictions": known, "answers": answers, "choices": dict.fromkeys(sets(), 4),
            "guessing": {}, "lens": [], "versions": {}, "machine": {}, "model": {}, "seconds": 1.0,
        }  # fmt: skip
    if cell.kind != "attack":
        name = "control" if cell.kind == "control" else "original"
        return {"predictions": {name: guesses()}, "details": {}, "seconds": 1.0}
    return {
        "settings": {"layers": [1]}, "within_limit": True, "flops": 10**9, "details": {},
        "predictions": {"attacked": guesses(), "retain": guesses("retain")},
        "shams": [guesses() for _ in range(3)],
        "tried": [{"layers": [i], "forget_select": 0.25} for i in range(SETTINGS)],
        "tried_predictions": [guesses("forget_select") for _ in range(SETTINGS)],
        "tried_on": None, "seconds": 1.0,
    }  # fmt: skip


@pytest.mark.slow
def test_two_thousand_cells_start_and_report_in_five_seconds(
    plan: AuditPlan, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    cells = {c.key: c for c in set_up(plan, tmp_path / "run").cells}
    assert len(cells) >= 2000
    with Store(tmp_path / "run").opened(plan.identity) as store:
        results = {key: made_up(cell, rng) for key, cell in cells.items()}
        start = time.process_time()
        for key, cell in cells.items():
            store.write(cell, results[key])
        writing = (time.process_time() - start) / len(cells)
    code = REPORTING.format(plan=plan.to_dict(), folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took = float(done.stdout)  # Without the checks of shapes that tests switch on.
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(report["rows"]) == MODELS * len(ATTACKS)
    assert took < 5, f"{len(cells)} cells took {took:.2f} s to start and report"
    assert writing < 0.02, f"{1e3 * writing:.1f} ms a cell"  # 2 % of a cell that takes a second.
