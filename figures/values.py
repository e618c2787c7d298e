"""What the figures show, in numbers (data/values.json); python figures/values.py writes it anew.

A test draws every figure again and compares, so that colours and layout can change in one place.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from mechunlearn.analysis.report import Report
from mechunlearn.plots import figures
from mechunlearn.plots.validation import validation_figures
from mechunlearn.studies.records import ValidationResult

HERE = Path(__file__).parent
DATA = HERE / "data"
SHOWN = ("x", "y", "z", "text", "error_x", "error_y")
"""Of each trace."""


def drawn() -> dict[str, go.Figure]:
    """Every figure that the committed results give, by key."""
    audit = {d.key: d.figure for d in figures(Report.load(HERE / "audit-organism"))}
    validation = validation_figures(ValidationResult.load(DATA / "validation.json"))
    return audit | validation | _drawn("inside", "inside") | _drawn("training", "chat_training")


def values(fig: go.Figure) -> dict[str, Any]:
    """Finding and traces, numbers rounded to 6 digits."""
    traces = []
    for trace in fig.data:
        data = trace.to_plotly_json()
        traces.append({"type": trace.type} | {k: _short(data[k]) for k in SHOWN if k in data})
    return {"finding": fig.layout.meta["finding"], "traces": traces}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return [_short(value[k]) for k in ("array", "arrayminus")]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_short(x) for x in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _drawn(script: str, data: str) -> dict[str, go.Figure]:
    """What a script of this folder draws of a file of its data."""
    spec = importlib.util.spec_from_file_location(script, HERE / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.draw(json.loads((DATA / f"{data}.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    lines = [f"{json.dumps(key)}: {json.dumps(values(fig))}" for key, fig in drawn().items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (DATA / "values.json").write_text(text, encoding="utf-8")
