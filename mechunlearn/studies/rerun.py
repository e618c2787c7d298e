"""Repeat a run from what it wrote, and say whether it agrees."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.compare import Moved, compare, moved
from mechunlearn.analysis.migrate import report_from
from mechunlearn.analysis.report import Report
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.plan_file import plan_from_data
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


@dataclass(frozen=True, slots=True)
class Rerun:
    """A repeated run beside the first one."""

    changes: list[Moved]
    out: Path

    @property
    def agrees(self) -> bool:
        """Whether no number moved beyond its interval."""
        return not any(c.beyond for c in self.changes)


def rerun(file: Path, out: Path, *, trust_remote_code: bool = False) -> Rerun:
    """Repeat the run that a report or the RunCard of an unlearned model describes.

    An audit is repeated with the number of threads that it had.

    Args:
        file: ``report.json`` or the folder it is in, or an unlearned model's ``runcard.json``.
        out: Folder for the new run.
        trust_remote_code: Allow code that comes with the models to run, where the first run did.

    Raises:
        ValueError: If the file describes neither, ``out`` holds something else, or the first run
            let code run and this one must not.
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
        return _audited(report, plan, out)
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
    plan = dataclasses.replace(plan, threads=plan.threads or first.runcard.machine.threads)
    return Rerun(compare(first, audit(plan, out)), out)


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
