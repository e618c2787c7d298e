"""Every question with every answer to it, small enough to travel in the report.

    sets:     set -> stem, topic, choices, answer (one entry a question)
    models:   model -> set -> answers without any attack
    attacked: unlearned model -> attack -> set -> answers
    control:  unlearned model -> attack -> set -> answers of the never-knew model, if any

Sets are ``forget`` and ``retain`` (confirm fold), ``forget_select`` and ``retain_select``. Answers
are a character a question: the index of the choice, ``-`` for a tie, ``.`` where nothing was asked.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from mechunlearn.audit.cells import Setup
from mechunlearn.types import Fold

SETS: dict[str, tuple[Literal["forget", "retain"], Fold]] = {
    "forget": ("forget", "confirm"),
    "forget_select": ("forget", "select"),
    "retain": ("retain", "confirm"),
    "retain_select": ("retain", "select"),
}
"""Question sets by the names that cells use."""


def answered(
    setup: Setup,
    cell: Callable[..., dict[str, Any]],
    pairs: Sequence[tuple[str, str]],
    models: Sequence[str],
) -> dict[str, Any]:
    """The questions of an audit and the answers in its finished cells, laid out as above.

    Args:
        cell: Finished cells by kind, model and attack.
        pairs: Unlearned models and attacks of which every arm is finished.
        models: Whose answers without any attack are kept.
    """
    found: dict[str, Any] = {"sets": {}, "models": {}, "attacked": {}, "control": {}}
    for name, (role, fold) in SETS.items():
        asked = setup.task.questions(role, fold)
        found["sets"][name] = {
            "stem": [q.stem for q in asked],
            "topic": [q.topic for q in asked],
            "choices": [list(q.choices) for q in asked],
            "answer": "".join(str(q.answer) for q in asked),
        }
    for model in models:
        said = cell("baseline", model)["predictions"]
        found["models"][model] = {name: said[name] for name in SETS}
    kinds = {c.kind for c in setup.cells}
    for model, attack in pairs:
        mine = cell("attack", model, attack)
        under = {"forget": mine["predictions"]["attacked"], "retain": mine["predictions"]["retain"]}
        if (chosen := _chosen(mine, len(found["sets"]["forget_select"]["stem"]))) is not None:
            under["forget_select"] = chosen
        found["attacked"].setdefault(model, {})[attack] = under
        if "control" in kinds:
            said = cell("control", model, attack)["predictions"]
            found["control"].setdefault(model, {})[attack] = {"forget": said["control"]}
    return found


def _chosen(mine: dict[str, Any], n: int) -> str | None:
    """Select-fold answers of the settings that were chosen by them."""
    measured = ("forget_select", "retain_select")
    tried = [{k: v for k, v in t.items() if k not in measured} for t in mine["tried"]]
    if mine["settings"] not in tried:
        return None
    said = mine["tried_predictions"][tried.index(mine["settings"])]
    if mine["tried_on"] is None:
        return said
    places = dict(zip(mine["tried_on"], said, strict=True))
    return "".join(places.get(i, ".") for i in range(n))
