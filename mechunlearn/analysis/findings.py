"""What all attacks on one unlearned model say together, and what figures draw of them."""

from collections.abc import Iterator, Mapping, Sequence

from mechunlearn.analysis.across import cheapest_half, spent, union
from mechunlearn.analysis.answers import (
    choices,
    deciding,
    measured,
    questions_of,
    sources_of,
    values,
)
from mechunlearn.analysis.arms import Arms, Key, guessing_level
from mechunlearn.analysis.courses import course
from mechunlearn.analysis.letters import Choices, renamed
from mechunlearn.analysis.openness import nonfinite_of, openness_of, other_form_of
from mechunlearn.analysis.records import Arm, Course, Findings, Renamed, Row, TriedVariant, Union
from mechunlearn.analysis.rounding import short
from mechunlearn.analysis.rows import before_of
from mechunlearn.analysis.significance import counts
from mechunlearn.analysis.tests import max_t, sums_by_source
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import AttackResult, Stage
from mechunlearn.records import Plain
from mechunlearn.registry import find


def findings_of(
    evidence: Evidence, model: str, rows: Sequence[Row], arms: Mapping[str, Arms]
) -> Findings:
    """Everything about one unlearned model beside its rows.

    Args:
        arms: By attack, of the attacks that are complete.
    """
    setup = evidence.setup
    results = {attack: evidence.attack(model, attack) for attack in arms}
    answers, chance = evidence.answers(model, "forget"), setup.task.chance
    sources = sources_of(questions_of(setup.task, "forget"))
    below = sums_by_source(chance - values(answers)[None], sources)
    prices = spent(rows, results, short(evidence.answers(model, "retain").mean))
    counted = [row for row in rows if counts(row)]
    courses = {attack: dict(_courses(evidence, model, attack)) for attack in arms}
    traces = {attack: dict(_traces(evidence, model, attack)) for attack in arms}
    letters = find("measure", setup.task.scoring).one_token
    return Findings(
        model=model,
        tried={attack: _tried(evidence, result) for attack, result in results.items()},
        below_chance=answers.mean < chance,
        p_chance=float(max_t(below, setup.plan.seed).p[0]),
        openness=openness_of(evidence, model),
        other_form=other_form_of(evidence, model, arms),
        nonfinite=nonfinite_of(evidence, model),
        renamed=_renamed(evidence, model) if letters else None,
        union=_union(evidence, model, counted, arms) if counted else None,
        spent=prices,
        cheapest_half=cheapest_half([x for x in prices if x.attack in {r.attack for r in counted}]),
        courses={attack: found for attack, found in courses.items() if found},
        traces={attack: found for attack, found in traces.items() if found},
    )


def _tried(evidence: Evidence, result: AttackResult) -> tuple[TriedVariant, ...]:
    sources = sources_of(deciding(evidence.setup.task, result))
    return tuple(
        TriedVariant(
            variant=tried.variant,
            forget=round(tried.forget, 4),
            retain=None if tried.retain is None else round(tried.retain, 4),
            forget_ci=measured(values(tried.answers), sources).value_ci,
        )
        for tried in result.tried
    )


def _union(evidence: Evidence, model: str, rows: Sequence[Row], arms: Mapping[str, Arms]) -> Union:
    best = max(rows, key=lambda row: row.difference)
    used = {row.attack: arms[row.attack] for row in rows}
    return union(used, before_of(evidence, model), best, evidence.setup.plan.seed)


def _renamed(evidence: Evidence, model: str) -> Renamed:
    select, confirm = _folds(evidence, model)
    controls = [_folds(evidence, control) for control in evidence.setup.entry(model).controls]
    asked = questions_of(evidence.setup.task, "forget")
    first = renamed(select, confirm)
    # What is guessed from the choices may look like knowledge under other letters too.
    level = guessing_level(evidence, model, key=Key(first.renaming, asked))
    return renamed(select, confirm, controls, [level], sources_of(asked))


def _folds(evidence: Evidence, model: str) -> tuple[Choices, Choices]:
    """What a model says in the select and in the confirm fold."""
    return choices(evidence, model, "forget_select"), choices(evidence, model, "forget")


def _courses(evidence: Evidence, model: str, attack: str) -> Iterator[tuple[Arm, Course]]:
    """Training curves by arm, where the attack trains."""
    setup, twin = evidence.setup, evidence.control(model, attack)
    stages: dict[Arm, tuple[str | None, Sequence[Stage]]] = {
        "unlearned": (model, evidence.attack(model, attack).stages),
        "never_knew": (setup.entry(model).control, twin.stages if twin else ()),
    }
    original = evidence.answers(setup.original.label, "forget").mean
    sources, limit = sources_of(questions_of(setup.task, "forget")), setup.plan.retain_limit
    for arm, (label, stops) in stages.items():
        if label is not None and stops:
            start = evidence.answers(label, "forget").mean
            yield arm, course(stops, sources, start=start, original=original, limit=limit)


def _traces(evidence: Evidence, model: str, attack: str) -> Iterator[tuple[Arm, dict[str, Plain]]]:
    twin = evidence.control(model, attack)
    traces: dict[Arm, dict[str, Plain]] = {
        "unlearned": evidence.attack(model, attack).traces,
        "never_knew": twin.traces if twin else {},
        "original": evidence.ceiling(model, attack).traces,
    }
    yield from ((arm, kept) for arm, kept in traces.items() if kept)
