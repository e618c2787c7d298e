"""The store: whole files only, one owner at a time, and nobody else's folder."""

import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from mechunlearn.audit.cells import Cell
from mechunlearn.audit.records import SCHEMA, TIE, Answers, CeilingResult
from mechunlearn.audit.store import Store
from mechunlearn.environment import PARTIAL
from mechunlearn.errors import PrerequisiteError

PLAN = {"attacks": ["logit_lens"], "seed": 0}
ANSWERS = Answers(values=(0.0, 0.0, 1.0), said=(0, TIE, 3), margins=(0.5, 0.0, 2.25))
RESULT = CeilingResult(forget=ANSWERS, traces={"lens": {"places": [1, 2.5]}})
CELL = Cell("baseline", "original", "", {"model": "abc", "task": "t"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_cell_comes_back_and_another_one_does_not(folder: Path) -> None:
    with Store(folder).opened(PLAN, 1) as store:
        assert store.read(CELL) is None
        written = store.write(CELL, RESULT, 1.5)
    assert Store(folder).read(CELL) == written
    assert written.result == RESULT
    for other in ({"model": "abd", "task": "t"}, {"model": "abc", "task": "u"}):
        assert Store(folder).read(Cell("baseline", "original", "", other)) is None
    assert Store(folder).read(Cell("attack", "original", "", CELL.inputs)) is None


def test_the_key_depends_on_the_inputs_and_not_on_their_order_or_the_name() -> None:
    turned = Cell("baseline", "twin", "", {"task": "t", "model": "abc"})
    assert turned.key == CELL.key


@pytest.mark.parametrize(
    "content", ["", '{"schema": 1, "resu', "[]", '{"schema": 1, "result": {}}']
)
def test_half_a_file_or_another_schema_is_no_result(folder: Path, content: str) -> None:
    with Store(folder).opened(PLAN, 1) as store:
        store.write(CELL, RESULT, 1.5)
        (file,) = (folder / "cells").iterdir()
        file.write_text(content)
        assert store.read(CELL) is None


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('"values":[0.0,0.0,1.0]', '"values":[1.0,1.0,1.0]'),
        ('"seconds":1.5', '"seconds":2.5'),
        ('"task":"t"', '"task":"u"'),
        ('"said":[0,-1,3]', '"said":[0,-1,"3"]'),
        ('"kind":"baseline"', '"kind":"baselines"'),
    ],
)
def test_an_edited_cell_is_no_result_and_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], was: str, becomes: str
) -> None:
    with Store(folder).opened(PLAN, 1) as store:
        store.write(CELL, RESULT, 1.5)
        (file,) = (folder / "cells").iterdir()
        text = file.read_text()
        assert was in text
        file.write_text(text.replace(was, becomes))
        assert store.read(CELL) is None
    assert "it is computed again" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "2"}', '{"plan": {}}'])
def test_a_damaged_store_says_so(folder: Path, content: str) -> None:
    with Store(folder).opened(PLAN, 1):
        pass
    (folder / "store.json").write_text(content)
    with pytest.raises(ValueError, match="the file is damaged and nothing was changed"):
        Store(folder).check(PLAN)


def test_a_full_disk_leaves_no_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(folder).opened(PLAN, 1) as store:

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.write(CELL, RESULT, 1.5)
        assert list((folder / "cells").iterdir()) == []


def test_other_folders_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="holds something else; nothing was overwritten"):
        Store(folder).check(PLAN)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]


def test_other_plans_and_schemas_are_refused_and_named(folder: Path) -> None:
    with Store(folder).opened(PLAN, 1):
        pass
    with pytest.raises(ValueError, match="a run with other seed"):
        Store(folder).check(PLAN | {"seed": 1})
    data = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(data | {"schema": SCHEMA + 1}))
    with pytest.raises(ValueError, match=f"store schema {SCHEMA + 1}, and this version reads"):
        Store(folder).check(PLAN)


def test_what_a_killed_start_leaves_is_cleared_away(folder: Path) -> None:
    (folder / "cells").mkdir(parents=True)
    (folder / f"{PARTIAL}abc").write_text("{")
    (folder / "lock").touch()
    (folder / "cells").rmdir()
    with Store(folder).opened(PLAN, 1):
        assert sorted(p.name for p in folder.iterdir()) == ["lock", "store.json"]


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    with (
        pytest.raises(PrerequisiteError, match="cannot be written"),
        Store(Path("/proc/mechunlearn")).opened(PLAN, 1),
    ):
        pass


def held(folder: Path, ready: Event) -> None:
    """Another process that works on the folder."""
    with Store(folder).opened(PLAN, 1):
        ready.set()
        time.sleep(60)


def test_one_owner_at_a_time_and_a_dead_one_is_none(folder: Path) -> None:
    process = multiprocessing.get_context("fork")  # Without seconds of imports.
    ready = process.Event()
    owner = process.Process(target=held, args=(folder, ready))
    owner.start()
    assert ready.wait(30)
    with (
        pytest.raises(ValueError, match="another process is working on"),
        Store(folder).opened(PLAN, 1),
    ):
        pass
    owner.kill()
    owner.join()
    with Store(folder).opened(PLAN, 1) as store:
        store.write(CELL, RESULT, 1.5)
