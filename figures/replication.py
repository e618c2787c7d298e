"""The paper's attacks on our models, beside its published cells: the tables of README.md.

    python figures/replication.py            prints them
    python figures/replication.py --write    puts them into README.md

Published: share of the gap between the unlearned and the original model's WMDP-Bio accuracy that an
attack brings back, from the main table of Łucki et al. 2024 (arXiv:2409.18025).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks import HERE, percent, recovery, summary

from mechunlearn.analysis.report import Report
from mechunlearn.studies.published import COLUMNS, TABLE

ATTACKS = {
    "logit lens": ("logit_lens",),
    "orthogonalization": ("direction_ablation",),
    "finetuning": ("relearning_disjoint", "relearning_retain", "relearning_tested"),
    "enhanced GCG": ("gcg",),
    "set-difference pruning": ("pruning_weights",),
    "": ("probes", "latent_perturbation"),
}
"""Rows of the published table, and attacks made after them; those of the last row are newer."""
FILES = {
    "organism": HERE / "data" / "attacks.json",
    "chat organism": HERE / "data" / "chat_audit.json",
    "SmolLM2, people": HERE / "data" / "smollm2_people.json",
    "SmolLM2, capitals": HERE / "audit-smollm2",
}
"""Whatever was audited, as ``attacks.py`` keeps it or as reports."""
METHODS = ("rmu", "npo", "dpo")


def audited(place: Path) -> dict[str, Any]:
    """Models and rows of one file, or of all reports in a folder."""
    if place.is_file():
        return json.loads(place.read_text(encoding="utf-8"))
    found = [summary(Report.load(file)) for file in sorted(place.glob("*.json"))]
    return {key: [row for each in found for row in each[key]] for key in ("models", "rows")}


def published(attack: str, method: str) -> str:
    """Recovered share of the gap in per cent, or a dash."""
    cells = TABLE.get(("forget", attack))
    before = dict(zip(COLUMNS, TABLE["forget", "default decoding"], strict=True))
    after = None if cells is None else cells[COLUMNS.index(method)]
    first, top = before[method], before["original"]
    if after is None or first is None or top is None:
        return "-"
    return f"{100 * (after - first) / (top - first):.0f}"


def before(sources: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What each method left before any attack."""
    yield "| before any attack | " + " | ".join(f"`{m}`" for m in METHODS) + " |"
    yield "|---" * (len(METHODS) + 1) + "|"
    for name, source in sources.items():
        models = {model["model"]: model for model in source["models"]}
        cells = []
        for method in METHODS:
            of = models.get(method)
            if of is None:
                cells.append("")
                continue
            share = [percent(of[key]) for key in ("original", "forget", "never_knew", "retain")]
            cells.append(" / ".join(share) + f"; {of['verdict']}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def beside(sources: dict[str, dict[str, Any]], method: str) -> Iterator[str]:
    """Attacks down; published and our recoveries across."""
    yield f"| attacks on `{method}` | published | " + " | ".join(sources) + " |"
    yield "|---" * (len(sources) + 2) + "|"
    for row, attacks in ATTACKS.items():
        for i, attack in enumerate(attacks):
            cells = [published(row, method) if i == 0 else ""]
            for source in sources.values():
                own = [r for r in source["rows"] if (r["model"], r["attack"]) == (method, attack)]
                cells.append(recovery(own[0]) if own else "")
            yield f"| `{attack}` | " + " | ".join(cells) + " |"


def tables() -> str:
    """All tables, as Markdown."""
    sources = {name: audited(place) for name, place in FILES.items()}
    blocks = [before(sources), *(beside(sources, method) for method in METHODS)]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def main() -> None:
    """Print them, or put them between the marks of the page."""
    made = tables()
    if "--write" not in sys.argv:
        sys.stdout.write(made)
        return
    page = HERE / "README.md"
    head, rest = page.read_text(encoding="utf-8").split("<!-- replication.py -->\n", 1)
    tail = rest.split("<!-- end -->", 1)[1]
    marked = f"{head}<!-- replication.py -->\n{made}<!-- end -->{tail}"
    page.write_text(marked, encoding="utf-8")


if __name__ == "__main__":
    main()
