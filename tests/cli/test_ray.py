"""Ray: two workers give the same bytes as this process, also when one of them is killed."""

import dataclasses
import gc
import json
import os
import signal
import subprocess
import weakref
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.engines import Here, engine
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.store import Store
from mechunlearn.errors import PrerequisiteError
from mechunlearn.models import load
from mechunlearn.types import HookedModel


def rows(folder: Path) -> str:
    found = json.loads((folder / "report.json").read_text())
    return json.dumps([found["rows"], [[m["label"], m["sets"]] for m in found["models"]]])


@pytest.mark.ci
def test_this_process_loads_each_model_once(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    few = tiny_plan.attacks[:2]
    changes = tuple(c for c in tiny_plan.changes if c.startswith(few))
    plan = dataclasses.replace(tiny_plan, attacks=few, changes=changes)
    pool = ModelPool()
    audit(plan, tmp_path / "run", Here(pool))
    assert pool.loads == 3
    alive: list[weakref.ref[HookedModel]] = []

    def load_one(source: str, **options: str) -> HookedModel:
        gc.collect()
        assert not [model for ref in alive if (model := ref()) is not None]
        model = load(source, **options)
        alive.append(weakref.ref(model))
        return model

    one = ModelPool(room=0.0, loader=load_one)  # As for models of which only one fits.
    audit(plan, tmp_path / "one", Here(one))
    assert pool.loads < one.loads <= 8
    assert rows(tmp_path / "one") == rows(tmp_path / "run")


def test_without_ray_or_a_cluster_it_says_what_to_do(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'mechunlearn\[ray\]'"):
        audit(tiny_plan, tmp_path / "run", engine("ray"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_workers_give_the_same_rows(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    audit(tiny_plan, tmp_path / "here")
    audit(tiny_plan, tmp_path / "ray", engine("ray", "local", 2))
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_changes_nothing(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    audit(tiny_plan, tmp_path / "here")
    written: list[str] = []
    keep = Store.write

    def kill_one(self: Store, cell: Any, *result: Any) -> Any:
        kept = keep(self, cell, *result)
        written.append(cell.key)
        if len(written) == 4:  # The first attack is done; the others are running or waiting.
            listed = subprocess.run(["pgrep", "-f", "ray::Worker"], capture_output=True, text=True)
            os.kill(int(listed.stdout.split()[0]), signal.SIGKILL)
        return kept

    monkeypatch.setattr(Store, "write", kill_one)
    audit(tiny_plan, tmp_path / "ray", engine("ray", "local", 2))
    assert len(written) == len(set(written))
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")
