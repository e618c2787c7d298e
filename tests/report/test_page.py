"""What the pages say, without a browser."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from mechunlearn.analysis.records import Category, Model, Renamed, Verdict
from mechunlearn.analysis.report import Report
from mechunlearn.cli import app
from mechunlearn.report import render, render_comparison
from mechunlearn.report.headline import headlines
from mechunlearn.report.page import VALIDATION
from mechunlearn.studies.records import ValidationResult

pytestmark = pytest.mark.ci
FIGURES = Path(__file__).parents[2] / "figures"


def judged(report: Report, verdict: Verdict) -> Report:
    """The report with another verdict on its unlearned models."""

    def change(model: Model) -> Model:
        return replace(model, verdict=verdict) if model.role == "unlearned" else model

    return replace(report, models=tuple(map(change, report.models)))


NEW = ("audit-attacks/rmu-seed0", "audit-smollm2/report")
"""With a control and without."""


@pytest.mark.parametrize("names", [NEW, pytest.param((), marks=pytest.mark.long, id="every")])
def test_every_committed_report_is_still_drawn(
    committed: dict[str, Report], names: tuple[str, ...]
) -> None:
    for report in [committed[name] for name in names or committed]:
        page = render(report)
        assert ("does not hold the answers" in page) == (report.questions is None)
        assert len(page) < 6.1e6  # Most of it is plotly.
        for row in report.rows:
            assert f'id="{row.model}--{row.attack}"' in page


def test_three_numbers_carry_a_verdict(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/rmu-seed0"]
    not_taught = [row for row in report.rows if row.family != "relearn"]
    best = max(not_taught, key=lambda row: row.difference)
    (headline,) = headlines(report)
    before_after, recovered, control = headline.numbers
    assert before_after.value == "100% → 25%"
    assert recovered.value == f"{best.recovery:.0%}"
    assert best.attack.replace("_", " ") in recovered.what
    assert control.value == f"{best.control:.0%}"


@pytest.mark.parametrize(
    ("category", "says"),
    [
        ("no evidence", "smallest gain that would have been found"),
        ("inconclusive", "smallest gain that would have been found"),
        ("intact", "difference that unlearning made"),
        ("intact, disguised", "once the answer letters are renamed"),
    ],
)
def test_the_numbers_follow_the_verdict(
    example_report: Report, category: Category, says: str
) -> None:
    renamed = Renamed(value=0.9, p=1e-9, renaming=(1, 0, 2, 3))
    report = replace(
        judged(example_report, Verdict(category=category, tier="A", text="")),
        rows=tuple(replace(row, p_adjusted=1.0) for row in example_report.rows),
        findings=tuple(replace(f, renamed=renamed) for f in example_report.findings),
    )
    for headline in headlines(report):
        assert len(headline.numbers) == 3
        assert says in " ".join(n.what for n in headline.numbers)


@pytest.mark.usefixtures("few_figures")
def test_every_row_and_verdict_states_its_tier(committed: dict[str, Report]) -> None:
    for name, tier, says in (
        ("audit-organism/report", "A", "a model that never knew the facts"),
        ("audit-smollm2/report", "C", "there is no model that never knew the facts"),
    ):
        report = committed[name]
        page = render(report)
        assert page.count(f"Control tier {tier}: net of") == len(report.unlearned)
        assert page.count(f'<span class="soft">tier {tier}</span>') == len(report.rows)
        assert says in page


@pytest.mark.usefixtures("few_figures")
def test_roles_are_said_where_labels_do_not_say_them(example_report: Report) -> None:
    page = render(example_report)
    assert "organism:original (original)" in page
    assert "organism:never_knew (never-knew)" in page
    assert "rmu (unlearned" not in page


def test_a_report_without_complete_attacks_is_drawn(example_report: Report) -> None:
    page = render(replace(example_report, rows=(), not_computed=(("rmu", "logit_lens"),)))
    assert "No attack is complete yet" in page
    assert "Not computed yet:</b> logit lens on rmu" in page


@pytest.mark.usefixtures("few_figures")
def test_an_attack_of_elsewhere_shows_its_family(example_report: Report) -> None:
    first, *others = (row for row in example_report.rows if not row.only_asks)
    foreign = replace(first, attack="somebody_s_own", evidence="benign data")
    findings = tuple(replace(f, union=None, spent=()) for f in example_report.findings)
    page = render(replace(example_report, rows=(foreign, *others), findings=findings))
    assert "not registered in this version of the package; its family is direction" in page
    assert "<dd>benign data</dd>" in page


@pytest.mark.usefixtures("few_figures")
def test_attacks_that_were_not_validated_are_named(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/rmu-seed0"]
    page = render(report)
    known = ValidationResult.load(VALIDATION)
    control = report.control_of(report.rows[0].model)
    rates = known.of(None if control is None else control.role, report.rows[0].tier)
    unknown = [row.attack for row in report.rows if row.attack not in rates.attacks]
    assert 0 < len(unknown) < len(report.rows)
    assert page.count("not validated: how often it errs is not known") == len(unknown)
    every = dict.fromkeys((row.attack for row in report.rows), rates.attacks["logit_lens"])
    situations = {name: replace(rates, attacks=every) for name in known.situations}
    assert "not validated" not in render(report, replace(known, situations=situations))


def test_the_packaged_validation_is_the_committed_one() -> None:
    files = (VALIDATION, FIGURES / "data" / "validation.json")
    packaged, whole = (ValidationResult.load(file) for file in files)
    assert packaged.situations == whole.situations
    assert packaged.runcard.command == whole.runcard.command
    assert [c.command for c in packaged.added] == [c.command for c in whole.added]


def test_the_answers_in_a_report_are_those_that_were_counted(finished: Path) -> None:
    report = Report.load(finished)
    questions = report.questions
    assert questions is not None

    def accuracy(marks: str, name: str) -> float:
        asked = zip(marks, questions.sets[name].right, strict=True)
        right = [mark == str(answer) for mark, answer in asked if mark != "."]
        return sum(right) / len(right)

    for model in report.models:
        for name in ("forget", "retain"):
            share = accuracy(questions.models[model.label][name], name)
            assert share == pytest.approx(model.sets[name].value, abs=1e-5)
    assert report.rows
    for row in report.rows:
        marks = questions.attacked[row.model][row.attack]
        assert accuracy(marks["forget"], "forget") == pytest.approx(row.value, abs=1e-5)
        assert accuracy(marks["retain"], "retain") == pytest.approx(row.retain, abs=1e-5)
        control = questions.control[row.model][row.attack]["forget"]
        assert accuracy(control, "forget") == pytest.approx(row.control, abs=1e-5)
        tried = report.findings_of(row.model).tried[row.attack]
        chosen = next(t for t in tried if t.variant == row.variant)
        share = accuracy(marks["forget_select"], "forget_select")
        assert share == pytest.approx(chosen.forget, abs=1e-4)
    page = render(report)
    assert questions.sets["forget"].stem[0] in page


def test_notebooks_show_verdict_and_rows(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/npo-seed0"]
    html = report._repr_html_()
    verdict = report.model("npo").verdict
    assert verdict is not None
    assert verdict.text.partition("%")[0] in html
    assert "(control tier A)" in html
    assert html.count("<tr>") == len(report.rows) + 1
    hostile = replace(report, rows=(replace(report.rows[0], model="<b>x</b>"),))
    assert "<b>x</b>" not in hostile._repr_html_()


def test_runs_stand_side_by_side(committed: dict[str, Report]) -> None:
    names = ("dpo-seed0", "dpo-seed0-relearning", "rmu-seed1")
    runs = {name: committed[f"audit-attacks/{name}"] for name in names}
    page = render_comparison(runs)
    for name, report in runs.items():
        assert name in page
        assert report.runcard.command in page
    first, second = ({row.attack for row in runs[name].rows} for name in names[:2])
    assert first != second
    assert page.count("not run") == len(first ^ second)  # And none for the run without this model.
    assert "plan: original" in page
    assert page.count("weights: original") == 1  # Though they go by two labels.
    assert "machine: threads" not in page
    with pytest.raises(ValueError, match="two runs or more"):
        render_comparison({"one": runs["rmu-seed1"]})


def test_the_number_of_threads_is_named_where_it_differs(example_report: Report) -> None:
    card = example_report.runcard
    card = replace(card, machine=replace(card.machine, threads=card.machine.threads + 1))
    page = render_comparison({"a": example_report, "b": replace(example_report, runcard=card)})
    assert '<th scope="row">machine: threads</th><td class="words">1</td>' in page


def test_the_command_draws_one_page_or_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: bool(shown.append(uri)) or True)
    one, two = (FIGURES / "audit-attacks" / f"rmu-seed{i}.json" for i in (0, 1))
    run = CliRunner().invoke
    page, both = tmp_path / "one.html", tmp_path / "both.html"
    found = run(app, ["report", str(one), "--out", str(page), "--open", "--json"])
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)["rows"]) == len(json.loads(one.read_text())["rows"])
    assert shown == [page.as_uri()]
    assert run(app, ["report", str(one), str(two), "--out", str(both)]).exit_code == 0
    assert "rmu-seed1" in both.read_text()
    again = run(app, ["report", str(one), str(two), "--out", str(both)])
    assert "--force" in str(again.exception)
    same = run(app, ["report", str(one), str(one), "--out", str(both), "--force"])
    assert isinstance(same.exception, ValueError)
    assert "the same run is given twice" in str(same.exception)


def test_hostile_names_stay_text(with_questions: Callable[..., Report]) -> None:
    text = msgspec.json.encode(with_questions(5, 13)).decode().replace('"rmu"', '"r<i>&amp;"')
    page = render(msgspec.json.decode(text, type=Report))
    assert "r<i>" not in page
    assert "r&lt;i&gt;&amp;amp;" in page
