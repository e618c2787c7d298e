"""The JSON schema of ``report.json``, for readers in other languages.

Write it again after a change of the records with ``python -m mechunlearn.analysis.schema``.
"""

import json
from pathlib import Path

import msgspec

from mechunlearn.analysis.records import SCHEMA
from mechunlearn.analysis.report import Report

FILE = Path(__file__).with_name("report.schema.json")


def report_schema() -> str:
    """The schema as text, generated from the records."""
    schema = msgspec.json.schema(Report)
    about = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"mechunlearn report, schema {SCHEMA}",
    }
    return json.dumps(about | schema, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(report_schema(), encoding="utf-8")
