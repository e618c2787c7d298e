"""The attack that a notebook writes as a newcomer would, judged by the family it declares."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.registry import TABLES, register

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "07_your_own.py"
NAME = "relearning_mine"
"""Says something else than the family."""


def cells() -> list[str]:
    """Its cells of code."""
    parts = re.split(r"^# %%.*\n", NOTEBOOK.read_text(), flags=re.MULTILINE)
    return [p.strip() for p in parts if p.strip() and not p.startswith("#")]


def steering() -> Any:
    """The attack's class, from the notebook's own cell."""
    own = next(cell for cell in cells() if "(Attack[" in cell)
    names: dict[str, Any] = {}
    imports = re.findall(r"^(?:from mechunlearn|from functools).*$", cells()[0], re.MULTILINE)
    exec(compile("\n".join([*imports, own]), str(NOTEBOOK), "exec"), names)
    return names["Steering"]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("mechunlearn.registry._ADDED", {kind: {} for kind in TABLES})
    register("attack", NAME, steering())
    return NAME


def test_it_is_written_in_twenty_lines() -> None:
    (own,) = (cell for cell in cells() if "(Attack[" in cell)
    assert len([line for line in own.splitlines() if line.strip()]) <= 20


@pytest.mark.ci
def test_a_row_is_of_the_declared_family(own: str, tiny_plan: AuditPlan, tmp_path: Path) -> None:
    report = audit(dataclasses.replace(tiny_plan, attacks=(own,), changes=()), tmp_path)
    (row,) = report.rows
    assert (row.attack, row.family) == (own, "direction")
    assert row.evidence == "no forget information"
    assert set(row.variant) == {"layer", "stream"}


@pytest.mark.slow
def test_the_verdict_is_of_the_declared_family(own: str, tmp_path: Path) -> None:
    """RMU hides behind a direction; steering brings back what its sham does not."""
    plan = AuditPlan(methods=("rmu",), attacks=(own,), changes=("rmu.optimizer.steps=100",))
    report = audit(plan, tmp_path)
    (row,), (model,) = report.rows, report.unlearned
    assert row.value > 0.6
    assert row.sham < 0.35
    assert model.verdict is not None
    assert model.verdict.category == "hidden, shallow"
