"""Figures are pure functions of the report: the committed ones can be drawn again."""

import html
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
import torch

from mechunlearn.analysis.records import Report
from mechunlearn.attacks.logit_lens import TokenLens
from mechunlearn.plots import darkened, figures, matrices, tokens, units, write
from mechunlearn.plots.template import DARK, LOOKS
from mechunlearn.plots.validation import confusion, validation

COMMITTED = Path(__file__).parents[2] / "figures"
RESULTS = {"validation.json", "inside.json"}
"""What was measured, beside what was drawn."""


def inside() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inside", COMMITTED / "inside.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validations() -> dict[str, go.Figure]:
    found = json.loads((COMMITTED / "validation.json").read_text())
    return {"validation-rates": validation(found), "validation-confusion": confusion(found)}


def insides() -> dict[str, go.Figure]:
    return inside().draw(json.loads((COMMITTED / "inside.json").read_text()))


@pytest.fixture(scope="module")
def drawn(example_report: Report) -> dict[str, go.Figure]:
    """Everything that the committed results give."""
    return figures(example_report) | validations() | insides()


def test_committed_figures_are_drawn_again_equal(drawn: dict[str, go.Figure]) -> None:
    kept = {p.stem for p in COMMITTED.glob("*.json") if p.name not in RESULTS}
    assert kept == set(drawn)
    for name in kept:
        assert drawn[name].to_json() + "\n" == (COMMITTED / f"{name}.json").read_text()


def test_a_committed_image_has_its_figure(drawn: dict[str, go.Figure]) -> None:
    images = {p.stem.removesuffix("-dark") for p in COMMITTED.glob("*.svg")}
    assert images
    assert images <= set(drawn)


def test_the_validation_follows_its_numbers() -> None:
    found = json.loads((COMMITTED / "validation.json").read_text())
    rates, table = validations().values()
    gone = found["verdict"]["false_alarm_rate_n"]
    assert f"of {gone} that have none" in rates.layout.meta["finding"]
    sensitivity, false_alarms = rates.data
    assert list(sensitivity.x) == [
        each["sensitivity"] for each in (*found["attacks"].values(), found["verdict"])
    ]
    assert max(false_alarms.x) < min(1, max(sensitivity.x))
    counts = [int(x) for row in table.data[0].text for x in row if x != ""]
    assert sum(counts) == len(found["models"])
    known = [r for r in found["models"] if r["truth"] != "open"]
    right = sum(
        r["category"].startswith(("hidden", "intact")) == (r["truth"] == "hidden") for r in known
    )
    assert f"right about {right} of {len(known)} models" in table.layout.meta["finding"]


def test_every_figure_says_what_it_shows(drawn: dict[str, go.Figure]) -> None:
    for name, fig in drawn.items():
        text = html.unescape(fig.layout.title.text)
        assert fig.layout.meta["finding"] in text.replace("<br>", " ").replace("</b> <b>", " ")
        assert "n = " in fig.layout.meta["caption"], name
        assert any(axis.title.text for axis in fig.select_xaxes())
        assert any(axis.title.text or axis.ticktext for axis in fig.select_yaxes())
        hovers = [t for t in fig.data if t.hoverinfo != "skip"]
        numbers = ("%{x", "%{y", "%{z", "%{customdata")
        assert hovers
        assert all(any(v in t.hovertemplate for v in numbers) for t in hovers), name


def test_numbers_reach_the_figures(example_report: Report) -> None:
    drawn = figures(example_report)
    rows = [r for r in example_report.rows if r["recovery"] is not None]
    shares = [x for t in drawn["forest"].data if t.name == "one attack" for x in t.x]
    assert shares == [r["recovery"] for r in rows]
    attacked = [x for t in drawn["comparison"].data if t.legendgroup == "attacked" for x in t.x]
    assert attacked == [r["accuracy"] for r in example_report.rows]
    for name, cost in ((n, d["cost"]) for n, d in example_report.details.items() if "cost" in d):
        points = [t for t in drawn[f"frontier-{name}"].data if t.customdata is not None]
        best = {w for t in points if t.mode == "markers+text" for w in t.text}
        assert best == {e["attack"].replace("_", " ") for e in cost["attacks"] if e["pareto"]}
        assert len(points[0].x) + len(points[1].x if best else ()) >= len(cost["attacks"]) / 2


def test_titles_follow_the_numbers(example_report: Report) -> None:
    data = json.loads(json.dumps(example_report.to_dict()))
    for row in data["rows"]:
        row |= {"p_holm": 1.0, "difference_ci": [-0.1, 0.1]}
    for detail in data["details"].values():
        if "cost" in detail:
            detail["cost"]["half"] = None
            for entry in detail["cost"]["attacks"]:
                entry["pareto"] = False
    found = {k: f.layout.meta["finding"] for k, f in figures(Report.from_dict(data)).items()}
    assert found["recovery-rmu"] == "No attack on rmu brings back more than its control"
    assert found["forest"] == "No attack brings back more than its control"
    assert found["comparison"].startswith("No attack brings back more than its control")
    assert found["frontier-rmu"].startswith("No attack brings anything measurable back from rmu")
    assert found["perturbation-rmu"].startswith(
        "No change of the prompt that spares retain accuracy moves rmu"
    )
    assert found["lens_by_method"].count("no more than its control") == 3


def test_the_letters_count_every_question(example_report: Report) -> None:
    fig = figures(example_report)["letters"]
    said = example_report.details["said"]
    assert len(fig.data) == len(said)
    for trace, (model, counts) in zip(fig.data, said.items(), strict=True):
        baseline = example_report.baselines[model]["forget"]
        assert sum(map(sum, counts)) == baseline["n"]
        right = sum(counts[i][i] for i in range(len(counts)))
        assert right / baseline["n"] == pytest.approx(baseline["accuracy"], abs=1e-5)
        assert [row[: len(counts)] for row in trace.customdata] == [row[:-1] for row in counts]


def test_a_dark_figure_differs_in_colours_alone(drawn: dict[str, go.Figure]) -> None:
    for fig in drawn.values():
        dark = darkened(fig)
        assert dark.layout.template.layout.paper_bgcolor == DARK["white"]
        text = dark.to_json()
        assert not any(f'"{light}"' in text for light in DARK)
        for light, colour in DARK.items():
            text = text.replace(f'"{colour}"', f'"{light}"')
        assert json.loads(text) == json.loads(plotly.io.from_json(fig.to_json()).to_json())


@pytest.mark.parametrize("colours", [{k: k for k in DARK}, DARK])
def test_roles_stand_out_from_the_page(colours: dict[str, str]) -> None:
    def luminance(colour: str) -> float:
        text = "#ffffff" if colour == "white" else colour
        rgb = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    page = luminance(colours["white"])
    for look in LOOKS.values():
        high, low = sorted((page, luminance(colours[look.colour])), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 2.9, look.label


def view(top: tuple[int, ...]) -> TokenLens:
    """Ranks at the last of two tokens."""
    ranks = np.array([[9, rank] for rank in top])
    return TokenLens(["a", "b"], " B", "resid_post", ranks, 1.0 / (1 + ranks), 50)


def test_the_token_view_says_where_the_answer_is_on_top() -> None:
    fig = tokens({"original": view((3, 0, 0)), "rmu": view((0, 2, 5)), "npo": view((0, 0, 0))})
    finding = fig.layout.meta["finding"]
    assert "in original it is on top from layer 1 on" in finding
    assert "in rmu it ends at rank 5, at best 0" in finding
    assert "in npo it is on top from layer 0 on" in finding
    with pytest.raises(ValueError, match="one prompt"):
        tokens({})


def test_attribution_names_the_most_important_place() -> None:
    scores = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 6.0]])
    for fig in (units({"rmu": scores}, "head", 4), units({"rmu": scores}, "neuron", 4, most=2)):
        assert "1.2 (75% of all) in rmu" in fig.layout.meta["finding"]
        assert max(v for row in fig.data[0].z for v in row) == 0.75
        assert list(fig.data[1].x) == [0.125, 0.875]
    fig = matrices({"rmu": {(0, "q"): torch.ones(2, 2), (1, "q"): 3.0}}, 4)
    assert "q of layer 1 (75% of all) in rmu" in fig.layout.meta["finding"]
    with pytest.raises(ValueError, match=r"must be \[layer, unit\]"):
        units({"rmu": torch.ones(3)}, "head", 4)
    with pytest.raises(ValueError, match="no scores"):
        units({}, "head", 4)


def test_roles_differ_without_colour() -> None:
    looks = [(x.marker, x.dash) for name, x in LOOKS.items() if name not in ("forget", "retain")]
    assert len(set(looks)) == len(looks)


def test_files_are_written(example_report: Report, tmp_path: Path) -> None:
    written = write(example_report, tmp_path)
    assert {p.suffix for p in written} == {".json", ".html"}
    assert all(p.stat().st_size for p in written)
    (dark,) = (
        p
        for p in write(example_report, tmp_path, kinds=["forest"], dark=True)
        if p.suffix == ".json"
    )
    assert dark.name == "forest-dark.json"
    with pytest.raises(ValueError, match="no figure 'rainbow'; it has: comparison, forest"):
        write(example_report, tmp_path, kinds=["rainbow"])


@pytest.mark.parametrize("error", [RuntimeError("no chrome"), ValueError("no kaleido")])
def test_images_without_a_browser_say_what_to_do(
    example_report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from mechunlearn.errors import PrerequisiteError

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(plotly.io, "write_images", fail)
    with pytest.raises(PrerequisiteError, match="plotly_get_chrome"):
        write(example_report, tmp_path, images=True)
