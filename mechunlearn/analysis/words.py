"""Numbers, names and tiers as the page, notebooks, the terminal and verdicts show them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mechunlearn.records import Interval, Plain

if TYPE_CHECKING:
    from mechunlearn.analysis.records import Model, Seeds, Tier
    from mechunlearn.audit.records import ModelRole

DASH = "–"
TIERS: Mapping["Tier", str] = {
    "A": "a model that never knew the facts under the same attack, a sham and guessing",
    "B": "questions of the same form about made-up facts under the same attack, the unlearned "
    "model's own answers, a sham of the same size and guessing; there is no model that never knew "
    "the facts",
    "C": "the unlearned model's own answers, a sham of the same size and guessing; there is no "
    "model that never knew the facts",
}
"""What the results of a tier are net of."""
ROLES: Mapping["ModelRole", str] = {"original": "original", "never_knew": "never-knew"}
"""Roles that a label does not tell by itself."""


def percent(value: float | None, ci: Interval | None = None) -> str:
    """``0.253`` as ``25.3``, with its interval where there is one; a dash for nothing."""
    if value is None:
        return DASH
    return f"{100 * value:.1f}" + (f" [{100 * ci[0]:.0f}, {100 * ci[1]:.0f}]" if ci else "")


def p_value(value: float | None) -> str:
    """A probability at one digit; below 0.001 only that."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_is(value: float) -> str:
    """``p = 0.03``, or ``p < 0.001``."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def operations(flops: float | int) -> str:
    """Arithmetic at two digits: ``500 GFLOP``."""
    units = ["", "k", "M", "G", "T", "P", "E"]
    while flops >= 1000 and len(units) > 1:
        flops, units = flops / 1000, units[1:]
    return f"{flops:.0f} {units[0]}FLOP" if flops >= 10 else f"{flops:.1f} {units[0]}FLOP"


def words(variant: Mapping[str, Plain]) -> str:
    """A variant in one line."""

    def text(value: Plain) -> str:
        if isinstance(value, Mapping):
            return f"({', '.join(f'{key} {text(part)}' for key, part in value.items())})"
        if not isinstance(value, (list, tuple)):
            return str(value).replace("_", " ")
        if len(value) > 3 and list(value) == list(range(value[0], value[-1] + 1)):
            return f"{value[0]} to {value[-1]}"
        return ", ".join(map(str, value))

    return "; ".join(f"{key.replace('_', ' ')} {text(value)}" for key, value in variant.items())


def over_seeds(seeds: "Seeds | None") -> str:
    """The spread of an attack's recovery over seeds; nothing where it was not repeated."""
    if seeds is None:
        return ""
    low, high = seeds.recovery_range or seeds.difference_range
    unit = "% of the gap" if seeds.recovery_range else "points"
    return f"{percent(low)} to {percent(high)} {unit}, found with {seeds.found} of {seeds.n} seeds"


def name(key: str) -> str:
    """An attack or a question set as words; labels of models stay as they are."""
    return key.replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def attack_names(attacks: Sequence[str]) -> str:
    """Attacks as the beginning of a sentence."""
    text = listed([n.replace("_", " ") for n in attacks])
    return text[0].upper() + text[1:]


def control_words(tier: "Tier", control: "ModelRole | None", n: int = 1) -> str:
    """What an attack's recovery is net of, with what was done to the controls, and how many."""
    if tier == "B":
        return "made-up questions of the same form, its own answers, a sham attack and guessing"
    if tier == "C":
        return "its own answers, a sham attack and guessing"
    if n > 1:
        treated = {
            "control": " and went through the same unlearning",
            "never_knew": " and were not unlearned",
        }
        return f"{n} models that never knew{treated.get(control or '', '')}"
    if control == "control":
        return "a model that never knew and went through the same unlearning"
    return "a model that never knew and was not unlearned" if control else "a model that never knew"


def with_role(model: "Model") -> str:
    """A model's label, with its role where the label does not say it."""
    role = ROLES.get(model.role, model.label)
    return model.label if role == model.label else f"{model.label} ({role})"
