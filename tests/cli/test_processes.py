"""Two processes give the same bytes as one; a lost one is told, and the same command goes on."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.engines import Here, engine, processes
from mechunlearn.audit.engines.processes import MOST, Processes, _Notes, _Pool, _tell, fitting
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.store import Store
from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console


def rows(folder: Path) -> str:
    found = json.loads((folder / "report.json").read_text())
    return json.dumps([found["rows"], [[m["label"], m["sets"]] for m in found["models"]]])


def test_one_worker_is_this_process() -> None:
    assert isinstance(engine("here", workers=1), Here)
    assert not isinstance(engine("here", workers=2), Here)


def test_small_models_on_a_cpu_share_its_threads_among_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = AuditPlan(methods=("rmu",))
    assert fitting(plan) == MOST
    assert isinstance(engine("here", plan=plan), Processes)
    assert isinstance(engine("here", workers=1, plan=plan), Here)
    assert fitting(dataclasses.replace(plan, threads=8)) == 1  # Which decides last digits.
    assert fitting(dataclasses.replace(plan, device="cuda:1")) == 1
    assert fitting(dataclasses.replace(plan, original="someone/not-here")) == 1
    monkeypatch.setattr(processes, "SMALL", 1000)
    assert fitting(plan) == 1
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert isinstance(engine("here", plan=plan), Here)


@pytest.mark.parametrize(("threads", "found"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_no_more_threads_than_the_machine_has(
    threads: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a run goes on that began with more of them."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    setup: Any = SimpleNamespace(threads=threads)
    with Processes(4).opened(setup) as pool:
        assert isinstance(pool, _Pool)
        assert pool.size == found


def test_lines_of_workers_name_their_model() -> None:
    sent: list[str] = []
    pipe: Any = SimpleNamespace(send=sent.append)
    notes = _Notes(pipe)
    for text in ("NPO, st", "ep 3\nNPO", ", step 4\n"):
        notes.write(text)
    assert sent == ["NPO, step 3", "NPO, step 4"]
    recipe = Recipe("npo", "models/first", Path("npo"), {})
    with console.capture() as told:
        _tell("npo on models/first", recipe)
        _tell("NPO, step 3: [b]", recipe)
    assert told.get() == "npo on models/first\nmodels/first: NPO, step 3: [b]\n"


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
    with console.capture() as told:
        audit(plan, tmp_path / "two", engine("here", workers=2))
    assert f"{plan.original}: NPO, step 2 of 2" in told.get()
    assert rows(tmp_path / "two") == rows(tmp_path / "here")
    worse = dataclasses.replace(plan, changes=("npo.optimizer.steps=4", "npo.optimizer.lr=1e30"))
    with pytest.raises(ValueError, match=r"lower optimizer\.lr"):
        audit(worse, tmp_path / "worse", engine("here", workers=2))
    assert not multiprocessing.active_children()
