"""A run of 2,000 finished cells starts and reports at once."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mechunlearn.audit.cells import Cell, set_up
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.records import (
    Answers,
    AttackResult,
    BaselineResult,
    BriefAnswers,
    CeilingResult,
    ControlResult,
    Guessing,
    Result,
    Tried,
)
from mechunlearn.audit.store import Store
from mechunlearn.environment import MachineCard
from mechunlearn.models import save
from mechunlearn.models.cards import ModelCard, SelfTestCard
from mechunlearn.registry import ATTACKS
from mechunlearn.tasks.world import World
from mechunlearn.types import HookedModel, Question

MODELS = 50
REPORTING = """
import time
from pathlib import Path
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.analysis.analyse import audit
given = {plan!r}
plan = AuditPlan(**{{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}})
start = time.process_time()
audit(plan, Path({folder!r}))
print(time.process_time() - start)
"""
SETTINGS = 60
"""Variants tried by each attack."""


@pytest.fixture(scope="module")
def plan(
    tmp_path_factory: pytest.TempPathFactory, new_tiny: Callable[..., HookedModel]
) -> AuditPlan:
    folder = tmp_path_factory.mktemp("many")
    original = save(new_tiny("gpt2"), folder / "original")
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


def made_up(cell: Cell, rng: np.random.Generator) -> Result:
    """A result of the right form: guesses, except that the original knows."""

    def guesses(name: str = "forget", *, right: bool = False) -> Answers:
        questions = sets()[name]
        said = [q.answer for q in questions] if right else rng.integers(0, 4, len(questions))
        values = [float(s == q.answer) for s, q in zip(said, questions, strict=True)]
        margins = tuple(round(float(x), 5) for x in rng.random(len(questions)))
        return Answers(values=tuple(values), said=tuple(map(int, said)), margins=margins)

    if cell.kind == "baseline":
        test = SelfTestCard(alone=0.0, padded=0.0, readout=0.0, tolerance=1e-3)
        return BaselineResult(
            sets={k: guesses(k, right=bool(cell.inputs["guessing"])) for k in sets()},
            model=ModelCard(
                name="x", architecture="", dtype="", device="", fingerprint="", self_test=test
            ),
            versions={},
            machine=MachineCard(system="", threads=1, device="cpu", python=""),
            guessing=Guessing(no_question=0.25, majority_position=0.25, chance=0.25),
        )
    if cell.kind == "control":
        return ControlResult(forget=guesses(), stages=(), traces={})
    if cell.kind == "ceiling":
        return CeilingResult(forget=guesses(), traces={})
    return AttackResult(
        variant={"layers": [1]},
        within_limit=True,
        flops=10**9,
        forget=guesses(),
        retain=guesses("retain"),
        shams=tuple(guesses() for _ in range(3)),
        tried=tuple(
            Tried(
                variant={"layers": [i]},
                forget=0.25,
                retain=None,
                answers=BriefAnswers.of(guesses("forget_select")),
            )
            for i in range(SETTINGS)
        ),
        decided_by=None,
        stages=(),
        traces={},
    )


@pytest.mark.slow
def test_two_thousand_cells_start_and_report_in_five_seconds(
    plan: AuditPlan, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    cells = {c.key: c for c in set_up(plan, tmp_path / "run", 1).cells}
    assert len(cells) >= 2000
    with Store(tmp_path / "run").opened(plan.identity, 1) as store:
        results = {key: made_up(cell, rng) for key, cell in cells.items()}
        start = time.process_time()
        for key, cell in cells.items():
            store.write(cell, results[key], 1.0)
        writing = (time.process_time() - start) / len(cells)
    code = REPORTING.format(plan=plan.to_dict(), folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took = float(done.stdout)  # Without the checks of shapes that tests switch on.
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(report["rows"]) == MODELS * len(ATTACKS)
    assert took < 5, f"{len(cells)} cells took {took:.2f} s to start and report"
    assert writing < 0.02, f"{1e3 * writing:.1f} ms a cell"  # 2 % of a cell that takes a second.
