"""Whatever goes wrong is one line and exit code 2; Ctrl-C is 130; nothing of others is replaced."""

import errno
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn

import pytest
import torch
from safetensors import SafetensorError

from mechunlearn.analysis.report import Report

Done = CompletedProcess[str]

BUG = "may be a bug in mechunlearn; the same command with --debug"
FAILURES: list[tuple[BaseException, str]] = [
    (RuntimeError("mat1 and mat2\ncannot be multiplied"), f"mat2 cannot be multiplied; this {BUG}"),
    (AttributeError("'NoneType' object has no attribute 'x'"), BUG),
    (KeyError("glow"), f"KeyError: 'glow'; this {BUG}"),
    (IndexError("list index out of range"), BUG),
    (AssertionError(), f"AssertionError; this {BUG}"),
    (ZeroDivisionError("division by zero"), BUG),
    (TypeError("unsupported operand"), BUG),
    (NotImplementedError(), BUG),
    (ValueError(), f"ValueError; this {BUG}"),
    (ValueError("shots must be 0 or more"), "error: shots must be 0 or more\n"),
    (ImportError("No module named 'ray'"), "a package is missing or broken"),
    (ModuleNotFoundError("No module named 'ray'"), "a package is missing or broken"),
    (SafetensorError("HeaderTooLarge"), "a .safetensors file is damaged"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
    (pickle.UnpicklingError("invalid load key"), "a file of weights is damaged"),
    (zipfile.BadZipFile("not a zip"), "a file of weights is damaged"),
    (struct.error("unpack requires 8 bytes"), "a file is damaged or cut short"),
    (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
    (MemoryError(), "there is not enough memory"),
    (torch.OutOfMemoryError("CUDA out of memory"), "the device's memory is full"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "can't decode byte 0xff"),
    (EOFError(), "ends too early"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), "Permission denied: 'x'"),
    (ConnectionError("the Hub does not answer"), "the Hub does not answer"),
    (Exception("x" * 5000), "..."),
]


@pytest.mark.parametrize(
    ("failure", "message"), FAILURES, ids=[type(f).__name__ for f, _ in FAILURES]
)
def test_whatever_is_raised_is_one_line(
    run: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    message: str,
) -> None:
    def fail() -> NoReturn:
        raise failure

    monkeypatch.setattr("mechunlearn.cli.doctor.examine", fail)
    done = run("doctor")
    assert done.returncode == 2
    assert message in done.stderr or isinstance(failure, EOFError)
    assert done.stderr.startswith("error: ") or isinstance(failure, EOFError)
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(done.stderr) < 1000
    assert done.stdout == ""
    for arguments in (("doctor", "--debug"), ("--debug", "doctor")):
        shown = run(*arguments)
        assert shown.returncode == 2
        assert "Traceback" in shown.stderr
        assert shown.stderr.strip().splitlines()[-1] == done.stderr.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bnech",), "No such command 'bnech'"),
        (("bench", "--modle", "x"), "No such option: --modle"),
        (("bench", "--model"), "requires an argument"),
        (("audit", "--seed", "-1"), "a seed is a whole number from 0"),
        (("audit", "--workers", "many"), "--workers"),
        (("unlearn", "rmu", "--every", "-1"), "--every"),
        (("unlearn",), "name one method"),
        (("unlearn", "rmu", "--all"), "name one method"),
        (("unlearn", "rmv"), "did you mean 'rmu'"),
        (("unlearn", "npo", "--set", "beta=0.0"), "beta must be more than 0"),
        (("unlearn", "dpo", "--set", "mix=(0.0,0.0,0.0)"), "mix is three shares"),
        (("unlearn", "rmu", "--out", "a_file"), "a_file"),
        (("attack", "logit_lens"), "Missing option '--unlearned'"),
        (("report",), "Missing argument"),
        (("report", "nothing"), "nothing cannot be read"),
        (("report", "folder"), "cannot be read"),
        (("report", "a_file"), "a_file"),
        (("report", "deep.json"), "deep.json"),
        (("figures", "binary"), "binary"),
        (("export", "a_file"), "a_file"),
        (("rerun", "deep.json"), "deep"),
        (("task", "binary"), "binary"),
        (("task", "folder"), "folder"),
        (("bench", "--task", "deep.jsonl"), "deep.jsonl, line 1 is no JSON"),
        (("bench", "--model", "folder"), "folder"),
        (("bench", "--model", "model.gguf"), "model.gguf"),
        (("audit", "--plan", "folder"), "folder"),
        (("audit", "--plan", "binary"), "binary is not UTF-8 text"),
        (("audit", "--out", "a_file", "--attacks", "logit_lens"), "a_file"),
        (("validate", "--add", "deep.json"), "deep.json"),
        (("organism",), ""),
    ],
)
def test_wrong_commands_are_one_line(
    run: Callable[..., Done], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a_file").write_text("kept")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "model.gguf").write_bytes(b"GGUF\x03")
    before = sorted(tmp_path.rglob("*"))
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if message:
        assert len(done.stderr.strip().splitlines()) == 1
    assert BUG not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "a_file").read_text() == "kept"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("doctor",), "stopped; nothing is kept; run it again"),
        (("audit", "--attacks", "logit_lens"), "every finished piece is kept"),
        (("unlearn", "rmu"), "with --resume goes on"),
    ],
)
def test_ctrl_c_says_what_is_kept(
    run: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    message: str,
) -> None:
    def stop(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("mechunlearn.cli.doctor.examine", stop)
    monkeypatch.setattr("mechunlearn.cli.audit.run", stop)
    monkeypatch.setattr("mechunlearn.unlearn.run.unlearn_to", stop)
    done = run(*command)
    assert done.returncode == 130
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_before_the_first_piece_says_that_nothing_is_kept(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("mechunlearn.analysis.analyse.audit", stop)
    command = ("audit", "--attacks", "logit_lens", "--out", str(tmp_path / "new"))
    assert "stopped; nothing is kept yet" in run(*command).stderr
    (tmp_path / "new").mkdir()
    assert f"every finished piece is kept in {tmp_path / 'new'}" in run(*command).stderr


@pytest.mark.ci
def test_pages_figures_and_tables_replace_nothing_unasked(
    run: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    example_report: Report,
) -> None:
    def page(report: Report, path: Path, known: object = None) -> Path:
        path.write_text("a page")
        return path

    monkeypatch.setattr("mechunlearn.report.write_page", page)  # Drawing it takes seconds.
    source = tmp_path / "run" / "report.json"
    source.parent.mkdir()
    example_report.save(source)
    text = source.read_bytes()
    (tmp_path / "letter.html").write_text("kept")
    done = run("report", "run", "--out", "letter.html")
    assert (done.returncode, (tmp_path / "letter.html").read_text()) == (2, "kept")
    assert "letter.html exists; nothing was written: --force replaces it" in done.stderr
    assert run("report", "run", "--out", "letter.html", "--force").returncode == 0
    assert (tmp_path / "letter.html").read_text() != "kept"
    for force in ((), ("--force",)):
        done = run("report", "run", "--out", "run/report.json", *force)
        assert done.returncode == 2
        assert "is what the page is drawn from" in done.stderr
    assert source.read_bytes() == text
    for _ in range(2):  # A run's own page is drawn again.
        assert run("report", "run").returncode == 0
    for command, folder, *kind in (("figures", "f", "--kind", "recovery"), ("export", "t")):
        assert run(command, "run", "--out", folder, *kind).returncode == 0
        files = sorted(p for p in (tmp_path / folder).iterdir() if p.name != "plotly.min.js")
        assert files
        for other in files[1:]:
            other.unlink()
        files[0].write_text("kept")
        done = run(command, "run", "--out", folder, *kind)
        assert done.returncode == 2
        assert f"{files[0].name} exists; nothing was written" in done.stderr
        assert files[0].read_text() == "kept"
        assert not any(other.exists() for other in files[1:])
        assert run(command, "run", "--out", folder, *kind, "--force").returncode == 0


def test_a_validation_is_not_written_over_something_else(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "validation.json").write_text(json.dumps({"a": 1}))
    done = run("validate", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "validation.json" in done.stderr
    assert json.loads((tmp_path / "validation.json").read_text()) == {"a": 1}
