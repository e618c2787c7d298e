"""``mechunlearn chat``: several models answer one text, also under what an audit's attack chose."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
import torch

from mechunlearn.bench import score
from mechunlearn.cli.chat import _of_runs
from mechunlearn.models import fingerprint
from mechunlearn.studies.finished import Finished

Done = CompletedProcess[str]


@pytest.mark.ci
def test_an_audit_opens_with_what_its_attacks_chose(finished: Path) -> None:
    run = Finished.open(finished)
    (label,) = run.labels
    model, task = run.model(label), run.setup.task
    before = fingerprint(model)
    asked = task.questions("forget", "confirm")
    for attack in run.setup.attacks:
        change = run.change(label, attack)
        kept = run.evidence.attack(label, attack).forget
        again = score(model, asked, task, change=change)
        assert again.values.tolist() == list(kept.values)
        assert again.predictions.tolist() == list(kept.said)
    assert fingerprint(model) == before
    with pytest.raises(ValueError, match="did you mean 'logit_lens'"):
        run.change(label, "logit_lense")
    with pytest.raises(ValueError, match="unknown model of this run"):
        run.model("nobody")


@pytest.mark.ci
def test_models_answer_side_by_side_in_a_pipe(
    run: Callable[..., Done], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("chat", "--attack", f"{finished}:relearning_disjoint", "--tokens", "3", "the", "a b")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["text", "before", "after", "after under relearning disjoint"]
    assert [line[0] for line in lines[1:]] == ["the", "a b"]
    assert all(len(line) == 4 for line in lines)
    assert "no chat template" in done.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n\n/new\na b\n/quit\nnever\n"))
    same = run("chat", "--attack", f"{finished}:relearning_disjoint", "--tokens", "3", "--json")
    found = [json.loads(line) for line in same.stdout.splitlines()]
    assert [[f["text"], *(" ".join(a.split()) for a in f["answers"].values())] for f in found] == (
        lines[1:]
    )


@pytest.mark.ci
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "run:logit_lens", "hi"), "only reads or asks otherwise"),
        (("--attack", "run:perturbation", "hi"), "did you mean 'perturbation_naive'"),
        (("--attack", "run:logit_lens:nobody", "hi"), "unknown model of this run"),
        (("--attack", "nothing:logit_lens", "hi"), "is no RUN:NAME"),
        (("--attack", "logit_lens", "hi"), "is no RUN:NAME"),
        (("--attack", ".:logit_lens", "hi"), "holds no cells"),
        (("--model", "organism:nobody", "hi"), "organism:nobody"),
        (("--model", "a=x", "--model", "a=y", "hi"), "with --model LABEL=MODEL"),
        (("--model", "x", "--model", "x", "hi"), "--model names 'x' twice"),
        (("--attack", "run:logit_lens", "--dtype", "float16", "hi"), "leave out --dtype"),
        (("--tokens", "0", "hi"), "--tokens"),
        (("--tokens", "5000", "hi"), "leaves no room"),
        (("--temperature", "-1", "hi"), "--temperature"),
        (("--plain", "--system", "Be brief.", "hi"), "no system turn"),
        ((" ",), "the text is empty"),
    ],
)
def test_wrong_invocations_are_one_line(
    run: Callable[..., Done],
    finished: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "run").symlink_to(finished)
    done = run("chat", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_nothing_stays_changed(finished: Path) -> None:
    before = torch.get_num_threads()
    Finished.open(finished).change("after", "perturbation_naive")
    assert torch.get_num_threads() == before


def test_runs_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Fake:
        setup = SimpleNamespace(original=SimpleNamespace(label="original"))
        parted = staticmethod(Finished.parted)

        def __init__(self, folder: Path) -> None:
            self.folder = folder

        @classmethod
        def open(cls, folder: Path, **place: object) -> "Fake":
            return cls(folder)

        def only_label(self, given: str) -> str:
            return "rmu"

        def change(self, label: str, name: str) -> str:
            return name

        def model(self, label: str) -> str:
            return f"{label} of {self.folder}"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mechunlearn.studies.finished.Finished", Fake)
    for parent in "abc":
        (tmp_path / parent / "run").mkdir(parents=True)
    given = [f"{parent}/run:logit_lens" for parent in "abc"]
    voices = _of_runs(given, True)
    assert len(voices) == 9
    for parent in "abc":
        for label in ("original", "rmu", "rmu under logit lens"):
            model, _ = voices[f"{label} ({parent}/run)"]
            assert str(model).endswith(f"of {parent}/run")
    same = _of_runs(["a/run:logit_lens", "b/../a/run:logit_lens"], True)
    assert list(same) == ["original", "rmu", "rmu under logit lens"]
