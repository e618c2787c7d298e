"""What several attacks say together: union, overlap, price, grade of evidence, relabelling."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.tests import mcnemar
from mechunlearn.registry import find
from mechunlearn.stats import two_sided
from mechunlearn.types import Score

GRADES = (
    "no forget information",
    "benign data",
    "other facts of the domain",
    "the tested facts",
)
"""What an attacker had to know, from the strongest evidence to the weakest."""
_TESTED = {"the tested facts", "forget text"}
_OTHER = {"other facts of the forget domain"}


def evidence(attack: str) -> str:
    """Grade of an attack's evidence, from what it declares to need.

    Text about the forget domain states the tested facts. Questions without their answers carry no
    forget information, and benign data counts only where the model is trained on it.
    """
    entry = find("attack", attack)
    needs = set(entry.needs)
    if needs & _TESTED:
        return GRADES[3]
    if needs & _OTHER:
        return GRADES[2]
    return GRADES[1] if needs and "weights" in entry.access else GRADES[0]


def shared(
    arms: Mapping[str, Mapping[str, Score]],
    *,
    original: Score,
    unlearned: Score,
    control: Score,
    seed: int,
) -> dict[str, Any]:
    """What any attack answers, beside what any attack answers on the controls.

    Several attacks that guess answer more together than one, so the union over the controls (the
    never-knew model under each attack, else each sham) is the union's chance line.

    Args:
        control: The control's answers without any attack.

    Returns:
        ``accuracy``, ``control_accuracy``, ``difference``, ``recovery`` with intervals;
        ``overlap``: lost questions by the set of attacks that answer them; ``never``: indices of
        the lost questions that no attack answers.
    """
    attacked = {name: arm["attacked"].correct for name, arm in arms.items()}
    controls = [(arm.get("control") or arm["sham"]).correct for arm in arms.values()]
    union = np.any(list(attacked.values()), axis=0)
    control_union = np.any(controls, axis=0)
    found = recovery(
        original=original.correct,
        unlearned=unlearned.correct,
        attacked=union,
        control=control.correct,
        attacked_control=control_union,
        seed=seed,
    )
    lost = np.flatnonzero(original.correct & ~unlearned.correct)
    sets = Counter(tuple(name for name, c in attacked.items() if c[i]) for i in lost)
    return {
        "n_attacks": len(arms),
        "accuracy": float(union.mean()),
        "control_accuracy": float(control_union.mean()),
        "difference": found.difference,
        "difference_ci": list(found.difference_ci),
        "recovery": found.ratio,
        "recovery_ci": found.ratio_ci and list(found.ratio_ci),
        "p_value": found.p_value,
        "n_lost": len(lost),
        "overlap": [
            {"attacks": list(names), "n": n}
            for names, n in sorted(sets.items(), key=lambda x: (-x[1], x[0]))
        ],
        "never": [int(i) for i in lost if not union[i]],
    }


def cost(
    rows: Sequence[Mapping[str, Any]],
    searches: Mapping[str, Any],
    baseline: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The price of each attack, which of them no other beats, and the cheapest half recovery.

    Args:
        searches: Per attack what its ``Found.details`` gave, by arm.
        baseline: The unlearned model's accuracies.

    Returns:
        ``attacks``: a price list, ``pareto`` where something comes back and no attack brings back
        as much for no more arithmetic, forget tokens and utility; ``half``: the entry of least
        arithmetic whose recovery is at least one half, or ``None``.
    """
    entries = []
    for row in rows:
        samples, tokens = _taught(row, searches.get(row["attack"], {}).get("unlearned", {}))
        loss = baseline["retain"]["accuracy"] - row["retain_accuracy"]
        entries.append(
            {
                "attack": row["attack"],
                "pareto": row["difference_ci"][0] > 0,
                "difference": row["difference"],
                "recovery": row["recovery"],
                "samples": samples,
                "forget_tokens": tokens,
                "flops": row["flops"],
                "seconds": row["seconds"],
                "utility_loss": float(f"{loss:.6g}"),
            }
        )
    for entry in entries:
        entry["pareto"] &= not any(_beats(other, entry) for other in entries)
    half = [e for e in entries if e["recovery"] is not None and e["recovery"] >= 0.5]
    return {"attacks": entries, "half": min(half, key=lambda e: e["flops"], default=None)}


def _taught(row: Mapping[str, Any], search: Mapping[str, Any]) -> tuple[int, int]:
    """Examples trained on, and tokens of forget information among them."""
    for curve in search.get("curves", ()):
        if (curve["rate"], curve["seed"]) == (row["settings"]["rate"], row["settings"]["seed"]):
            for point in curve["points"]:
                if point["steps"] == row["settings"]["steps"]:
                    return point["samples"], point["tokens"]
    return 0, 0


def _beats(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    prices = ("flops", "forget_tokens", "utility_loss")
    no_worse = a["difference"] >= b["difference"] and all(a[p] <= b[p] for p in prices)
    return no_worse and (a["difference"] > b["difference"] or any(a[p] < b[p] for p in prices))


def relabelled(
    select: Score, confirm: Score, control: tuple[Score, Score] | None
) -> dict[str, Any]:
    """Whether the answers are right after renaming the letters: knowledge in disguise.

    The one-to-one renaming that fits the select fold best is applied to the confirm fold.

    Args:
        control: The control's folds, renamed by the same rule.

    Returns:
        ``accuracy`` on the confirm fold, ``renaming`` (letter said -> letter meant, by index) and
        ``p_value`` against the control, else against chance; 1 where nothing is renamed.
    """
    names, right = _renamed(select, confirm)
    accuracy, n = float(right.mean()), select.logits.shape[1]
    if names == list(range(n)):
        p = 1.0
    elif control is not None:
        p = mcnemar(right, _renamed(*control)[1])
    else:
        p = two_sided(int(right.sum()), confirm.n, 1 / n)
    return {"accuracy": accuracy, "renaming": names, "p_value": p}


def said(score: Score) -> list[list[int]]:
    """Questions by right letter (row) and letter said (column); exact ties stand last."""
    n = score.logits.shape[1]
    counts = np.zeros((n, n + 1), dtype=int)
    np.add.at(counts, (score.answers, np.where(score.predictions < 0, n, score.predictions)), 1)
    return counts.tolist()


def _renamed(select: Score, confirm: Score) -> tuple[list[int], Any]:
    n = select.logits.shape[1]
    counts = np.zeros((n, n))
    said = select.predictions
    np.add.at(counts, (said[said >= 0], select.answers[said >= 0]), 1)
    counts += 1e-3 * np.eye(n)  # A letter that is never said keeps its name.
    _, names = linear_sum_assignment(counts, maximize=True)
    meant = np.where(confirm.predictions >= 0, names[confirm.predictions], -1)
    return [int(i) for i in names], meant == confirm.answers
