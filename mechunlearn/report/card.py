"""A section for a model card on the Hugging Face Hub, with the Hub's metadata in front."""

from typing import Any

from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index
from huggingface_hub.utils._fixes import yaml_dump

from mechunlearn.analysis.columns import columns
from mechunlearn.analysis.records import Measured, Model
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import ROLES, TIERS, name, percent
from mechunlearn.report.summary import sentences
from mechunlearn.version import __version__

BIBTEX = f"""@software{{mechunlearn,
  title = {{mechunlearn: is an LLM's unlearned knowledge gone, or only hidden?}},
  author = {{{{The mechunlearn developers}}}},
  year = {{2026}},
  version = {{{__version__}}}
}}"""
"""As in ``CITATION.cff``."""


KINDS = ("forget", "retain")
"""Question sets that the metadata names."""


def model_card(report: Report) -> str:
    """Front matter with ``model-index``, and a section for each unlearned model.

    Raises:
        ValueError: If no attack is complete yet.
    """
    if not report.rows:
        raise ValueError("the report has no rows; run the same audit again to go on with it")
    index = [entry for m in report.unlearned for entry in _index(report, m)]
    front = yaml_dump({"tags": ["unlearning", "mechunlearn"], "model-index": index})
    parts = [_section(report, model) for model in report.unlearned]
    return f"---\n{front}---\n\n" + "\n".join(parts)


def _index(report: Report, model: Model) -> list[Any]:
    task = report.runcard.task.name

    def result(kind: str, what: str, value: float) -> EvalResult:
        return EvalResult(
            task_type="question-answering",
            task_name="Questions with choices",
            dataset_type=task,
            dataset_name=task,
            dataset_split=kind,
            metric_type="accuracy",
            metric_name=what,
            metric_value=round(value, 4),
        )

    found = [result(k, f"{k}, no attack", m.value) for k, m in model.sets.items() if k in KINDS]
    found += [
        result("forget", f"forget, under {name(r.attack)}", r.value)
        for r in report.rows_of(model.label)
    ]
    entries: list[Any] = eval_results_to_model_index(model.label, found)
    return entries


def _section(report: Report, model: Model) -> str:
    verdict, brief = model.verdict, columns("brief")
    lines = [f"## Is it gone, or only hidden? {_cell(model.label)}", ""]
    if verdict is not None:
        against = f"control tier {verdict.tier}: net of {TIERS[verdict.tier]}"
        lines += [f"**Verdict: {verdict.category}** ({against}).", ""]
        lines += [*sentences(report, model.label), ""]
    rows = report.rows_of(model.label)
    n = model.sets["forget"].n
    lines += [f"Forget questions (n = {n}), in %, with 95 % intervals:", ""]
    lines += ["| | " + " | ".join(c.title for c in brief) + " |", "|---" * (len(brief) + 1) + "|"]
    known = [(ROLES[m.role], m) for m in report.models if m.role in ROLES] + [("no attack", model)]
    for title, each in known:
        plain = {"value": _measured(each.sets["forget"]), "retain": _measured(each.sets["retain"])}
        lines.append(_line(title, [plain.get(c.key, "") for c in brief]))
    lines += [_line(name(row.attack), [c.text(row) for c in brief]) for row in rows]
    lines += ["", f"Made with `{report.runcard.command}`, mechunlearn "
              f"{report.runcard.versions.get('mechunlearn', '')}.", "", "```bibtex", BIBTEX, "```",
              ""]  # fmt: skip
    return "\n".join(lines)


def _measured(measured: Measured) -> str:
    return percent(measured.value, measured.value_ci)


def _line(title: str, cells: list[str]) -> str:
    return "| " + " | ".join(map(_cell, [title, *cells])) + " |"


def _cell(text: str) -> str:
    """Text that no label can break out of a cell or a line with."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
