"""A report as a section of a model card, read back by the Hub's own library."""

from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from msgspec.structs import replace

from mechunlearn.analysis.report import Report
from mechunlearn.report.card import model_card


def test_the_hub_reads_it_back(example_report: Report) -> None:
    label = "rmu"
    one = replace(
        example_report,
        models=tuple(m for m in example_report.models if m.role != "unlearned" or m.label == label),
    )
    card = ModelCard(model_card(one))
    found = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    value = {r.attack: r.value for r in example_report.rows_of(label)}
    assert found["forget", "forget, under direction ablation"] == round(
        value["direction_ablation"], 4
    )
    assert found["retain", "retain, no attack"] == one.model(label).sets["retain"].value
    assert card.data.model_name == label
    assert "@software{mechunlearn" in card.text
    assert f"**Verdict: {one.model(label).verdict.category}** (control tier A" in card.text  # type: ignore[union-attr]


def test_labels_cannot_break_out(example_report: Report) -> None:
    bad = "a | b\n---\n<script>"
    models = tuple(
        replace(m, label=bad) if m.label == "rmu" else m
        for m in example_report.models
        if m.role != "unlearned" or m.label == "rmu"
    )
    rows = tuple(replace(r, model=bad) for r in example_report.rows_of("rmu"))
    findings = (replace(example_report.findings_of("rmu"), model=bad),)
    text = model_card(replace(example_report, models=models, rows=rows, findings=findings))
    name, _ = model_index_to_eval_results(ModelCard(text).data.to_dict()["model-index"])
    assert name == bad
    assert "<script>" not in text.partition("\n---\n\n")[2]
