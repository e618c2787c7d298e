"""What the pages say, without a browser."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mechunlearn.analysis.records import Report
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
from mechunlearn.cli import app
from mechunlearn.report import render, render_comparison
from mechunlearn.report.headline import headline
from mechunlearn.report.page import VALIDATION

FIGURES = Path(__file__).parents[2] / "figures"


def test_every_committed_report_is_still_drawn(committed: dict[str, Report]) -> None:
    for report in committed.values():
        page = render(report)
        assert ("does not hold the answers" in page) == (not report.questions)
        assert len(page) < 6e6
        for row in report.rows:
            assert f'id="{row["unlearned"]}--{row["attack"]}"' in page


def test_three_numbers_carry_a_verdict(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/rmu-seed0"]
    best = max(report.rows, key=lambda r: r["difference"] if "relearn" not in r["attack"] else 0)
    before_after, recovered, control = headline(report, "rmu").numbers
    assert before_after.value == "100% → 25%"
    assert recovered.value == f"{best['recovery']:.0%}"
    assert best["attack"].replace("_", " ") in recovered.what
    assert control.value == f"{best['control_accuracy']:.0%}"


@pytest.mark.parametrize(
    ("category", "says"),
    [
        ("no evidence", "smallest gain that would have been found"),
        ("inconclusive", "smallest gain that would have been found"),
        ("intact", "difference that unlearning made"),
        ("intact, disguised", "once the answer letters are renamed"),
    ],
)
def test_the_numbers_follow_the_verdict(example_report: Report, category: str, says: str) -> None:
    data = json.loads(json.dumps(example_report.to_dict()))
    data["rows"] = [{**r, "p_holm": 1.0} for r in data["rows"]]
    data["details"]["rmu"] |= {
        "category": category,
        "relabelled": {"accuracy": 0.9, "p_value": 1e-9, "renaming": [1, 0, 2, 3]},
    }
    numbers = headline(Report.from_dict(data), "rmu").numbers
    assert len(numbers) == 3
    assert says in " ".join(n.what for n in numbers)


def test_a_report_without_complete_attacks_is_drawn(example_report: Report) -> None:
    data = example_report.to_dict() | {"rows": []}
    data["details"] = data["details"] | {"not_computed": [["rmu", "logit_lens"]]}
    page = render(Report.from_dict(data))
    assert "No attack is complete yet" in page
    assert "Not computed yet:</b> logit lens on rmu" in page


def test_attacks_that_were_not_validated_are_named(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/rmu-seed0"]
    page = render(report)
    known = json.loads(VALIDATION.read_text())["attacks"]
    unknown = [r["attack"] for r in report.rows if r["attack"] not in known]
    assert 0 < len(unknown) < len(report.rows)
    assert page.count("not validated: how often it errs is not known") == len(unknown)
    with pytest.raises(ValueError, match="no result of a validation: it has no added"):
        render(report, {"attacks": {}, "verdict": {}, "runcard": {}})
    other = json.loads(VALIDATION.read_text())
    other["attacks"] = dict.fromkeys((r["attack"] for r in report.rows), known["logit_lens"])
    assert "not validated" not in render(report, other)


def test_the_packaged_validation_is_the_committed_one() -> None:
    packaged, whole = (json.loads(f.read_text()) for f in (VALIDATION, FIGURES / "validation.json"))
    assert packaged["attacks"] == whole["attacks"]
    assert packaged["verdict"] == whole["verdict"]
    assert packaged["runcard"]["command"] == whole["runcard"]["command"]
    assert [c["command"] for c in packaged["added"]] == [c["command"] for c in whole["added"]]


def test_the_answers_in_a_report_are_those_that_were_counted(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    report = audit(tiny_plan, tmp_path / "run")
    kept = report.questions

    def accuracy(said: str, name: str) -> float:
        right = kept["sets"][name]["answer"]
        return sum(a == b for a, b in zip(said, right, strict=True)) / len(right)

    for model, sets in report.baselines.items():
        for name in ("forget", "retain"):
            found = accuracy(kept["models"][model][name], name)
            assert found == pytest.approx(sets[name]["accuracy"], abs=1e-5)
    assert report.rows
    for row in report.rows:
        said = kept["attacked"][row["unlearned"]][row["attack"]]
        assert accuracy(said["forget"], "forget") == pytest.approx(row["accuracy"], abs=1e-5)
        assert accuracy(said["retain"], "retain") == pytest.approx(row["retain_accuracy"], abs=1e-5)
        control = kept["control"][row["unlearned"]][row["attack"]]["forget"]
        assert accuracy(control, "forget") == pytest.approx(row["control_accuracy"], abs=1e-5)
        chosen = next(
            t
            for t in report.details[row["unlearned"]]["tried"][row["attack"]]
            if row["settings"].items() <= t.items()
        )
        asked = [
            (a, b)
            for a, b in zip(
                said["forget_select"], kept["sets"]["forget_select"]["answer"], strict=True
            )
            if a != "."
        ]
        share = sum(a == b for a, b in asked) / len(asked)
        assert share == pytest.approx(chosen["forget_select"], abs=1e-4)
    page = render(Report.from_dict(json.loads((tmp_path / "run" / "report.json").read_text())))
    assert kept["sets"]["forget"]["stem"][0] in page


def test_notebooks_show_verdict_and_rows(committed: dict[str, Report]) -> None:
    report = committed["audit-attacks/npo-seed0"]
    shown = report._repr_html_()
    assert report.details["npo"]["verdict"].partition("%")[0] in shown
    assert shown.count("<tr>") == len(report.rows) + 1
    data = report.to_dict() | {"rows": [{**report.rows[0], "unlearned": "<b>x</b>"}]}
    assert "<b>x</b>" not in Report.from_dict(data)._repr_html_()


def test_runs_stand_side_by_side(committed: dict[str, Report], tmp_path: Path) -> None:
    names = ("dpo-seed0", "dpo-seed0-relearning", "rmu-seed1")
    runs = {name: committed[f"audit-attacks/{name}"] for name in names}
    page = render_comparison(runs)
    for name, report in runs.items():
        assert name in page
        assert report.runcard["command"] in page
    first, second = ({r["attack"] for r in runs[name].rows} for name in names[:2])
    assert first != second
    assert page.count("not run") == len(first ^ second)  # And none for the run without this model.
    assert "plan: original" in page
    with pytest.raises(ValueError, match="two runs or more"):
        render_comparison({"one": runs["rmu-seed1"]})


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
    same = run(app, ["report", str(one), str(one), "--out", str(both)])
    assert isinstance(same.exception, ValueError)
    assert "the same run is given twice" in str(same.exception)


def test_hostile_names_stay_text(with_questions: Callable[..., Report]) -> None:
    text = json.dumps(with_questions(5, 13).to_dict()).replace('"rmu"', '"r<i>&amp;"')
    report = Report.from_dict(json.loads(text))
    page = render(report)
    assert "r<i>" not in page
    assert "r&lt;i&gt;&amp;amp;" in page
