"""The command line: results on stdout only as JSON, one line and exit code 2 for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mechunlearn.models import ORGANISMS


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mechunlearn.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


def test_help_and_list_need_no_torch() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "audit" in done.stdout
    names = json.loads(run("list", "--json").stdout)
    assert set(names["attacks"]) >= {"direction_ablation", "logit_lens"}


def test_bench_prints_json_alone() -> None:
    done = run("bench", "--model", "organism:never_knew", "--json")
    found = json.loads(done.stdout)
    assert found["retain"]["accuracy"] >= 0.95
    low, high = found["forget"]["accuracy_ci"]
    assert low <= 0.25 <= high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit", "--original", "organism:orignal"), "did you mean"),
        (("audit", "--unlearned", "./nowhere"), "there is no folder"),
        (("audit", "--task", "capitels"), "did you mean 'capitals'"),
        (("audit", "--attacks", "logit_lense"), "did you mean 'logit_lens'"),
        (("audit", "--method", "rmv"), "did you mean 'rmu'"),
        (("unlearn", "rmu", "--out", "x", "--set", "alhpa=1"), "did you mean 'alpha'"),
        (("unlearn", "rmu", "--out", "x", "--preset", "paper"), "do not exist"),
        (("report", "nowhere"), "no report.json"),
        (("audit", "--task", "one_choice.jsonl"), "has 1 choice"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    item = {"set": "forget", "stem": "a", "choices": ["b"], "answer": 0}
    (tmp_path / "one_choice.jsonl").write_text(json.dumps(item))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["one_choice.jsonl"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    for command in (("audit",), ("unlearn", "rmu")):
        done = run(*command, "--out", str(tmp_path))
        assert done.returncode == 2
        assert "overwritten" in done.stderr or "nothing was written" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    for file in (ORGANISMS / "original@0").iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data[:9999] if file.suffix == ".safetensors" else data)
    done = run("bench", "--model", str(tmp_path))
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
