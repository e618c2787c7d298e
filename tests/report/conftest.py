"""Reports and a real browser for the page's tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mechunlearn.analysis.answers import SETS
from mechunlearn.analysis.records import Questions, QuestionSet, Row
from mechunlearn.analysis.report import Report
from mechunlearn.plots import Drawn, figures

FIGURES = Path(__file__).parents[2] / "figures"
BROWSER = next((b for b in map(shutil.which, ("chromium", "google-chrome")) if b), None)
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>"
"""Text that runs, where a page does not take it for text."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs: pip install -e '.[dev]'")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    with sync_api.sync_playwright() as tools:
        options = ["--no-sandbox", "--disable-gpu"]
        started = tools.chromium.launch(executable_path=BROWSER, args=options)
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's source; skips where ``AXE_CORE`` does not name it."""
    if not (path := os.environ.get("AXE_CORE")):
        pytest.skip("AXE_CORE is not set to axe-core's axe.min.js; get it with: npm pack axe-core")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def committed() -> dict[str, Report]:
    """Every committed report, of older versions too, by its file's name."""
    files = FIGURES.glob("audit-*/*.json")
    return {f"{f.parent.name}/{f.stem}": Report.load(f) for f in files}


@pytest.fixture(scope="session")
def example_figures(example_report: Report) -> list[Drawn]:
    """All figures of the committed result, for whoever only reads them: seconds of drawing."""
    return figures(example_report)


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages show one kind of figure alone, for tests of their words: all take seconds."""
    monkeypatch.setattr("mechunlearn.plots.names", lambda kind: ("recovery",))


@pytest.fixture(scope="session")
def with_questions(committed: dict[str, Report]) -> Callable[..., Report]:
    """A factory of reports that hold ``n`` questions a set and ``attacks`` attacks.

    Rows, curves and settings are a committed audit's, repeated; the answers are drawn at random.
    The first forget question is hostile text.
    """

    def make(n: int, attacks: int, words: int = 8) -> Report:
        report = committed["audit-attacks/rmu-seed0"]
        known, findings = report.rows, report.findings_of("rmu")
        rows = tuple(_named(known[i % len(known)], i, len(known)) for i in range(attacks))
        tried = {row.attack: findings.tried[known[i % len(known)].attack]
                 for i, row in enumerate(rows)}  # fmt: skip
        return replace(
            report,
            rows=rows,
            findings=(replace(findings, tried=tried),),
            questions=_questions(report, n, [row.attack for row in rows], words),
        )

    return make


def _named(row: Row, i: int, known: int) -> Row:
    return row if i < known else replace(row, attack=f"own_attack_{i}")


def _questions(report: Report, n: int, attacks: list[str], words: int) -> Questions:
    random = np.random.default_rng(0)

    def answers() -> str:
        return "".join(map(str, random.integers(0, 4, n)))

    def question_set(name: str) -> QuestionSet:
        hostile = name == "forget"
        stems = [f"{name} question {i} " + "about a mineral " * (words // 3) for i in range(n)]
        choices = [[f"choice {k} of {i}" for k in range(4)] for i in range(n)]
        topics = [f"topic {i % 7}" for i in range(n)]
        if hostile:
            stems[0], choices[0][1], topics[0] = f"Is this {HOSTILE} text?", HOSTILE, HOSTILE
        return QuestionSet(
            stem=tuple(stems),
            topic=tuple(topics),
            choices=tuple(map(tuple, choices)),
            right=tuple(map(int, answers())),
        )

    sets = {name: question_set(name) for name in SETS}
    original = {name: "".join(map(str, asked.right)) for name, asked in sets.items()}
    unlearned = {name: answers() for name in sets} | {"forget": "3" * n}
    asked_under = ("forget", "forget_select", "retain")
    return Questions(
        sets=sets,
        models={report.original.label: original, "rmu": unlearned},
        attacked={"rmu": {a: {name: answers() for name in asked_under} for a in attacks}},
        control={"rmu": {a: {"forget": answers()} for a in attacks}},
    )
