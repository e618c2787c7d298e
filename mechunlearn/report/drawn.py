"""The figures of a page: where each belongs, and its data as text for the page's script."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from mechunlearn.analysis.records import Report
from mechunlearn.plots import figures
from mechunlearn.plots.perturbation import FAMILIES
from mechunlearn.plots.template import without_title

OVERVIEW = ("recovery", "frontier", "overlap")
"""Kinds of figures of one model that stand above its attacks."""
EXPLAINED = {
    "comparison": "Every unlearned model under every attack, beside its control.",
    "forest": "Estimates, their intervals and what the controls gain.",
    "frontier": "Recovered accuracy against each price of an attack.",
    "letters": "Predicted against right letters, without any attack.",
    "recovery": "Every attack beside its controls.",
    "overlap": "Every lost question by the exact set of attacks that answer it.",
    "lens_by_method": "The final norm and unembedding applied to inner streams at the last prompt "
    "token.",
    "lens": "The final norm and unembedding applied to inner streams at the last prompt token.",
    "projection": "Activations projected on the direction that the ablation removes.",
    "pruning": "Weights, neurons or heads that forgetting needs and nothing else does.",
    "relearning": "Accuracy along finetuning runs; the never-knew model's is the price of "
    "teaching.",
    "perturbation": "Prompts changed at random, where activations point along the direction, or by "
    "templates.",
    "gcg": "One short text in every prompt, found by greedy coordinate gradient on other "
    "questions.",
}
"""What a kind of figure shows; others go by their caption alone."""
_ATTACKS = {"projection": {"direction_ablation"}, "lens": {"logit_lens"}, "perturbation": FAMILIES}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One figure, ready to be placed."""

    key: str
    kind: str
    model: str
    finding: str
    explained: str
    caption: str
    height: int
    spec: Markup
    """Plotly's JSON, safe inside a ``script`` element."""

    def shows(self, attack: str) -> bool:
        """Whether this figure is about one attack or its family."""
        family = attack.partition("_")[0]
        return attack in _ATTACKS.get(self.kind, ()) or self.kind in (attack, family)


def drawn(report: Report, models: list[str]) -> list[Drawn]:
    """Every figure of a report."""
    return [_drawn(key, fig, models) for key, fig in figures(report).items()]


def _drawn(key: str, fig: go.Figure, models: list[str]) -> Drawn:
    model = max((m for m in models if key.endswith(f"-{m}")), key=len, default="")
    kind = key.removesuffix(f"-{model}") if model else key
    bare = without_title(fig)
    meta: dict[str, Any] = fig.layout.meta
    return Drawn(
        key=key,
        kind=kind,
        model=model,
        finding=meta["finding"],
        explained=EXPLAINED.get(kind, ""),
        caption=meta["caption"],
        height=int(bare.layout.height),
        spec=inside_script(bare.to_json()),
    )


def inside_script(text: str) -> Markup:
    """JSON that no content can use to end the ``script`` element around it."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
