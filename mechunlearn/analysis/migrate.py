"""Reports from disk; those of schema 1 become schema 2 here and nowhere else."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mechunlearn.analysis.records import SCHEMA, ReportFile, Row
from mechunlearn.analysis.significance import deciding, kind
from mechunlearn.attacks import Family
from mechunlearn.records import Plain, typed
from mechunlearn.registry import find, names
from mechunlearn.stats import binomial_p

R = TypeVar("R", bound=ReportFile)
Old = Mapping[str, Any]
CONTROL = " control"
"""What schema 1 put behind an unlearned model's name to name its control."""
SAME = (
    "attack", "n", "recovery", "recovery_ci", "difference", "difference_ci", "gap", "gap_ci",
    "detectable", "within_limit", "flops", "seconds", "evidence", "p_best_of_k",
)  # fmt: skip
"""Keys of a row that both schemas have."""
KINDS = {"pruned": "pruned", "text": "prefix", "vectors": "vectors"}
"""Schema 1 told traces apart by their first key."""


def read_report(path: Path, kind: type[R]) -> R:
    """A report from a file or from a run's folder.

    Args:
        kind: ``Report``, or the plain record.

    Raises:
        ValueError: If there is none, or it is damaged; names the place.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise ValueError(f"{file} cannot be read ({err.strerror}); give a run's folder") from err
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise ValueError(f"{file} is not valid JSON ({err})") from err
    return report_from(data, str(file), kind)


def report_from(data: Plain, where: str, kind: type[R]) -> R:
    """A report from plain data of either schema.

    Args:
        where: What a message calls the data.
        kind: ``Report``, or the plain record.

    Raises:
        ValueError: If it is no report, or of another schema.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema == 1:
        try:
            data = migrated(data)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
            raise ValueError(
                f"{where} says it is a report of schema 1, but is damaged "
                f"({type(err).__name__}: {err}); make it again with: mechunlearn audit"
            ) from err
    elif schema != SCHEMA:
        raise ValueError(
            f"{where} is no mechunlearn report of schema 1 or {SCHEMA} (schema: {schema!r}); make "
            "it again with: mechunlearn audit"
        )
    return typed(data, kind, where)


def migrated(old: Old) -> Plain:
    """A schema 1 report as plain data of schema 2."""
    card = dict(old["runcard"])
    label = _labels(card)
    card["models"] = {label(name): about for name, about in card["models"].items()}
    details = old["details"]
    tested = [m for m, d in details.items() if isinstance(d, dict) and "tried" in d]
    rows = [_row(row) for row in typed(old["rows"], list[dict[str, Any]], "rows")]
    return {
        "schema": SCHEMA,
        "runcard": card,
        "models": [
            _model(old, name, label, tested, rows, details.get("said", {}).get(name))
            for name in old["baselines"]
        ],
        "rows": rows,
        "findings": [_findings(old, name) for name in tested],
        "guessing": details["guessing"],
        "not_computed": details.get("not_computed", []),
        "questions": _questions(old["questions"], label) if old.get("questions") else None,
    }


def _labels(card: Old) -> Any:
    """Schema 1 called the first two models by their roles; schema 2 calls them by their names."""
    own = {
        role: about["name"].rstrip("/").split("/")[-1]
        for role, about in card["models"].items()
        if role in ("original", "never_knew")
    }
    taken = set(card["models"]) - set(own)
    return lambda name: name if own.get(name, name) in taken else own.get(name, name)


def _row(row: Old) -> Plain:
    twin = row["control"] == "never_knew"
    return {key: row[key] for key in SAME if key in row} | {
        "model": row["unlearned"],
        "family": _family(row["attack"]),
        "variant": row["settings"],
        "value": row["accuracy"],
        "value_ci": row["accuracy_ci"],
        "p": row["p_value"],
        "p_adjusted": row["p_holm"],
        "tier": "A" if twin else "C",
        "sham": row["sham_accuracy"],
        "control": row["control_accuracy"] if twin else None,
        "original": row["original_accuracy"],
        "retain": row["retain_accuracy"],
        "n_variants": row.get("n_settings"),
    }


def _family(attack: str) -> Family:
    """As the attack declares it now; schema 1 took attacks that it did not know for shallow."""
    return find("attack", attack).family if attack in names("attack") else "direction"


def _model(
    old: Old, name: str, label: Any, tested: list[str], rows: list[Plain], said: Plain
) -> Plain:
    known = old["baselines"]
    role = name if name in ("original", "never_knew") else "unlearned"
    if name not in tested and role == "unlearned":
        role = "control"
    found: dict[str, Any] = {
        "label": label(name),
        "role": role,
        "sets": {
            key: {"value": x["accuracy"], "value_ci": x["accuracy_ci"], "n": x["n"]}
            for key, x in known[name].items()
        },
        "letters": said,
    }
    if role != "unlearned":
        return found
    mine = [r for r in rows if r["model"] == name]
    twin = not mine or mine[0]["tier"] == "A"
    controls = [x for x in (f"{name}{CONTROL}", "never_knew") if x in known]
    detail = old["details"][name]
    found["control"] = label(controls[0]) if controls and twin else None
    found["verdict"] = {
        "category": detail.get("category") or _category(mine),
        "tier": "A" if found["control"] else "C",
        "text": detail["verdict"],
        "over_unlearned": detail.get("over_unlearned", False),
    }
    return found


def _category(rows: list[Plain]) -> str:
    """The first reports of schema 1 had no category."""
    best = deciding(typed(rows, tuple[Row, ...], "rows"))
    return "no evidence" if best is None else kind(best.family)


def _findings(old: Old, name: str) -> Plain:
    detail = old["details"][name]
    after = old["baselines"][name]["forget"]
    chance = old["runcard"]["task"]["chance"]
    against = detail.get("against_chance") or {
        "p_value": binomial_p(round(after["accuracy"] * after["n"]), after["n"], chance),
        "below": after["accuracy"] < chance,
    }
    cost = detail.get("cost") or {"attacks": [], "half": None}
    found: dict[str, Any] = {
        "model": name,
        "tried": {a: [_tried(t) for t in tried] for a, tried in detail["tried"].items()},
        "below_chance": against["below"],
        "p_chance": against["p_value"],
        "spent": cost["attacks"],
        "cheapest_half": cost["half"] and cost["half"]["attack"],
        "courses": {},
        "traces": {},
    }
    if renamed := detail.get("relabelled"):
        found["renamed"] = {
            "value": renamed["accuracy"],
            "renaming": renamed["renaming"],
            "p": renamed["p_value"],
        }
    if union := detail.get("union"):
        moved = {"value": "accuracy", "control": "control_accuracy", "p": "p_value"}
        found["union"] = {k: v for k, v in union.items() if k not in moved.values()} | {
            new: union[key] for new, key in moved.items()
        }
    for attack, arm, of, trace in _traces(old, name):
        if of == "course":
            found["courses"].setdefault(attack, {})[arm] = trace
        else:
            found["traces"].setdefault(attack, {}).setdefault(arm, {})[of] = trace
    return found


def _tried(tried: Old) -> Plain:
    variant = {k: v for k, v in tried.items() if k not in ("forget_select", "retain_select")}
    return {
        "variant": variant,
        "forget": tried["forget_select"],
        "retain": tried.get("retain_select"),
    }


def _traces(old: Old, name: str) -> Iterator[tuple[str, str, str, Plain]]:
    """Attack, arm, kind and trace."""
    detail = old["details"][name]
    for attack, arms in detail.get("attacks", {}).items():
        for arm, data in arms.items():
            if "curves" in data:
                yield attack, arm, "course", _course(data)
            else:
                kind = next((KINDS[key] for key in data if key in KINDS), "other")
                yield attack, arm, kind, data
    for attack in detail["tried"]:
        family = _family(attack)
        if family == "read-out":
            lenses = {
                "unlearned": detail.get("lens"),
                "never_knew": detail.get("control_lens"),
                "original": old["details"].get("original", {}).get("lens"),
            }
            for arm, lens in lenses.items():
                if lens:
                    yield attack, arm, "lens", {"places": [_place(p) for p in lens]}
        if family == "direction" and "projection" in detail:
            for of, arm in ((name, "unlearned"), ("original", "original")):
                yield attack, arm, "projection", detail["projection"][of]


def _place(place: Old) -> Plain:
    moved = {"value": place["accuracy"], "value_ci": place["interval"]}
    return {"layer": place["layer"], "stream": place["stream"], **moved}


def _course(data: Old) -> Plain:
    curves = [
        {
            "run": f"lr {c['rate']:g}, seed {c['seed']}",
            "points": [
                {k: p[k] for k in ("steps", "samples", "tokens", "flops", "retain")}
                | {"value": p["accuracy"], "value_ci": p["interval"]}
                for p in c["points"]
            ],
            "variants": [
                {"rate": c["rate"], "seed": c["seed"], "steps": p["steps"]} if p["steps"] else None
                for p in c["points"]
            ],
        }
        for c in data["curves"]
    ]
    most = max(p["samples"] for c in data["curves"] for p in c["points"])
    return {"curves": curves, "half": data.get("half_recovery"), "most_samples": most}


def _questions(old: Old, label: Any) -> Plain:
    return {
        "sets": {
            key: {
                "stem": s["stem"],
                "topic": s["topic"],
                "choices": s["choices"],
                "right": [int(x) for x in s["answer"]],
            }
            for key, s in old["sets"].items()
        },
        "models": {label(name): said for name, said in old["models"].items()},
        "attacked": old["attacked"],
        "control": old["control"],
    }
