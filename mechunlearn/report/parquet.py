"""An audit as tables for pandas or polars: its rows, its baselines, and every single answer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mechunlearn.analysis.answers import answer_rows
from mechunlearn.analysis.report import Report, flat
from mechunlearn.errors import refuse_existing
from mechunlearn.records import Plain, plain


def write_parquet(report: Report, out: Path, *, replace: bool = True) -> list[Path]:
    """Write ``rows.parquet``, ``baselines.parquet`` and, if it has any, ``answers.parquet``.

    Rows have the fields of ``Row``, baselines ``model``, ``role``, ``set`` and the fields of
    ``Measured``; answers are those of ``answer_rows``. Intervals are two columns, ``NAME_low`` and
    ``NAME_high``; what is no number or text is JSON.

    Args:
        replace: Whether files that exist are written over.

    Raises:
        ValueError: If the report has no rows.
        FileExistsError: If a file exists and is not to be replaced; nothing is written then.
    """
    import pyarrow
    from pyarrow import parquet

    if not report.rows:
        raise ValueError("the report has no rows; run the same audit again to go on with it")
    baselines = [
        {"model": model.label, "role": model.role, "set": name, **plain(measured)}
        for model in report.models
        for name, measured in model.sets.items()
    ]
    tables = {"rows": plain(report.rows), "baselines": baselines, "answers": answer_rows(report)}
    if not replace:
        refuse_existing(out / f"{name}.parquet" for name in tables)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in tables.items():
        if cells := [_cells(row) for row in rows]:
            table = pyarrow.table(_columns(cells))
            parquet.write_table(table, out / f"{name}.parquet")
            written.append(out / f"{name}.parquet")
    return written


def _columns(rows: Sequence[Mapping[str, Plain]]) -> dict[str, list[Plain]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}


def _cells(row: dict[str, Plain]) -> dict[str, Plain]:
    return {
        key: json.dumps(value) if isinstance(value, (list, dict)) else value
        for key, value in flat(row).items()
    }
