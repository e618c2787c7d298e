"""README and guide keep their promises: commands exist, links lead somewhere, code runs."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import typer

from mechunlearn.cli import app
from mechunlearn.cli.guide import FOLDER, ORDER, pages
from mechunlearn.registry import TABLES

Done = CompletedProcess[str]
ROOT = Path(__file__).parents[2]
PAGES = {"README": ROOT / "README.md", **{name: FOLDER / f"{name}.md" for name in ORDER}}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    (page, line)
    for page, file in PAGES.items()
    for info, block in FENCE.findall(file.read_text())
    if not info
    for line in block.splitlines()
    if "mechunlearn " in line and not line.startswith(("git", "pip"))
]
RUN = ("list", "guide", "doctor", "plan", "report", "diff", "export", "figures", "task")
"""Commands that take seconds; those of the others are parsed only, but for the slow test below."""


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A command's name and values, or an error of the parser."""
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0].partition("#")[0])
    group: Any = typer.main.get_command(app)
    with group.make_context("mechunlearn", words[1:], resilient_parsing=False) as context:
        name, command, rest = group.resolve_command(context, context._protected_args + context.args)
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(context, rest)
        return name, command.make_context(name, list(rest), parent=context).params


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda x: x)
def test_commands_are_what_the_command_line_takes(page: str, line: str) -> None:
    if "--install-completion" in line:
        return
    name, _ = parsed(line)
    assert name


def test_the_parser_of_this_test_refuses() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed("mechunlearn audit --tsak mine.jsonl")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for target in (a or b for a, b in targets):
        if not target.startswith("http"):
            assert (PAGES[page].parent / target).exists(), target


def test_every_page_is_listed_and_short() -> None:
    assert set(ORDER) == {file.stem for file in FOLDER.glob("*.md")}
    readme = PAGES["README"].read_text()
    assert len(readme.splitlines()) <= 150
    for name in ORDER:
        assert f"mechunlearn/guide/{name}.md" in readme
    assert all(file.read_text().count("```") % 2 == 0 for file in PAGES.values())


def test_the_guide_is_shown(run: Callable[..., Done]) -> None:
    listed = run("guide")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(pages())
    assert run("guide", "runs").stdout == PAGES["runs"].read_text()
    wrong = run("guide", "verdict")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'verdicts'" in wrong.stderr


@pytest.mark.parametrize(
    ("page", "line"), [x for x in COMMANDS if x[1].split()[1] in RUN], ids=lambda x: x
)
def test_quick_commands_run(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, line: str
) -> None:
    """On the committed result as ``runs/RUN``; drawing whole pages and pictures is left out."""
    for name in ("RUN", "RUN1", "RUN2", "RUN3", "mine", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(ROOT / "figures" / "audit-organism" / "report.json", tmp_path / "runs" / name)
    for writer in ("write_page", "write_comparison"):
        monkeypatch.setattr(f"mechunlearn.report.{writer}", lambda report, path, *_: path)
    monkeypatch.setattr("mechunlearn.plots.write", lambda *_, **__: [])
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])[1:]
    if "smollm2-135m" in words or any("mmlu" in word for word in words):
        pytest.skip("needs a model or data from the Hub")
    done = run(*words)
    assert done.returncode == (1 if "--fail-if" in words else 0), done.stderr
    assert "Traceback" not in done.stderr


def blocks(slow: bool) -> list[Any]:
    """Pages with Python code, each with its blocks in order; ``skip`` needs what is not here."""
    found = []
    for page, file in PAGES.items():
        codes = [
            (info, code)
            for info, code in FENCE.findall(file.read_text())
            if info.startswith("python") and "skip" not in info
        ]
        quick = [code for info, code in codes if "slow" not in info]
        if page == "README":
            quick = []
        if slow and (rest := [code for _, code in codes]) != quick:
            found.append(pytest.param(page, rest, id=page))
        if not slow and quick:
            found.append(pytest.param(page, quick, id=page))
    return found


def executed(page: str, codes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mechunlearn.registry._ADDED", {kind: {} for kind in TABLES})
    names: dict[str, Any] = {}
    for code in codes:
        exec(compile(code, str(PAGES[page]), "exec", dont_inherit=True), names)


@pytest.mark.ci
@pytest.mark.parametrize(("page", "codes"), blocks(slow=False))
def test_code_runs(page: str, codes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    executed(page, codes, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "codes"), blocks(slow=True))
def test_slow_code_runs(
    page: str,
    codes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    executed(page, codes, monkeypatch)
    if page == "README":
        _, hidden, back, sham = re.findall(r"Score\([^:]*: ([01]\.\d+)", capsys.readouterr().out)
        assert float(hidden) < 0.35
        assert float(back) > 0.8
        assert float(sham) < 0.5
