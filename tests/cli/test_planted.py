"""Planted hiding, seeds and several controls through a whole audit of random-weight models."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn.analysis.analyse import analyse, audit
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import dry_run, run
from mechunlearn.models import save
from mechunlearn.report import render
from mechunlearn.types import HookedModel

ATTACKS = ("logit_lens", "relearning_disjoint")


ALONE = ("logit_lens",)


@pytest.fixture(scope="module")
def plan(
    tiny_plan: AuditPlan,
    new_tiny: Callable[..., HookedModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> AuditPlan:
    """Two controls, two seeds, everything planted."""
    second = save(new_tiny("gpt2", 3), tmp_path_factory.mktemp("second") / "second")
    changes = tuple(c for c in tiny_plan.changes if c.startswith(ATTACKS))
    return dataclasses.replace(
        tiny_plan,
        control=(*tiny_plan.control, str(second)),
        attacks=ATTACKS,
        changes=changes,
        planted="always",
        seeds=2,
    )


def stored(folder: Path) -> set[str]:
    return {file.name for file in (folder / "cells").iterdir()}


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("attacks", [ALONE, pytest.param(ATTACKS, marks=pytest.mark.long)])
def test_everything_is_a_cell_that_is_kept(
    plan: AuditPlan, attacks: tuple[str, ...], tmp_path: Path
) -> None:
    changes = tuple(c for c in plan.changes if c.startswith(attacks))
    plan, n = dataclasses.replace(plan, attacks=attacks, changes=changes), len(attacks)
    one = dataclasses.replace(plan, seeds=1, planted="never", control=plan.control[0])
    audit(one, tmp_path / "run")
    before = stored(tmp_path / "run")
    assert len(before) == 3 + n * 3
    # Controls, seeds and planted hiding are added to a finished run: nothing is lost.
    missing = dry_run(plan, tmp_path / "run").cells
    report = audit(plan, tmp_path / "run")
    added = stored(tmp_path / "run") - before
    assert before < stored(tmp_path / "run")
    assert len(missing) == len(added)
    # The second control and two planted models; the first seed's attacks on three models, with a
    # ceiling and two controls; and the second seed's on one.
    assert len(added) == 3 + n * (3 * 4 - 3) + n * 4
    assert dry_run(plan, tmp_path / "run").cells == []
    assert {m.role for m in report.models} == {"original", "never_knew", "unlearned", "planted"}
    assert [row.n_controls for row in report.rows] == [2] * n
    assert all(row.seeds is not None and row.seeds.n == 2 for row in report.rows)
    assert [row.contrasts[-1].against for row in report.rows] == ["guessing", "spread"][:n]
    assert [p.hiding for p in report.positive_controls] == ["push", "filter"]
    page = render(report)
    assert "Positive control, a push planted in the original" in page
    assert "of 2 seeds" in page
    again = analyse(run(plan, tmp_path / "run"))
    assert again.rows == report.rows


@pytest.mark.ci
def test_planted_hiding_is_costed_where_it_may_be_needed(plan: AuditPlan, tmp_path: Path) -> None:
    auto = dataclasses.replace(plan, seeds=1, planted="auto", control="none")
    costs = dry_run(auto, tmp_path / "run").cells
    maybe = {e.cell.model for e in costs if e.conditional}
    assert maybe == {"planted push", "planted filter"}
    never = dry_run(dataclasses.replace(auto, planted="never"), tmp_path / "run").cells
    assert len(never) < len(costs)
    assert not any(e.conditional for e in never)
