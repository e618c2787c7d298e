"""Attacks that other packages bring, as pip installs them: found, named, used, kept by version."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mechunlearn import registry
from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.plugins import installed
from mechunlearn.registry import added_version, find, names

MODULE = """
from mechunlearn.attacks import Attack, Grid, NoSettings
from mechunlearn.types import NO_CHANGE, Change, Point

class Idle(Attack[NoSettings, None, Point]):
    family, access, needs = "prompt", frozenset({"prompts"}), frozenset()
    variant, presets = Point, {"organism": NoSettings()}

    def search(self, model, seen, reference, config):
        return Grid([Point(0)], lambda v: NO_CHANGE, lambda v, seed: Change("sham"))
"""
ENTRIES = """[mechunlearn.attacks]
idle = theirs_idle:Idle
broken = theirs_idle:Nothing
bare = builtins:int
gcg = theirs_idle:Idle
"""


def clear() -> None:
    installed.cache_clear()
    registry._brought.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in a folder that Python looks into, as pip leaves it."""
    folder = tmp_path / "site"
    about = folder / "theirs-1.2.dist-info"
    about.mkdir(parents=True)
    (folder / "theirs_idle.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(folder))
    clear()
    yield folder
    clear()


def test_nothing_is_there_without_the_package() -> None:
    assert "idle" not in names("attack")
    with pytest.raises(ValueError, match="unknown attack 'idle'"):
        find("attack", "idle")


def test_its_attacks_are_found(package: Path) -> None:
    assert "idle" in names("attack")
    assert find("attack", "idle") is find("attack", "idle")
    assert added_version("attack", "idle") == "theirs 1.2"
    assert names("attack").count("gcg") == 1
    assert type(find("attack", "gcg")).__module__.startswith("mechunlearn.")
    assert added_version("attack", "gcg") is None
    with pytest.raises(ValueError, match=r"'broken' of theirs 1\.2 cannot be imported"):
        find("attack", "broken")
    with pytest.raises(TypeError, match="'bare' lacks family"):
        find("attack", "bare")


def test_they_are_listed(package: Path, run: Callable[..., CompletedProcess[str]]) -> None:
    done = run("list")
    assert "  idle                  from theirs 1.2" in done.stdout
    assert "'gcg' of theirs 1.2 is not used" in done.stderr
    wrong = run("audit", "--attacks", "broken", "--dry-run")
    assert (wrong.returncode, len(wrong.stderr.strip().splitlines())) == (2, 1)


@pytest.mark.ci
def test_an_audit_uses_it(package: Path, tiny_plan: AuditPlan, tmp_path: Path) -> None:
    report = audit(dataclasses.replace(tiny_plan, attacks=("idle",), changes=()), tmp_path / "run")
    (row,) = report.rows
    assert (row.attack, row.family, row.difference) == ("idle", "prompt", 0)
    cells = "".join(f.read_text() for f in (tmp_path / "run" / "cells").iterdir())
    assert '"registered":"theirs 1.2"' in cells
