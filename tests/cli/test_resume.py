"""Audits that are stopped go on: nothing is computed twice, and the rows are the same bytes."""

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit import cells as setup
from mechunlearn.audit.estimate import Speed
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.plan_file import plan_toml
from mechunlearn.audit.run import dry_run
from mechunlearn.audit.store import Store
from mechunlearn.cli import main
from mechunlearn.types import Task

N_CELLS = 3 + 3 * 3
"""Three models without any attack; three attacks with control and ceiling."""


AUDIT = """
import torch
from pathlib import Path
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.plan_file import plan_toml
from mechunlearn.analysis.analyse import audit
torch.set_num_threads(1)
given = {plan!r}
plan = AuditPlan(**{{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}})
audit(plan, Path({folder!r}))
"""


@pytest.fixture(scope="module")
def plan(tiny_plan: AuditPlan) -> AuditPlan:
    return tiny_plan


class Stopped(BaseException):
    """Ctrl-C at a moment of our choice."""


def cells(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What is stored, with the time of writing: a cell computed again would be younger."""
    return {
        f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in (folder / "cells").glob("*.json")
    }


@pytest.fixture
def whole(finished: Path) -> Path:
    """An audit that nobody stopped."""
    return finished


def rows(folder: Path) -> str:
    found = json.loads((folder / "report.json").read_text())
    return json.dumps([found["rows"], [[m["label"], m["sets"]] for m in found["models"]]])


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize(
    "after",
    [pytest.param(0, marks=pytest.mark.long), 4, pytest.param(10, marks=pytest.mark.long)],
)
def test_a_stopped_audit_goes_on_where_it_was(
    plan: AuditPlan, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    folder, written = tmp_path / "run", []
    keep = Store.write

    def count(self: Store, cell: Any, *result: Any) -> Any:
        if len(written) == after:
            raise Stopped
        written.append(cell.key)
        return keep(self, cell, *result)

    monkeypatch.setattr(Store, "write", count)
    with pytest.raises(Stopped):
        audit(plan, folder)
    assert len(list((folder / "cells").glob("*.json"))) == after
    after = -1
    audit(plan, folder)
    assert len(written) == len(set(written)) == N_CELLS
    assert rows(folder) == rows(whole)


def test_a_finished_audit_computes_nothing(
    plan: AuditPlan, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cells(whole), (whole / "report.json").stat().st_mtime_ns

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("mechunlearn.models.load", refuse)
    monkeypatch.setattr("mechunlearn.audit.pool.load", refuse)
    audit(plan, whole)
    assert (cells(whole), (whole / "report.json").stat().st_mtime_ns) == before


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_only_what_was_lost_is_computed_again(plan: AuditPlan, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = cells(folder)
    lost = sorted(before)[:4]
    for name in lost:
        (folder / "cells" / name).write_text("{" if name == lost[0] else "")
    (folder / "report.json").unlink()
    audit(plan, folder)
    after = cells(folder)
    assert {n for n in after if after[n] != before[n]} == set(lost)
    assert rows(folder) == rows(whole)


def killed(plan: AuditPlan, folder: Path, seconds: float) -> bool:
    """Start the audit and kill it after some seconds; whether it had ended by itself."""
    code = AUDIT.format(plan=plan.to_dict(), folder=str(folder))
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        assert run.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
        return False
    return True


@pytest.mark.slow
def test_killed_at_ten_random_moments(plan: AuditPlan, whole: Path, tmp_path: Path) -> None:
    folder, rng = tmp_path / "run", random.Random(0)
    start = time.perf_counter()
    assert killed(plan, tmp_path / "timed", 600)
    length = time.perf_counter() - start
    seen: dict[str, tuple[int, bytes]] = {}
    for _ in range(10):
        if killed(plan, folder, rng.uniform(0.3, 0.9) * length):
            break
        now = cells(folder)
        assert {n: now[n] for n in seen} == seen  # No cell was computed twice.
        seen = now
    audit(plan, folder)
    now = cells(folder)
    assert {n: now[n] for n in seen} == seen
    assert len(now) == N_CELLS
    assert rows(folder) == rows(whole)


def dying(plan: AuditPlan, folder: Path) -> None:
    """An audit that is killed when its fourth cell is written, but does not have its name yet."""
    replace, cells = os.replace, []

    def die(source: Path, target: Path) -> None:
        cells.append("cells" in str(target))
        if sum(cells) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = die
    audit(plan, folder)


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_killed_while_a_cell_is_written(plan: AuditPlan, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # A fork, without seconds of imports; nothing is trained before the fourth cell.
    run = multiprocessing.get_context("fork").Process(target=dying, args=(plan, folder))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL
    seen = cells(folder)
    assert len(seen) == 3
    audit(plan, folder)
    now = cells(folder)
    assert {n: now[n] for n in seen} == seen
    assert rows(folder) == rows(whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('atacks = ["logit_lens"]', "unknown plan key 'atacks'; did you mean 'attacks'?"),
        ('attacks = "logit_lens"', "a list of texts"),
        ("seed = 1.5", "a whole number"),
        ("seed = ", "not valid TOML"),
        ('attacks = ["logit_lense"]', "did you mean 'logit_lens'"),
        ("retain_limit = -1", "share of accuracy"),
        ('budget = "-30m"', "a positive time such as 90s, 30m or 2h"),
    ],
)
def test_mistakes_in_a_plan_file_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    (tmp_path / "plan.toml").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mechunlearn", "audit", "--plan", "plan.toml"])
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == ["plan.toml"]


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_a_budget_takes_whole_attacks_and_the_next_run_the_rest(
    plan: AuditPlan, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    a_second_a_question = Speed(flops=1.0, per_question=1.0, device="cpu", number=4)
    monkeypatch.setattr("mechunlearn.audit.run.calibrate", lambda setup: a_second_a_question)
    found = [e for e in dry_run(plan, folder).cells if not e.conditional]
    assert len(found) == N_CELLS
    assert all(e.seconds > 0 for e in found)
    assert not folder.exists()
    cheap = [e for e in found if e.cell.attack in ("", "logit_lens")]
    enough = dataclasses.replace(plan, budget=f"{sum(e.seconds for e in cheap) + 1:.0f}s")
    report = audit(enough, folder)
    assert [r.attack for r in report.rows] == ["logit_lens"]
    assert ("after", "relearning_disjoint") in report.not_computed
    before = cells(folder)
    assert len(before) == len(cheap)
    with pytest.raises(ValueError, match="holds no attack"):
        audit(dataclasses.replace(plan, budget="1s"), folder)
    audit(plan, folder)
    now = cells(folder)
    assert {n: now[n] for n in before} == before
    assert rows(folder) == rows(whole)


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_a_full_disk_is_one_line(
    plan: AuditPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = dataclasses.replace(plan, attacks=("logit_lens",), changes=())
    (tmp_path / "plan.toml").write_text(plan_toml(plan))
    command = ["mechunlearn", "audit", "--plan", str(tmp_path / "plan.toml")]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "run"), "--json"])

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.undo()
    assert audit(plan, tmp_path / "run").rows


@pytest.mark.ci
def test_a_control_that_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_task = setup.load_task

    def load_some(*arguments: Any, **settings: Any) -> Task:
        task = load_task(*arguments, **settings)
        few = {"forget": task.forget[::8], "retain": task.retain[::8], "extra": {}}
        return dataclasses.replace(task, **few)

    monkeypatch.setattr(setup, "load_task", load_some)
    knowing = AuditPlan(
        unlearned=("organism:never_knew",), control="organism:original@0", attacks=("logit_lens",)
    )
    with pytest.raises(ValueError, match="it knows them and is no control"):
        audit(knowing, tmp_path / "run")


def test_models_of_other_vocabularies_are_refused(tmp_path: Path) -> None:
    plan = AuditPlan(unlearned=("organism:never_knew@1",), attacks=("logit_lens",))
    with pytest.raises(ValueError, match="different vocabularies"):
        audit(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()
