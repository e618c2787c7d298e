"""An audit as logs of Inspect: ``inspect view`` shows every question beside its answers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from mechunlearn.analysis.answers import answer_rows
from mechunlearn.analysis.report import Report
from mechunlearn.errors import PrerequisiteError, refuse_existing
from mechunlearn.records import Plain, plain
from mechunlearn.types import LETTERS

Arm: TypeAlias = tuple[str, str, str]
"""Model, attack (empty: none), and ``baseline``, ``attacked`` or ``control``."""
Answer: TypeAlias = Mapping[str, Any]
"""A row of ``answer_rows``."""


def write_inspect_logs(report: Report, out: Path, *, replace: bool = True) -> list[Path]:
    """Write a log for every model, and for every model under every attack.

    A sample is a question, its score C or I; the accuracies of the question sets are the log's
    results, and what the report says of model and attack is its metadata.

    Args:
        out: Folder; open it with ``inspect view --log-dir FOLDER``.
        replace: Whether logs that exist are written over.

    Raises:
        PrerequisiteError: If Inspect is not installed.
        ValueError: If the report holds no questions.
        FileExistsError: If a log exists and is not to be replaced; nothing is written then.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as err:
        raise PrerequisiteError(
            "Inspect's logs need its package: pip install 'mechunlearn[inspect]'"
        ) from err
    answers: dict[Arm, list[Answer]] = defaultdict(list)
    for row in answer_rows(report):
        answers[str(row["model"]), str(row["attack"]), str(row["arm"])].append(row)
    if not answers:
        raise ValueError("the report holds no questions, so there is nothing to log")
    files = {arm: out / f"{'-'.join(filter(None, arm)).replace(' ', '_')}.json" for arm in answers}
    if not replace:
        refuse_existing(files.values())
    out.mkdir(parents=True, exist_ok=True)
    for arm, rows in answers.items():
        write_eval_log(_log(report, arm, rows), files[arm], format="json")
    return list(files.values())


def _log(report: Report, arm: Arm, rows: Sequence[Answer]) -> Any:
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalMetric,
        EvalResults,
        EvalScore,
        EvalSpec,
    )

    model, attack, which = arm
    samples = list(_samples(report, model, rows))
    by_set: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        by_set[row["set"]].append(bool(row["correct"]))
    scores = [
        EvalScore(
            name=name,
            scorer=name,
            scored_samples=len(right),
            metrics={"accuracy": EvalMetric(name="accuracy", value=sum(right) / len(right))},
        )
        for name, right in by_set.items()
    ]
    task = report.runcard.task.name
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=datetime.now(UTC).isoformat(),
            task=f"{task} under {attack}" if attack else task,
            model=f"mechunlearn/{model}",
            dataset=EvalDataset(
                name=task, samples=len(samples), sample_ids=[s.id for s in samples]
            ),
            config=EvalConfig(),
            packages={"mechunlearn": report.runcard.versions.get("mechunlearn", "")},
            metadata=_about(report, model, attack),
            tags=[which],
        ),
        results=EvalResults(
            total_samples=len(samples), completed_samples=len(samples), scores=scores
        ),
        samples=samples,
    )


def _samples(report: Report, model: str, rows: Sequence[Answer]) -> Iterator[Any]:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    kept = report.questions
    assert kept is not None
    for row in rows:
        choices = kept.sets[row["set"]].choices[row["index"]]
        said = "" if row["said"] is None else choices[row["said"]]
        letter = "" if row["said"] is None else LETTERS[row["said"]]
        target = LETTERS[row["right"]]
        if row["text"] is not None:  # Beside the right answer, whatever else was said.
            said = letter = row["text"]
            target = choices[row["right"]]
        yield EvalSample(
            id=f"{row['set']}-{row['index']}",
            epoch=1,
            input=row["stem"],
            choices=list(choices) if row["text"] is None else None,
            target=target,
            messages=[ChatMessageUser(content=row["stem"]), ChatMessageAssistant(content=said)],
            output=ModelOutput.from_content(f"mechunlearn/{model}", said),
            scores={
                row["set"]: Score(value=CORRECT if row["correct"] else INCORRECT, answer=letter)
            },
            metadata={"set": row["set"], "topic": row["topic"]},
        )


def _about(report: Report, model: str, attack: str) -> dict[str, Plain]:
    """The verdict on a model, and an attack's row."""
    about: dict[str, Plain] = {"command": report.runcard.command}
    entry = next(m for m in report.models if m.label == model)
    if entry.verdict is not None:
        about |= {"verdict": entry.verdict.category, "tier": entry.verdict.tier}
    row = next((r for r in report.rows if (r.model, r.attack) == (model, attack)), None)
    if row is not None:
        about |= {k: v for k, v in plain(row).items() if k not in ("contrasts", "variant")}
    return about
