"""GCG from the command line: killed in the middle of its search, it ends with the same text."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [
    *(sys.executable, "-m", "mechunlearn.cli", "attack", "gcg"),
    *("--unlearned", "organism:never_knew", "--control", "none", "--json"),
    *("--set", "questions=12", "--set", "search.steps=40", "--set", "search.restarts=1"),
]


def started(out: Path) -> subprocess.Popen:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    )


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_text(tmp_path: Path) -> None:
    whole = json.loads(started(tmp_path / "whole").communicate()[0])
    first = started(tmp_path / "killed")
    searches = tmp_path / "killed" / "searches"
    while not list(searches.glob("*.json")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (kept,) = searches.glob("*.json")
    assert 0 < json.loads(kept.read_text())["state"]["step"] < 40
    resumed = json.loads(started(tmp_path / "killed").communicate()[0])
    assert resumed["rows"] == whole["rows"]
    assert resumed["rows"][0]["variant"]["text"]
    assert not list(searches.glob("*.json"))
