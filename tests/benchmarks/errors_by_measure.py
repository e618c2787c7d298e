"""How often each measure finds what is hidden, and what is not, on models of known truth.

    mechunlearn validate --seeds 31,32 --out runs/validation
    python tests/benchmarks/errors_by_measure.py runs/validation --out figures/data/by_measure.json

The suspects that a validation made are audited once more, asked openly (containment), with further
measures beside, with an untreated never-knew control and with none. A measure *finds* where an
attack is significant by it. Goes on where it was stopped.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.significance import significant
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.store import share_cells
from mechunlearn.stats import wilson

ATTACKS = ("direction_ablation", "relearning_retain")
ALSO = "cloze,probability,likeliest,truth_share"
TAUGHT = "relearning_disjoint"
"""Counts only beside a never-knew model."""


def audited(folder: Path, seed: int, suspect: Path, situation: str) -> dict[str, Any]:
    """One audit: which attacks are significant by which measure."""
    world = folder / f"seed-{seed}" / "organisms"
    control = str(world / f"never_knew@{seed}") if situation == "untreated" else "none"
    out = folder / "by-measure" / f"{seed}-{suspect.name}" / situation
    share_cells(out, folder / "by-measure" / f"cells-{seed}")
    plan = AuditPlan(
        original=str(world / f"original@{seed}"),
        unlearned=(f"suspect={suspect}",),
        control=(control,),
        task=f"facts@{seed}",
        attacks=ATTACKS if control == "none" else (*ATTACKS, TAUGHT),
        planted="never",
        seed=seed,
        changes=("task.scoring=containment", f"task.also={ALSO}", "task.twins=none"),
    )
    report = audit(plan, out)
    tables = {"containment": report.rows} | {k: t.rows for k, t in report.by_measure.items()}
    (model,) = report.unlearned
    return {
        "seed": seed,
        "suspect": suspect.name,
        "situation": situation,
        "verdict": model.verdict.category if model.verdict else "",
        "gap": {name: rows[0].gap_ci[0] > 0 for name, rows in tables.items()},
        "found": {
            name: [r.attack for r in rows if significant(r)] for name, rows in tables.items()
        },
    }


def rates(results: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of a table: what was found of suspects that hide their facts, and of the others."""
    for situation in ("untreated", "none"):
        for measure in results[0]["found"]:
            asked = [r for r in results if r["situation"] == situation and r["gap"][measure]]
            cells = []
            for hides in (True, False):
                own = [r for r in asked if r["suspect"].startswith("original") is hides]
                n, hits = len(own), sum(bool(r["found"][measure]) for r in own)
                low, high = wilson(hits, n) if n else (0.0, 1.0)
                cells.append(f"{hits} of {n} [{low:.0%}, {high:.0%}]")
            yield f"| {situation} | {measure} | {' | '.join(cells)} |"


def main() -> None:
    """Audit every suspect of the validation, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("by_measure.json"))
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.is_file() else []
    done = {(r["seed"], r["suspect"], r["situation"]) for r in results}
    for folder in given.folders:
        for suspect in sorted(folder.glob("seed-*/suspects/*")):
            seed = int(suspect.parts[-3].removeprefix("seed-"))
            for situation in ("none", "untreated"):
                if (seed, suspect.name, situation) not in done:
                    results.append(audited(folder, seed, suspect, situation))
                    given.out.write_text(json.dumps(results, indent=1) + "\n")
    sys.stdout.write("\n".join(rates(results)) + "\n")


if __name__ == "__main__":
    main()
