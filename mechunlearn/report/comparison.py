"""Several audits side by side, as plain data."""

from collections.abc import Mapping
from typing import Any

from mechunlearn.analysis.records import Report
from mechunlearn.report.headline import headline, tested


def comparison(runs: Mapping[str, Report]) -> dict[str, Any]:
    """What several runs found about the same models and attacks, and in what the runs differ.

    Args:
        runs: Reports by the name of their run.

    Returns:
        ``runs``: names; ``verdicts`` and ``baselines``: unlearned or any model -> one entry a run;
        ``attacks``: unlearned model -> the runs that attacked it, and for every attack one row a
        such run; ``None`` where a run has none. ``differs``: setting -> one value a run, for the
        settings that are not the same everywhere.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"a comparison needs two runs or more, not {list(runs)}")
    reports = list(runs.values())
    found = [{(r["unlearned"], r["attack"]): r for r in report.rows} for report in reports]
    heads = [{m: headline(report, m) for m in tested(report)} for report in reports]
    models = dict.fromkeys(model for model, _ in _all(*found))
    return {
        "runs": list(runs),
        "verdicts": {m: [h.get(m) for h in heads] for m in _all(*heads)},
        "baselines": {
            m: [report.baselines.get(m) for report in reports]
            for m in _all(*(report.baselines for report in reports))
        },
        "attacks": {model: _attacks(model, list(runs), found) for model in models},
        "differs": _differs(reports),
        "commands": [report.runcard["command"] for report in reports],
    }


def _attacks(
    model: str, runs: list[str], found: list[dict[tuple[str, str], Any]]
) -> dict[str, Any]:
    mine = {
        run: {attack: row for (of, attack), row in rows.items() if of == model}
        for run, rows in zip(runs, found, strict=True)
        if any(of == model for of, _ in rows)
    }
    rows = {attack: [rows.get(attack) for rows in mine.values()] for attack in _all(*mine.values())}
    return {"runs": list(mine), "rows": rows}


def _all(*tables: Mapping[Any, Any]) -> list[Any]:
    """Every key, in the order of first appearance."""
    return list(dict.fromkeys(key for table in tables for key in table))


def _differs(reports: list[Report]) -> dict[str, list[Any]]:
    facts = [
        {
            "task": r.runcard["task"]["name"],
            "forget questions, confirm fold": r.runcard["task"]["n"]["forget, confirm"],
            **{f"plan: {k}": v for k, v in r.runcard["settings"].items() if k != "attacks"},
            **{f"version: {k}": v for k, v in r.runcard["versions"].items()},
            **{f"weights: {k}": m.get("fingerprint", "") for k, m in r.runcard["models"].items()},
        }
        for r in reports
    ]
    keys = _all(*facts)
    values = {key: [f.get(key, "") for f in facts] for key in keys}
    return {k: v for k, v in values.items() if any(x != v[0] for x in v)}
