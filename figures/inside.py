"""One prompt, and what the answers need, in the original and after RMU.

python figures/inside.py [--images]    draws again what was measured (data/inside.json)
python figures/inside.py --measure     makes the RMU model and measures (a minute or two)
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mechunlearn import load, load_task
from mechunlearn.attacks.attribution import unit_scores, weight_scores
from mechunlearn.attacks.logit_lens import TokenLens, token_lens
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.plots.attribution import matrices, units
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.tokens import tokens
from mechunlearn.unlearn.rmu import RMU, rmu_

HERE = Path(__file__).parent


def measure() -> dict[str, Any]:
    """Token view of one confirm question; attribution of the select fold's answers."""
    task = load_task("organism")
    asked, example = task.questions("forget", "select"), task.example(task.forget[-1])
    unlearned = load("organism:original")
    rmu_(unlearned, task, RMU.presets["organism"])
    found: dict[str, Any] = {"n": len(asked), "models": {}}
    for name, model in (("original", load("organism:original")), ("rmu", unlearned)):
        rows = example_rows(model, [task.example(q) for q in asked], "answer", limit=128)
        view = token_lens(model, example)
        found["models"][name] = {
            "tokens": view.tokens,
            "answer": view.answer,
            "stream": view.stream,
            "ranks": view.ranks.tolist(),
            "probabilities": np.round(view.probabilities, 5).tolist(),
            "n_vocabulary": view.n_vocabulary,
            "head": _short(unit_scores(model, rows, "head").tolist()),
            "neuron": _short(unit_scores(model, rows, "neuron").tolist()),
            "weights": [
                [layer, matrix, float(f"{float(scores.mean()):.4g}")]
                for (layer, matrix), scores in weight_scores(model, rows).items()
            ],
        }
    return found


def draw(found: dict[str, Any]) -> dict[str, go.Figure]:
    """The figures, by file name."""
    models, n = found["models"], found["n"]
    views = {
        name: TokenLens(
            m["tokens"],
            m["answer"],
            m["stream"],
            np.array(m["ranks"]),
            np.array(m["probabilities"]),
            m["n_vocabulary"],
        )
        for name, m in models.items()
    }
    weights = {
        name: {(i, matrix): value for i, matrix, value in m["weights"]}
        for name, m in models.items()
    }
    return {
        "inside-tokens": tokens(views),
        "inside-heads": units({name: m["head"] for name, m in models.items()}, "head", n),
        "inside-neurons": units({name: m["neuron"] for name, m in models.items()}, "neuron", n),
        "inside-matrices": matrices(weights, n),
    }


def _short(rows: list[list[float]]) -> list[list[float]]:
    return [[float(f"{value:.3g}") for value in row] for row in rows]


if __name__ == "__main__":
    file = HERE / "data" / "inside.json"
    if "--measure" in sys.argv:
        file.write_text(json.dumps(measure()) + "\n")
    write_figures(draw(json.loads(file.read_text())), HERE, images="--images" in sys.argv)
