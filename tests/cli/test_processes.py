"""Two processes give the same bytes as one; a lost one is told, and the same command goes on."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.engines import Here, engine
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.store import Store
from mechunlearn.errors import PrerequisiteError


def rows(folder: Path) -> str:
    found = json.loads((folder / "report.json").read_text())
    return json.dumps([found["rows"], [[m["label"], m["sets"]] for m in found["models"]]])


def test_one_worker_is_this_process() -> None:
    assert isinstance(engine("here", workers=1), Here)
    assert not isinstance(engine("here", workers=2), Here)


@pytest.mark.slow
def test_two_processes_give_the_same_rows_and_a_lost_one_is_told(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit(tiny_plan, tmp_path / "here")
    keep = Store.write
    written: list[str] = []

    def kill_one(self: Store, cell: Any, *result: Any) -> Any:
        kept = keep(self, cell, *result)
        written.append(cell.key)
        if len(written) == 4:
            pid = multiprocessing.active_children()[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        return kept

    monkeypatch.setattr(Store, "write", kill_one)
    with pytest.raises(PrerequisiteError, match="a worker was lost"):
        audit(tiny_plan, tmp_path / "two", engine("here", workers=2))
    assert not multiprocessing.active_children()
    monkeypatch.setattr(Store, "write", keep)
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "two" / "cells").iterdir()}
    audit(tiny_plan, tmp_path / "two", engine("here", workers=2))
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "two" / "cells").iterdir()}
    assert len(before) >= 4
    assert before.items() <= after.items()  # Nothing was computed twice.
    assert rows(tmp_path / "two") == rows(tmp_path / "here")


@pytest.mark.slow
def test_processes_make_models_and_pass_errors_on(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    plan = dataclasses.replace(
        tiny_plan,
        unlearned=(),
        methods=("npo",),
        attacks=("logit_lens",),
        changes=("npo.optimizer.steps=2",),
    )
    audit(plan, tmp_path / "here")
    audit(plan, tmp_path / "two", engine("here", workers=2))
    assert rows(tmp_path / "two") == rows(tmp_path / "here")
    worse = dataclasses.replace(plan, changes=("npo.optimizer.steps=4", "npo.optimizer.lr=1e30"))
    with pytest.raises(ValueError, match=r"lower optimizer\.lr"):
        audit(worse, tmp_path / "worse", engine("here", workers=2))
    assert not multiprocessing.active_children()
