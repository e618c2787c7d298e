"""An audit as tables for pandas or polars: its rows, its baselines, and every single answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.audit.store import read_json

FORGET = ("attacked", "control", "original")
"""Names under which cells keep answers to the forget questions of the confirm fold."""


def write_parquet(report: Report, run: Path, out: Path) -> list[Path]:
    """Write ``rows.parquet``, ``baselines.parquet`` and, from the run's cells, ``answers.parquet``.

    Intervals are two columns, ``NAME_low`` and ``NAME_high``; what is no number or text is JSON.
    An answer has ``kind`` (of cell), ``model``, ``attack``, ``set``, ``question`` (its place in the
    set, from 0), ``prediction`` (index of a choice; null for a tie), ``answer`` and ``correct``.

    Raises:
        ValueError: If the report has no rows.
    """
    import pyarrow
    from pyarrow import parquet

    if not report.rows:
        raise ValueError("the report has no rows")
    baselines = [
        {"model": model, "set": name, **found}
        for model, sets in report.baselines.items()
        for name, found in sets.items()
    ]
    tables = {"rows": report.rows, "baselines": baselines, "answers": list(answers(run))}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in tables.items():
        if rows:
            flat = [dict(_columns(row)) for row in rows]
            keys = dict.fromkeys(key for row in flat for key in row)
            table = pyarrow.table({key: [row.get(key) for row in flat] for key in keys})
            parquet.write_table(table, out / f"{name}.parquet")
            written.append(out / f"{name}.parquet")
    return written


def answers(run: Path) -> Iterator[dict[str, Any]]:
    """Every answer of the run's finished cells; none where only the report is there."""
    cells = [cell for file in sorted((run / "cells").glob("*.json")) if (cell := read_json(file))]
    right: dict[str, str] = {}
    for cell in cells:
        right |= cell["result"].get("answers", {})
    for cell in cells:
        about = {key: cell[key] for key in ("kind", "model", "attack")}
        for name, predictions in cell["result"]["predictions"].items():
            questions = "forget" if name in FORGET else name
            for i, (said, answer) in enumerate(zip(predictions, right[questions], strict=True)):
                prediction = None if said == "-" else int(said)
                yield {
                    **about,
                    "set": questions,
                    "question": i,
                    "prediction": prediction,
                    "answer": int(answer),
                    "correct": prediction == int(answer),
                }


def _columns(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if key.endswith("_ci"):
            low, high = value or (None, None)
            yield f"{key.removesuffix('_ci')}_low", low
            yield f"{key.removesuffix('_ci')}_high", high
        elif isinstance(value, (list, dict)):
            yield key, json.dumps(value)
        else:
            yield key, value
