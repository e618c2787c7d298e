"""The pages of results hold what the committed data say, and name nothing that is not committed."""

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn.audit.plan_file import plan_from_toml
from mechunlearn.models import named_models

FIGURES = Path(__file__).parents[2] / "figures"
PAGES = sorted(FIGURES.glob("*.md"))


@pytest.fixture
def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The tables that a script of ``figures`` prints, run there without seconds of imports."""
    monkeypatch.chdir(FIGURES)
    monkeypatch.syspath_prepend(FIGURES)  # Scripts import each other.

    def run(*command: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [*command])
        before = set(sys.modules)
        runpy.run_path(command[0], run_name="__main__")
        for name in {f.stem for f in FIGURES.glob("*.py")} & (set(sys.modules) - before):
            del sys.modules[name]
        return capsys.readouterr().out.strip().split("\n\n")

    return run


@pytest.mark.ci
@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("README.md", ["replication.py"]),
        ("attacks.md", ["attacks.py"]),
        ("chat.md", ["chat.py"]),
        ("chat.md", ["chat_attacks.py"]),
        ("chat.md", ["validation.py", "--chat"]),
    ],
)
def test_pages_have_the_tables_that_their_data_give(
    printed: Callable[..., list[str]], page: str, command: list[str]
) -> None:
    text = (FIGURES / page).read_text(encoding="utf-8")
    tables = printed(*command)
    assert tables[0].startswith("|")
    for table in tables:
        assert table in text, f"{page} lacks what {' '.join(command)} prints now"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_everything_that_a_page_names_is_committed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)#:]+)[^)]*\)|`(data/[\w/.-]+)`|`(\w+\.(?:py|md))`", text)
    for name in {next(filter(None, found)) for found in named} - {"https"}:
        assert (FIGURES / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("file", sorted(FIGURES.glob("plans/*.toml")), ids=lambda file: file.stem)
def test_kept_plans_can_be_run(file: Path) -> None:
    plan = plan_from_toml(file.read_text(encoding="utf-8"))
    assert plan.original in named_models()
    assert plan.methods
    assert plan.control_models
