"""``mechunlearn unlearn``: what it writes, what it refuses, and that a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from transformers import AutoModelForCausalLM

from mechunlearn.cli import main
from mechunlearn.models import fingerprint, load

Done = CompletedProcess[str]
SHORT = ("--set", "optimizer.steps=4", "--set", "batch=4", "--every", "2")
FEW = ("--task", "few.jsonl")


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command in this process: the same code without 8 seconds of imports."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["mechunlearn", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return CompletedProcess(arguments, code, out, err)

    return call


@pytest.mark.ci
def test_writes_checkpoint_adapter_card_and_figure(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    done = run("unlearn", "circuit_breakers", "--out", "cb", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card == json.loads((tmp_path / "cb" / "runcard.json").read_text())
    assert [m["step"] for m in card["measured"]] == [0, 2, 4]
    assert {len(v) for v in card["terms"].values()} == {4}
    assert card["machine"]["peak_memory"] > 1e8
    assert set(card["refusals"]) == {"forget", "retain"}
    assert card["perplexity"]["retain_text"]["value"] > 1
    assert "nothing was forgotten" in card["warnings"][0]
    AutoModelForCausalLM.from_pretrained(tmp_path / "cb")
    assert (tmp_path / "cb" / "adapter" / "adapter_config.json").is_file()
    assert json.loads((tmp_path / "cb" / "training.json").read_text())["data"]
    assert not (tmp_path / "cb.training").exists()
    again = run("unlearn", "circuit_breakers", "--out", "cb", *SHORT, "--resume")
    assert "finished already" in again.stderr


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rmu", "--preset", "paper", *FEW), "do not exist"),
        (("circuit_breakers", "--preset", "paper", *FEW), "do not exist"),
        (("npo", "--preset", "huge"), "unknown preset"),
        (("npo", "--set", "span=prompt"), "unknown span 'prompt'"),
        (("npo", "--set", "lora.targets=('gates',)", "--set", "lora.rank=2"), "did you mean"),
        (("dpo", "--set", "optimizer.accumulate=9", "--set", "batch=4", *FEW), "cannot be split"),
        (("rmu", "--set", "optimizer.lr=1e9", *SHORT, *FEW), "lower optimizer.lr"),
        (("npo", "--set", "optimizer.lr=50.0", *SHORT, *FEW), "lower optimizer.lr"),
        (("rmu", "--task", "no_retain.jsonl"), "no retain questions"),
        ((), "name one method"),
        (("rmu", "--all"), "name one method"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    run: Callable[..., Done], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    def item(role: str, i: int) -> str:
        question = {"set": role, "stem": f"{role} {i} ?", "choices": ["amber", "coral"]}
        return json.dumps(question | {"answer": i % 2, "source": str(i)})

    forget = [item("forget", i) for i in range(5)]
    (tmp_path / "no_retain.jsonl").write_text("\n".join(forget))
    few = forget + [item("retain", i) for i in range(5)]
    (tmp_path / "few.jsonl").write_text("\n".join(few))
    done = run("unlearn", *arguments, "--out", "x")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["few.jsonl", "no_retain.jsonl"]


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_weights(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    plan = ("unlearn", "npo", "--set", "optimizer.steps=30", "--set", "batch=8", "--every", "5")
    plan += ("--set", "optimizer.lr=1e-4")
    assert run(*plan, "--out", "whole").returncode == 0
    command = [sys.executable, "-m", "mechunlearn.cli", *plan, "--out", "part"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # As in the tests: other threads, other bits.
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    state = tmp_path / "part.training" / "state.safetensors"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "part").exists()
    assert "--resume" in run(*plan, "--out", "part").stderr
    done = run(*plan, "--out", "part", "--resume")
    assert done.returncode == 0, done.stderr
    whole, part = (json.loads((tmp_path / n / "runcard.json").read_text()) for n in WHOLE_PART)
    assert whole["terms"] == part["terms"]
    prints = [fingerprint(load(str(tmp_path / name))) for name in WHOLE_PART]
    assert prints[0] == prints[1]


WHOLE_PART = ("whole", "part")
