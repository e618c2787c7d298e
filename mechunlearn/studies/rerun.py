"""Repeat a run from what it wrote, and say whether it agrees."""

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.compare import Moved, compare, differences, moved
from mechunlearn.analysis.migrate import report_from
from mechunlearn.analysis.report import Report
from mechunlearn.audit.labels import split_label
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.plan_file import plan_from_data
from mechunlearn.presets import owner_of
from mechunlearn.records import Interval, Plain, typed
from mechunlearn.unlearn.run import UnlearnPlan, unlearn_to


class Effect(msgspec.Struct, frozen=True):
    """What unlearning left of a question set; its card says more than is compared."""

    after: float
    after_ci: Interval


class UnlearnCard(msgspec.Struct, frozen=True):
    """What is compared of the ``runcard.json`` beside an unlearned model."""

    plan: UnlearnPlan
    accuracy: dict[str, Effect]
    """By question set."""


Cell = tuple[str, str]
"""A model's label, and an attack on it."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A repeated run beside the first one."""

    changes: list[Moved]
    out: Path
    cells: tuple[Cell, ...] = ()
    """What of an audit was repeated, where it was not all of it."""
    differs: Mapping[str, Sequence[Plain]] = field(default_factory=dict)
    """What decides numbers and is not as it was in the first run, such as the weights of a model
    that was made again on another machine."""

    @property
    def agrees(self) -> bool:
        """Whether no number moved beyond its interval."""
        return not any(c.beyond for c in self.changes)


def rerun(
    file: Path, out: Path, *, sample: int = 0, seed: int = 0, trust_remote_code: bool = False
) -> Rerun:
    """Repeat the run that a report or the RunCard of an unlearned model describes.

    An audit is repeated with the number of threads that it had.

    Args:
        file: ``report.json`` or the folder it is in, or an unlearned model's ``runcard.json``.
        out: Folder for the new run.
        sample: Repeat so many of an audit's attacks, each on one model with its controls; 0: all.
        seed: Of which these are.
        trust_remote_code: Allow code that comes with the models to run, where the first run did.

    Raises:
        ValueError: If the file describes neither, ``out`` holds something else, there are fewer
            attacks than asked for, or the first run let code run and this one must not.
    """
    file = file / "report.json" if file.is_dir() else file
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise ValueError(f"{file} cannot be read ({err.strerror}); give a run's folder") from err
    except (UnicodeDecodeError, json.JSONDecodeError) as err:
        raise ValueError(f"{file} is not valid JSON ({err})") from err
    keys = set(data) if isinstance(data, dict) else set()
    if {"runcard", "rows"} <= keys:
        report = report_from(data, str(file), Report)
        plan = plan_from_data(report.runcard.settings)
        _refuse_code(file, plan.trust_remote_code and not trust_remote_code)
        plan = dataclasses.replace(plan, threads=plan.threads or report.runcard.machine.threads)
        return _sampled(report, plan, out, sample, seed) if sample else _audited(report, plan, out)
    if sample:
        raise ValueError(f"{file} is of no audit; --sample is for the attacks of one")
    if {"plan", "accuracy"} <= keys:
        card = _card(data, file)
        _refuse_code(file, card.plan.trust_remote_code and not trust_remote_code)
        return _unlearned(card, out)
    raise ValueError(
        f"{file} describes no run: give an audit's report.json or the runcard.json of an unlearned "
        "model"
    )


def _refuse_code(file: Path, untrusted: bool) -> None:
    """A file that somebody else wrote must not be what lets code run."""
    if untrusted:
        raise ValueError(
            f"{file} is of a run that let code of its models run; read that code, then give "
            "--trust-remote-code to let it run again"
        )


def _audited(first: Report, plan: AuditPlan, out: Path) -> Rerun:
    again = audit(plan, out)
    return Rerun(compare(first, again), out, differs=differences([first, again]))


def _sampled(first: Report, plan: AuditPlan, out: Path, sample: int, seed: int) -> Rerun:
    """Some attacks again, drawn at random: one audit in ``out`` for each of their models."""
    known = list(dict.fromkeys((row.model, row.attack) for row in first.rows))
    if sample > len(known):
        raise ValueError(f"--sample {sample} of {len(known)} attacks; the run has no more")
    cells = sorted(random.Random(seed).sample(known, sample), key=known.index)
    changes: list[Moved] = []
    differs: dict[str, Sequence[Plain]] = {}
    for model in dict.fromkeys(model for model, _ in cells):
        attacks = tuple(attack for other, attack in cells if other == model)
        again = audit(_only(plan, model, attacks), out / model)
        labels = {measured.label for measured in again.models}
        part = msgspec.structs.replace(
            first,
            models=[measured for measured in first.models if measured.label in labels],
            rows=[r for r in first.rows if r.model == model and r.attack in attacks],
        )
        found = compare(part, again)
        changes += [change for change in found if change not in changes]
        other = differences([part, again]).items()
        differs |= {what: pair for what, pair in other if not what.startswith("plan: ")}
    return Rerun(changes, out, tuple(cells), differs)


def _only(plan: AuditPlan, model: str, attacks: tuple[str, ...]) -> AuditPlan:
    """A plan of one of its models and some of its attacks, with what was set for them."""
    given = tuple(named for named in plan.unlearned if split_label(named)[1] == plan.labels[model])
    methods = () if given else (plan.labels[model],)
    named = {"task", *methods, *attacks}
    return dataclasses.replace(
        plan,
        unlearned=given,
        methods=methods,
        attacks=attacks,
        changes=tuple(change for change in plan.changes if owner_of(change) in named),
        planted="never",
        budget="",
    )


def _card(data: Plain, file: Path) -> UnlearnCard:
    return typed(data, UnlearnCard, str(file))


def _unlearned(first: UnlearnCard, out: Path) -> Rerun:
    unlearn_to(first.plan, out, resume=True)
    file = out / "runcard.json"
    again = _card(json.loads(file.read_text(encoding="utf-8")), file)
    pairs = [(name, before, again.accuracy[name]) for name, before in first.accuracy.items()]
    changes = [
        moved(f"{name} after unlearning", (a.after, a.after_ci), (b.after, b.after_ci))
        for name, a, b in pairs
        if a.after != b.after
    ]
    return Rerun(changes, out)
