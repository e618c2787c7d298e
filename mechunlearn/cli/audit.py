"""The commands that audit: plan, audit, attack."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechunlearn.cli.options import (
    AUDIT_ONLY,
    FailOpt,
    Fields,
    JsonOpt,
    ModelsOpt,
    OutOpt,
    PresetOpt,
    SetOpt,
    fail_for,
    failures,
    kept,
    plan_of,
    plan_options,
    print_json,
    say,
    settings,
)

if TYPE_CHECKING:
    from mechunlearn.analysis.report import Report
    from mechunlearn.audit.engines import Engine
    from mechunlearn.audit.plan import AuditPlan


@plan_options(without=AUDIT_ONLY)
def plan(fields: Fields, models: ModelsOpt = "", as_json: JsonOpt = False) -> None:
    """Print an audit's plan as TOML, to keep and to change: mechunlearn plan > plan.toml."""
    from mechunlearn.audit.plan_file import plan_toml

    made = plan_of(fields, models=models)
    if as_json:
        print_json(made.to_dict())
    else:
        sys.stdout.write(plan_toml(made))


@plan_options()
def audit(
    fields: Fields,
    models: ModelsOpt = "",
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="A plan from: mechunlearn plan.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is missing and what it will cost.")
    ] = False,
    engine: Annotated[
        str, typer.Option("--engine", help="here (this process) or ray (a cluster's workers).")
    ] = "here",
    address: Annotated[
        str, typer.Option("--address", help="Ray: auto, HOST:PORT, or local for one made here.")
    ] = "auto",
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, help="Processes; with ray at most; 0: as many as are quickest."
        ),
    ] = 0,
    tracker: Annotated[
        str, typer.Option("--track", help="Also write the numbers to wandb or trackio.")
    ] = "",
    fail_if: FailOpt = "",
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Attack unlearned models and report what comes back, with every control.

    Every finished piece is kept: the same command again computes only what is missing.
    """
    from mechunlearn.audit.engines import engine as named
    from mechunlearn.report.trackers import check_tracker

    made = plan_of(fields, plan_file, models)
    place = named(engine, address, workers, made)
    if tracker:
        check_tracker(tracker)
    wrong = failures(fail_if)
    if dry_run:
        estimate(made, out, as_json, place)
    else:
        report = run(made, out, as_json, place, tracker)
        if wrong:
            fail_for(report, wrong)


@plan_options(without=("unlearned", "methods", "attacks", "changes", *AUDIT_ONLY))
def attack(
    fields: Fields,
    name: Annotated[str, typer.Argument(help="See: mechunlearn list.")],
    unlearned: Annotated[str, typer.Option("--unlearned", help="The model under test.")],
    preset: PresetOpt = "",
    change: SetOpt = None,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """One attack on one unlearned model, with its controls."""
    from mechunlearn.audit.plan import AuditPlan

    given = settings([*([f"preset={preset}"] if preset else []), *(change or ())])
    changes = tuple(c if c.startswith("task.") else f"{name}.{c}" for c in given)
    made = AuditPlan(**fields, unlearned=(unlearned,), attacks=(name,), changes=changes)
    run(made, out, as_json)


def estimate(plan: "AuditPlan", out: Path | None, as_json: bool, engine: "Engine") -> None:
    """Say what is missing of an audit and what it will cost."""
    from mechunlearn.audit.engines.processes import Processes
    from mechunlearn.audit.outlook import needed_models, outlook
    from mechunlearn.audit.plan_file import plan_toml
    from mechunlearn.audit.run import dry_run
    from mechunlearn.cost.downloads import model_download
    from mechunlearn.models.placement import placement
    from mechunlearn.report.costs import show_estimates, show_outlook

    absent = any(not model_download(name, None).there for name in needed_models(plan))
    if not as_json and (absent or "/" in plan.original):  # Say first what has to be fetched.
        sys.stderr.write(plan_toml(plan))
        show_outlook(outlook(plan))
    placement(plan.device, plan.dtype)
    missing = dry_run(plan, out or plan.folder, engine)
    if as_json:
        print_json([*(m.summary for m in missing.models), *(e.summary for e in missing.cells)])
    else:
        workers = engine.workers if isinstance(engine, Processes) else 1
        show_estimates(missing.cells, missing.models, workers)


def run(
    plan: "AuditPlan",
    out: Path | None,
    as_json: bool,
    engine: "Engine | None" = None,
    tracker: str = "",
) -> "Report":
    """Carry out a plan, draw its figures and its page."""
    from mechunlearn.analysis.analyse import audit
    from mechunlearn.audit.engines import Here
    from mechunlearn.models.placement import placement
    from mechunlearn.plots import write
    from mechunlearn.report import write_page
    from mechunlearn.report.table import show
    from mechunlearn.report.trackers import track

    gc.freeze()  # Loading a model collects garbage; the imported libraries are none.
    if engine is None or isinstance(engine, Here):
        placement(plan.device, plan.dtype)  # Elsewhere there may be other devices.
    kept.folder = out = out or plan.folder
    report = audit(plan, out, engine)
    if tracker:
        track(report, tracker, plan.name)
    write(report, out / "figures")
    page = write_page(report, out / "report.html")
    if as_json:
        print_json(report)
    else:
        show(report)
        say(f"report: {page}")
    return report
