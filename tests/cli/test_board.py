"""``mechunlearn report RUNS... --board``."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from mechunlearn.analysis.report import Report
from mechunlearn.report.board import COLUMNS

COMMITTED = Path(__file__).parents[2] / "figures" / "audit-attacks"
NAMES = ("npo-seed0", "rmu-seed0")


def test_the_command_writes_and_prints_it(
    run: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    for name in NAMES:
        Report.load(COMMITTED / f"{name}.json").save(tmp_path / name / "report.json")
    done = run("report", *NAMES, "--board")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == [c.title for c in COLUMNS]
    assert [line[0] for line in lines[1:]] == ["rmu-seed0", "npo-seed0"]
    assert (tmp_path / "board.html").is_file()
    again = run("report", *NAMES, "--board")
    assert again.returncode == 2
    assert "board.html exists" in again.stderr
    data = json.loads(run("report", *NAMES[:1], "--board", "--out", "b.html", "--json").stdout)
    assert data[0]["model"] == "npo"
    wrong = run("report", NAMES[0], "--board", "--validation", "v.json")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
