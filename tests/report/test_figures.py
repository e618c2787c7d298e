"""Figures are pure functions of the report: the committed ones can be drawn again."""

import json
from pathlib import Path

import pytest

from mechunlearn.plots import figures, write
from mechunlearn.plots.template import LOOKS
from mechunlearn.plots.validation import validation
from mechunlearn.types import Report

COMMITTED = Path(__file__).parents[2] / "figures"


def test_committed_figures_are_drawn_again_equal(example_report: Report) -> None:
    drawn = figures(example_report)
    kept = {p.name for p in COMMITTED.glob("*.json") if not p.name.startswith("validation")}
    assert {f"{name}.json" for name in drawn} == kept
    for name, fig in drawn.items():
        committed = json.loads((COMMITTED / f"{name}.json").read_text())
        assert json.loads(fig.to_json()) == committed


def test_the_validation_is_drawn_again_equal() -> None:
    found = json.loads((COMMITTED / "validation.json").read_text())
    drawn = validation(found)
    committed = json.loads((COMMITTED / "validation-rates.json").read_text())
    assert json.loads(drawn.to_json()) == committed
    gone = found["verdict"]["false_alarm_rate_n"]
    assert f"of {gone} that have none" in drawn.layout.meta["finding"]
    sensitivity, false_alarms = drawn.data
    assert list(sensitivity.x) == [
        rates["sensitivity"] for rates in (*found["attacks"].values(), found["verdict"])
    ]
    assert max(false_alarms.x) < min(1, max(sensitivity.x))


def test_every_figure_says_what_it_shows(example_report: Report) -> None:
    for fig in figures(example_report).values():
        assert fig.layout.meta["finding"] in fig.layout.title.text.replace("<br>", " ").replace(
            "</b> <b>", " "
        )
        assert "n = " in fig.layout.meta["caption"]
        assert any(axis.title.text for axis in fig.select_xaxes())
        assert any(axis.title.text or axis.ticktext for axis in fig.select_yaxes())


def test_titles_follow_the_numbers(example_report: Report) -> None:
    data = example_report.to_dict()
    data["rows"] = [{**r, "p_holm": 1.0} for r in data["rows"]]
    finding = figures(Report.from_dict(data))["recovery-rmu"].layout.meta["finding"]
    assert finding == "No attack on rmu brings back more than its control"


def test_roles_differ_without_colour() -> None:
    looks = [(x.marker, x.dash) for name, x in LOOKS.items() if name not in ("forget", "retain")]
    assert len(set(looks)) == len(looks)


def test_files_are_written(example_report: Report, tmp_path: Path) -> None:
    written = write(example_report, tmp_path)
    assert {p.suffix for p in written} == {".json", ".html"}
    assert all(p.stat().st_size for p in written)


@pytest.mark.parametrize("error", [RuntimeError("no chrome"), ValueError("no kaleido")])
def test_images_without_a_browser_say_what_to_do(
    example_report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import plotly.graph_objects as go

    from mechunlearn.errors import PrerequisiteError

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(go.Figure, "write_image", fail)
    with pytest.raises(PrerequisiteError, match="plotly_get_chrome"):
        write(example_report, tmp_path, images=True)
