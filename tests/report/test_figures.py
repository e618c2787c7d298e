"""Figures are pure functions of the report: the committed ones can be drawn again."""

import dataclasses
import html
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go
import plotly.io
import plotly.offline
import pytest
import torch

from mechunlearn import registry
from mechunlearn.analysis.records import Findings
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import able, hits
from mechunlearn.attacks.logit_lens import TokenLens
from mechunlearn.plots import Drawn, Figure, darkened, figures, write
from mechunlearn.plots.attribution import matrices, units
from mechunlearn.plots.comparison import comparison
from mechunlearn.plots.figure import always
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.recovery import recovery
from mechunlearn.plots.template import DARK, LOOKS
from mechunlearn.plots.tokens import tokens
from mechunlearn.plots.training import TrainingCard, training
from mechunlearn.plots.validation import validation_figures
from mechunlearn.records import typed
from mechunlearn.registry import FIGURES, find
from mechunlearn.studies.records import ValidationResult

COMMITTED = Path(__file__).parents[2] / "figures"


def by_key(report: Report) -> dict[str, go.Figure]:
    return {d.key: d.figure for d in figures(report)}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``figures/values.py``, which draws what is committed."""
    spec = importlib.util.spec_from_file_location("values", COMMITTED / "values.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(
    script: ModuleType, example_report: Report, example_figures: list[Drawn]
) -> dict[str, go.Figure]:
    """Everything that the committed results give; the audit's figures are not drawn twice."""

    def known(report: Report) -> list[Drawn]:
        assert report == example_report
        return example_figures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "figures", known)
        return script.drawn()


def of_rmu(report: Report) -> Report:
    """The same with one unlearned model instead of three: a quarter of the drawing."""
    return msgspec.structs.replace(report, rows=report.rows_of("rmu"))


def test_a_script_that_a_full_disk_cut_short_is_written_again(tmp_path: Path) -> None:
    whole, fig = plotly.offline.get_plotlyjs().encode(), go.Figure()
    for before in (None, whole[:1000], whole):
        if before is not None:
            (tmp_path / "plotly.min.js").write_bytes(before)
        write_figures({"one": fig}, tmp_path)
        assert (tmp_path / "plotly.min.js").read_bytes() == whole


@pytest.mark.ci
def test_committed_results_give_the_committed_values(
    script: ModuleType, drawn: dict[str, go.Figure]
) -> None:
    committed = json.loads((COMMITTED / "data" / "values.json").read_text(encoding="utf-8"))
    assert set(committed) == set(drawn)
    for key, fig in drawn.items():
        values = json.loads(json.dumps(script.values(fig)))
        assert values == committed[key], f"{key} differs; meant? python figures/values.py"


def test_only_looks_may_change_without_the_values(script: ModuleType) -> None:
    fig = go.Figure(go.Scatter(x=[1.23456789, None], y=np.array([2.0, 3.0]), name="a"))
    fig.update_layout(meta={"finding": "two points"})
    before = script.values(fig)
    assert before["traces"] == [{"type": "scatter", "x": [1.23457, None], "y": [2.0, 3.0]}]
    assert script.values(fig.update_traces(marker={"color": "red"}, name="b")) == before
    assert script.values(fig.update_traces(y=[2.0, 3.1])) != before


def test_a_committed_image_has_its_figure(drawn: dict[str, go.Figure]) -> None:
    images = {p.stem.removesuffix("-dark") for p in COMMITTED.glob("*.svg")}
    assert images
    assert images <= set(drawn)


def test_the_validation_follows_its_numbers() -> None:
    result = ValidationResult.load(COMMITTED / "data" / "validation.json")
    rates, table = validation_figures(result).values()
    series = iter(rates.data)
    for each in result.situations.values():
        gone = each.verdict.false_alarm_rate_n
        assert f"of {gone} that do not" in rates.layout.meta["finding"]
        sensitivity, false_alarms = next(series), next(series)
        every = (*each.attacks.values(), each.verdict)
        assert list(sensitivity.x) == [r.sensitivity for r in every]
        assert max(false_alarms.x) < min(1, max(sensitivity.x))
    counts = [int(x) for row in table.data[0].text for x in row if x != ""]
    assert sum(counts) == len(result.models)
    known = [s for s in result.models if s.truth == "gone" or (s.truth == "hidden" and s.n >= 240)]
    there = ("hidden", "intact", "openly", "partly")
    right = sum(
        s.category.startswith(there if s.truth == "hidden" or "taught" not in s.condition else
                              there[:2]) == (s.truth == "hidden")
        for s in known
    )  # fmt: skip
    assert f"In {right} of {len(known)} audits the verdict is right" in table.layout.meta["finding"]


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


@pytest.mark.ci
def test_numbers_reach_the_figures(example_report: Report, drawn: dict[str, go.Figure]) -> None:
    shares = [x for t in drawn["forest"].data if t.name == "one attack" for x in t.x]
    assert shares == [r.recovery for r in example_report.rows if r.recovery is not None]
    attacked = [x for t in drawn["comparison"].data if t.legendgroup == "attacked" for x in t.x]
    assert attacked == [r.value for r in example_report.rows]
    for findings in example_report.findings:
        points = [t for t in drawn[f"frontier-{findings.model}"].data if t.customdata is not None]
        best = {w for t in points if t.mode == "markers+text" for w in t.text}
        assert best == {s.attack.replace("_", " ") for s in findings.spent if s.pareto}
        n = len(points[0].x) + len(points[1].x if best else ())
        assert n >= len(findings.spent) / 2


def without_recovery(report: Report) -> Report:
    """The same where no attack brings anything back."""
    replace = msgspec.structs.replace
    rows = [replace(r, p_adjusted=1.0, difference_ci=(-0.1, 0.1)) for r in report.rows]

    def nothing(findings: Findings) -> Findings:
        spent = tuple(replace(s, pareto=False) for s in findings.spent)
        return replace(findings, spent=spent, cheapest_half=None)

    return replace(report, rows=tuple(rows), findings=tuple(map(nothing, report.findings)))


@pytest.mark.ci
def test_titles_follow_the_numbers(example_report: Report) -> None:
    report = without_recovery(example_report)
    drawn = by_key(of_rmu(report))
    for kind in ("comparison", "lens_by_method"):  # Of several models.
        drawn[kind] = find("figure", kind).of(report).figure
    titles = {k: f.layout.meta["finding"] for k, f in drawn.items()}
    assert titles["recovery-rmu"] == "No attack on rmu brings back more than its control"
    assert titles["forest"] == "No attack brings back more than its control"
    assert titles["comparison"].startswith("No attack brings back more than its control")
    assert titles["frontier-rmu"].startswith("No attack brings anything measurable back from rmu")
    assert titles["perturbation-rmu"].startswith(
        "No change of the prompt that spares retain accuracy moves rmu"
    )
    assert titles["lens_by_method"].count("no more than its control") == 3


@pytest.mark.ci
def test_the_letters_count_every_question(
    example_report: Report, drawn: dict[str, go.Figure]
) -> None:
    fig = drawn["letters"]
    models = [m for m in example_report.models if m.letters is not None]
    assert len(fig.data) == len(models)
    assert [note.text for note in fig.layout.annotations[: len(models)]] == [
        m.label for m in models
    ]
    for trace, model in zip(fig.data, models, strict=True):
        counts, measured = model.letters or (), model.sets["forget"]
        assert sum(map(sum, counts)) == measured.n
        right = sum(counts[i][i] for i in range(len(counts)))
        assert right / measured.n == pytest.approx(measured.value, abs=1e-5)
        assert [list(row[: len(counts)]) for row in trace.customdata] == [
            list(row[:-1]) for row in counts
        ]


@pytest.mark.ci
def test_figures_stand_in_the_order_of_the_registry(example_figures: list[Drawn]) -> None:
    shown = example_figures
    kinds = {name: find("figure", name) for name in FIGURES}
    assert [k.kind for k in kinds.values()] == list(FIGURES)
    order = [(d.model != "", d.model) for d in shown]
    assert order == sorted(order, key=lambda x: (x[0], ["", "rmu", "npo", "dpo"].index(x[1])))
    of_rmu = [d.kind for d in shown if d.model == "rmu"]
    assert of_rmu == [name for name in FIGURES if name in of_rmu]
    assert {d.kind for d in shown if d.overview} == {"recovery", "overlap", "frontier"}


@pytest.mark.ci
def test_a_figure_belongs_to_the_attacks_that_left_its_data(
    example_report: Report, example_figures: list[Drawn]
) -> None:
    attacks = {d.kind: d.attacks for d in example_figures if d.model == "rmu"}
    (findings, *others) = example_report.findings
    assert attacks["relearning"] == set(findings.courses)
    for kind, trace in (("lens", "lens"), ("projection", "projection"), ("pruning", "pruned")):
        left = {a for a, arms in findings.traces.items() if trace in arms.get("unlearned", {})}
        assert attacks[kind] == left != set()
    prompts = {r.attack for r in example_report.rows_of("rmu") if r.family == "prompt"}
    assert attacks["perturbation"] == prompts != set()
    assert attacks["recovery"] == frozenset()
    bare = msgspec.structs.replace(findings, traces={}, courses={}, union=None, spent=())
    without = msgspec.structs.replace(of_rmu(example_report), findings=(bare, *others))
    assert {d.kind for d in figures(without) if d.model == "rmu"} == {"recovery", "perturbation"}


@pytest.mark.ci
def test_attacks_of_any_name_are_drawn(example_report: Report, drawn: dict[str, go.Figure]) -> None:
    """An attack's own name decides nothing: what it left and its family do."""
    (row,) = (r for r in example_report.rows_of("rmu") if r.family == "read-out")
    text = msgspec.json.encode(of_rmu(example_report)).decode()
    renamed = msgspec.json.decode(text.replace(f'"{row.attack}"', '"mine"'), type=Report)
    lens = next(d for d in figures(renamed) if d.key == "lens-rmu")
    assert lens.attacks == {"mine"}
    assert lens.figure.data[0].x == drawn["lens-rmu"].data[0].x


@pytest.mark.ci
def test_a_new_figure_is_one_declaration(
    example_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shams(report: Report, unlearned: str) -> go.Figure:
        return go.Figure(go.Scatter(y=[r.sham for r in report.rows_of(unlearned)]))

    figure = Figure(kind="shams", explains="Shams.", draw=shams, needs=always)
    monkeypatch.setitem(registry._ADDED["figure"], "shams", (figure, 1))
    added = [name for name in registry.names("figure") if name not in FIGURES]
    monkeypatch.setattr("mechunlearn.plots.names", lambda kind: added)  # The others take seconds.
    shown = [d for d in figures(example_report) if d.kind == "shams"]
    assert [d.key for d in shown] == ["shams-rmu", "shams-npo", "shams-dpo"]
    assert list(shown[0].figure.data[0].y) == [r.sham for r in example_report.rows_of("rmu")]
    assert dataclasses.replace(figure, needs=None).allowed(example_report, "rmu") is False


def test_an_unlearning_run_is_drawn_from_its_card() -> None:
    card: dict[str, Any] = {
        "method": "rmu",
        "task": {"name": "organism", "chance": 0.25, "n": {}},
        "measured": [
            {"step": 0, "forget accuracy": 1.0, "retain accuracy": 1.0},
            {"step": 5, "forget accuracy": 0.25, "retain accuracy": 0.9},
        ],
        "terms": {"forget": [3.0, 1.0], "retain": [1.0, 1.0]},
    }
    fig = training(typed(card, TrainingCard, "the card"))
    assert fig.layout.meta["finding"] == ("rmu: forget accuracy 100% to 25%, retain 100% to 90%")
    assert [list(t.y) for t in fig.data] == [[1.0, 0.25], [1.0, 0.9], [3.0, 2.0], [1.0, 1.0]]
    del card["measured"]
    with pytest.raises(ValueError, match=r"the card: .*`measured`"):
        typed(card, TrainingCard, "the card")


@pytest.mark.ci
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


@pytest.mark.ci
def test_files_are_written(example_report: Report, tmp_path: Path) -> None:
    report = of_rmu(example_report)
    written = write(report, tmp_path)
    assert {p.suffix for p in written} == {".json", ".html"}
    assert all(p.stat().st_size for p in written)
    (dark,) = (
        p for p in write(report, tmp_path, kinds=["forest"], dark=True) if p.suffix == ".json"
    )
    assert dark.name == "forest-dark.json"
    with pytest.raises(ValueError, match="no figure 'rainbow'; it has: comparison, forest"):
        write(example_report, tmp_path, kinds=["rainbow"])


@pytest.mark.ci
@pytest.mark.parametrize("error", [RuntimeError("no chrome"), ValueError("no kaleido")])
def test_images_without_a_browser_say_what_to_do(
    example_report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from mechunlearn.errors import PrerequisiteError

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(plotly.io, "write_images", fail)
    with pytest.raises(PrerequisiteError, match="plotly_get_chrome"):
        write(example_report, tmp_path, images=True, kinds=["recovery"])


def test_bars_are_the_intervals_of_the_report(example_report: Report) -> None:
    """They follow the sources, as beside the figure; what has none, in older ones, has no bar."""
    replace = msgspec.structs.replace
    rows = tuple(
        replace(r, sham_ci=(0.0, r.sham + 0.125), control_ci=None) for r in example_report.rows
    )
    traces = {t.name: t for t in recovery(replace(example_report, rows=rows), "rmu").data}
    for name, known in (
        ("rmu, attacked", [(r.value - r.value_ci[0], r.value_ci[1] - r.value) for r in rows]),
        ("sham attack on it", [(r.sham, 0.125) for r in rows]),
    ):
        error = traces[name].error_x
        bars = list(zip(error.arrayminus, error.array, strict=True))
        assert np.allclose(bars, known[: len(bars)])
        assert "]" in traces[name].customdata[0][1]
    never = traces["never-knew model, attacked"]
    assert set(never.error_x.array) == {None}
    assert never.customdata[0][1] == ""


def test_the_comparison_counts_attacks_as_the_sentences_do(example_report: Report) -> None:
    title = comparison(example_report).layout.meta["finding"]
    rows = example_report.rows_of("rmu")
    assert f"{len(hits(rows))} of {len(able(rows))} from rmu" in title
    assert len(able(rows)) < len(rows)


def test_a_sham_is_drawn_as_the_sham(example_report: Report) -> None:
    """Without a control other levels may be higher; they are no sham."""
    replace = msgspec.structs.replace
    rows = tuple(replace(r, control=None, tier="C", sham=0.1) for r in example_report.rows)
    assert all(r.compared > 0.1 for r in rows)
    fig = comparison(replace(example_report, rows=rows))
    shams = [t for t in fig.data if t.name == "sham attack"]
    assert len(shams) == 3
    assert {x for trace in shams for x in trace.x} == {0.1}
