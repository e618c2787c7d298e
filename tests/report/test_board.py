"""Many audits on one page: rows, order, and sorting in a browser."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mechunlearn.analysis.report import Report
from mechunlearn.report import render_board, write_board
from mechunlearn.report.board import COLUMNS, SORTED_BY, standings

NAMES = ("npo-seed0", "rmu-seed0", "quantization-seed0", "dpo-seed0")


@pytest.fixture(scope="module")
def runs(committed: dict[str, Report]) -> dict[str, Report]:
    return {name: committed[f"audit-attacks/{name}"] for name in NAMES}


def test_each_model_has_a_row_and_the_most_comes_first(runs: dict[str, Report]) -> None:
    board = standings(runs)
    assert len(board) == sum(len(report.unlearned) for report in runs.values())
    found = [s.best.recovery for s in board if s.best and s.best.recovery is not None]
    assert found == sorted(found, reverse=True)
    first = board[0]
    report = runs[first.run]
    assert first.after == report.model(first.model).sets["forget"].value
    assert first.before == report.original.sets["forget"].value
    assert first.best in report.rows_of(first.model)
    assert all(len(s.cells) == len(COLUMNS) for s in board)
    assert COLUMNS[SORTED_BY].title == "recovery %"


def test_an_unfinished_run_stays_last_and_says_so(runs: dict[str, Report]) -> None:
    report = runs["rmu-seed0"]
    models = tuple(replace(m, verdict=None) for m in report.models)
    bare = replace(report, models=models, rows=())
    board = standings({"bare": bare, **runs})
    assert (board[-1].run, board[-1].verdict, board[-1].best) == ("bare", None, None)
    assert [c.text for c in board[-1].cells][2:5] == ["not judged yet", "–", "–"]
    assert "not judged yet" in render_board({"bare": bare})


def test_no_attack_that_could_show_it_is_not_none_of_none(runs: dict[str, Report]) -> None:
    report = runs["rmu-seed0"]
    asks = tuple(replace(row, only_asks=True) for row in report.rows)
    (standing,) = standings({"asks": replace(report, rows=asks)})
    cell = standing.cells[[c.title for c in COLUMNS].index("found by")]
    assert (cell.text, cell.value, cell.note) == ("–", None, "no attack could show it")


def test_names_are_text(runs: dict[str, Report]) -> None:
    page = render_board({"<script>alert(1)</script>": runs["rmu-seed0"]})
    assert "<script>alert" not in page


@pytest.mark.ci
def test_titles_sort(browser: Any, runs: dict[str, Report], tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.set_default_timeout(120_000)
    page.goto(write_board(runs, tmp_path / "board.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def column(title: str) -> list[str]:
        at = [c.title for c in COLUMNS].index(title)
        rows = "[...document.querySelectorAll('.board tbody tr')]"
        return page.evaluate(f"{rows}.map((row) => row.cells[{at}].dataset.value)")

    values = [float(v) for v in column("recovery %") if v]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name="recovery %").click()
    assert [float(v) for v in column("recovery %") if v] == sorted(values)
    page.get_by_role("button", name="model").click()
    assert column("model") == sorted(column("model"))
    assert page.locator("[aria-sort]").count() == 1
    assert page.locator("[aria-sort=ascending]").inner_text().strip() == "model"
    page.close()
