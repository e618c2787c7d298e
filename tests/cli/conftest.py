"""A command as people run it, in this process."""

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mechunlearn import cli


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., CompletedProcess[str]]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mechunlearn", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return CompletedProcess(arguments, int(stopped.value.code or 0), *capsys.readouterr())

    return call
