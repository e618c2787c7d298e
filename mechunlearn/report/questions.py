"""The report's questions as a table without JavaScript, and what letters models prefer."""

from collections.abc import Iterator
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.types import LETTERS

TITLES = {
    "forget": "forget, confirm fold",
    "forget_select": "forget, select fold",
    "retain": "retain, confirm fold",
    "retain_select": "retain, select fold",
}
"""Question sets as the page calls them."""


def tables(questions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each question set as a table: columns of answers, and a row for every question."""
    for key, asked in questions.get("sets", {}).items():
        answers = {model: said[key] for model, said in questions["models"].items()}
        for model, attacks in questions["attacked"].items():
            for attack, said in attacks.items():
                if key in said:
                    answers[f"{model}, {attack.replace('_', ' ')}"] = said[key]
        rows = zip(asked["stem"], asked["topic"], asked["choices"], asked["answer"], strict=True)
        yield {
            "title": TITLES[key],
            "n": len(asked["stem"]),
            "columns": list(answers),
            "rows": (
                {
                    "stem": stem,
                    "topic": topic,
                    "choices": list(zip(LETTERS, choices, strict=False)),
                    "answer": LETTERS[int(right)],
                    "said": [_mark(said[i], right) for said in answers.values()],
                }
                for i, (stem, topic, choices, right) in enumerate(rows)
            ),
        }


def _mark(said: str, right: str) -> str:
    """An answer's letter and whether it is right; empty where nothing was asked."""
    if said == ".":
        return ""
    letter = "tie" if said == "-" else LETTERS[int(said)]
    return f"{letter} {'✓' if said == right else '✗'}"


def letters(report: Report) -> dict[str, list[float]]:
    """Share of each answer letter among what a model says to the forget questions (confirm fold).

    Of every model where the report holds the answers, else of the unlearned models; empty where
    answers are no letters.
    """
    if report.runcard["task"]["scoring"] != "letter":
        return {}
    if not report.questions:
        return {
            model: detail["letter_share"]
            for model, detail in report.details.items()
            if isinstance(detail, dict) and "letter_share" in detail
        }
    asked = report.questions["sets"]["forget"]["choices"]
    most = max(map(len, asked))
    return {
        model: [said["forget"].count(str(i)) / len(asked) for i in range(most)]
        for model, said in report.questions["models"].items()
    }
