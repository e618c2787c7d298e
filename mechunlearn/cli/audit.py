"""The commands that audit: plan, audit, paper, validate."""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mechunlearn.cli.options import (
    AttacksOpt,
    ChangeOpt,
    ControlOpt,
    DeviceOpt,
    DtypeOpt,
    JsonOpt,
    LimitOpt,
    MethodOpt,
    ModelsOpt,
    OriginalOpt,
    OutOpt,
    SeedOpt,
    TaskOpt,
    UnlearnedOpt,
    print_json,
    say,
)
from mechunlearn.cli.report import read_file


def _planned(file: Path | None = None, models: str = "", **given: Any) -> Any:
    """The plan of a command line, or of a file."""
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.audit.plan_file import read_plan
    from mechunlearn.models.sources import SETS, model_set

    if named := next((c for c in given["changes"] or () if c in SETS), None):
        raise ValueError(f"--set takes NAME.key=value; for the models of {named}: --models {named}")
    if models and (given["unlearned"] or given["original"] != "organism:original" or file):
        raise ValueError("--models says which models; leave out --original, --unlearned and --plan")
    if models:
        chosen = model_set(models)
        given |= {"original": chosen.original, "unlearned": chosen.about(given["task"])}
    values = {
        **given,
        "unlearned": tuple(given["unlearned"] or ()),
        "methods": _names(given["methods"] or ()),
        "attacks": _names([given["attacks"]]),
        "changes": tuple(given["changes"] or ()),
    }
    if file is None:
        return AuditPlan(**values)
    defaults = {f.name: f.default for f in dataclasses.fields(AuditPlan)}
    if twice := sorted(k for k, v in values.items() if v != defaults[k]):
        raise ValueError(f"--plan says everything; leave out what you gave for {', '.join(twice)}")
    return read_plan(file)


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(n.strip() for names in given for n in names.split(",") if n.strip())


def plan(
    original: OriginalOpt = "organism:original",
    unlearned: UnlearnedOpt = None,
    method: MethodOpt = None,
    control: ControlOpt = "auto",
    task: TaskOpt = "",
    attacks: AttacksOpt = "",
    change: ChangeOpt = None,
    seed: SeedOpt = 0,
    retain_limit: LimitOpt = 0.05,
    models: ModelsOpt = "",
    dtype: DtypeOpt = "auto",
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Print an audit's plan as TOML, to keep and to change: mechunlearn plan > plan.toml."""
    from mechunlearn.audit.plan_file import plan_toml

    made = _planned(
        original=original,
        unlearned=unlearned,
        methods=method,
        control=control,
        task=task,
        attacks=attacks,
        changes=change,
        seed=seed,
        retain_limit=retain_limit,
        models=models,
        dtype=dtype,
        device=device,
    )
    if as_json:
        print_json(made.to_dict())
    else:
        sys.stdout.write(plan_toml(made))


def audit(
    original: OriginalOpt = "organism:original",
    unlearned: UnlearnedOpt = None,
    method: MethodOpt = None,
    control: ControlOpt = "auto",
    task: TaskOpt = "",
    attacks: AttacksOpt = "",
    change: ChangeOpt = None,
    seed: SeedOpt = 0,
    retain_limit: LimitOpt = 0.05,
    models: ModelsOpt = "",
    dtype: DtypeOpt = "auto",
    device: DeviceOpt = "auto",
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="A plan from: mechunlearn plan.")
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="90s, 30m, 2h: the most informative attacks that fit.")
    ] = "",
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
            "--workers", min=0, help="Processes; with ray at most, 0: all it has room for."
        ),
    ] = 0,
    tracker: Annotated[
        str, typer.Option("--track", help="Also write the numbers to wandb or trackio.")
    ] = "",
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Attack unlearned models and report what comes back, with every control.

    Every finished piece is kept: the same command again computes only what is missing.
    """
    made = _planned(
        plan_file,
        original=original,
        unlearned=unlearned,
        methods=method,
        control=control,
        task=task,
        attacks=attacks,
        changes=change,
        seed=seed,
        retain_limit=retain_limit,
        models=models,
        dtype=dtype,
        device=device,
    )
    made = dataclasses.replace(made, budget=budget or made.budget)
    if dry_run:
        _estimate(made, out or Path("runs") / made.name, as_json)
    else:
        from mechunlearn.audit.engines import engine as named

        run_audit(made, out, as_json, named(engine, address, workers), tracker)


def paper(
    models: ModelsOpt = "",
    original: OriginalOpt = "organism:original",
    unlearned: UnlearnedOpt = None,
    task: TaskOpt = "",
    attacks: Annotated[
        str, typer.Option("--attacks", help="Rows of the published table; default: all.")
    ] = "",
    change: ChangeOpt = None,
    dtype: DtypeOpt = "auto",
    device: DeviceOpt = "auto",
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """The published protocol, cell by cell, beside the published table: --models zephyr.

    Variants are chosen on the reported questions, as in the paper; an audit does better.
    """
    from mechunlearn.errors import unknown
    from mechunlearn.report.table import show_paper
    from mechunlearn.studies.paper import ATTACKS
    from mechunlearn.studies.paper import paper as run

    made = _planned(
        original=original,
        unlearned=unlearned,
        methods=None,
        attacks="gcg,pruning_weights",
        changes=change,
        task=task,
        models=models,
        dtype=dtype,
        device=device,
        control="none",
    )
    if not made.unlearned:
        raise ValueError("the paper's table is of models that were unlearned: give --unlearned")
    rows = _names([attacks]) or ATTACKS
    for row in rows:
        if row not in ATTACKS:
            raise unknown("row of the table", row, ATTACKS)
    folder = out or Path("runs") / f"paper-{made.name}"
    cells = run(made, folder, rows)
    if as_json:
        print_json([dataclasses.asdict(c) | {"difference": c.difference} for c in cells])
    else:
        show_paper(cells)
        say(f"table: {folder / 'paper.json'}")


def _estimate(made: Any, out: Path, as_json: bool) -> None:
    from mechunlearn.audit.outlook import outlook
    from mechunlearn.audit.plan_file import plan_toml
    from mechunlearn.audit.run import dry_run
    from mechunlearn.report.table import show_estimates, show_outlook

    if not as_json and "/" in made.original:  # Something may have to be fetched: say what first.
        sys.stderr.write(plan_toml(made))
        show_outlook(outlook(made))
    found = dry_run(made, out)
    if as_json:
        print_json(
            [
                {
                    "kind": e.cell.kind,
                    "model": e.cell.model,
                    "attack": e.cell.attack,
                    "seconds": e.seconds,
                    "flops": e.flops,
                    "memory": e.memory,
                }
                for e in found
            ]
        )
    else:
        show_estimates(found)


def run_audit(
    plan: Any, out: Path | None, as_json: bool, engine: Any = None, tracker: str = ""
) -> None:
    """Carry out a plan, draw its figures and its page."""
    from mechunlearn.audit.run import audit as run
    from mechunlearn.plots import write
    from mechunlearn.report import write_page
    from mechunlearn.report.table import show
    from mechunlearn.report.trackers import check_tracker, track

    if tracker:
        check_tracker(tracker)
    out = out or Path("runs") / plan.name
    report = run(plan, out, engine)
    if tracker:
        track(report, tracker, plan.name)
    write(report, out / "figures")
    page = write_page(report, out / "report.html")
    if as_json:
        print_json(report.to_dict())
    else:
        show(report)
        say(f"report: {page}")


def validate(
    seeds: Annotated[
        str, typer.Option("--seeds", help="Worlds to make, comma-separated.")
    ] = "0,1,10,11,12,13,14",
    attacks: AttacksOpt = "",
    change: ChangeOpt = None,
    conditions: Annotated[
        str, typer.Option("--conditions", help="Some of them, comma-separated; default: all.")
    ] = "",
    add: Annotated[
        list[Path] | None, typer.Option("--add", help="Another validation.json to count too.")
    ] = None,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Audit models whose truth is known: sensitivity and false alarms of attacks and verdict.

    Hides the knowledge of organisms or removes it, and counts who is right. Seeds without shipped
    organisms get small ones, made in a minute. Goes on where it was stopped.
    """
    from mechunlearn.plots.validation import write_validation
    from mechunlearn.report.table import show_validation
    from mechunlearn.studies.truths import chosen_conditions
    from mechunlearn.studies.validation import ValidationPlan, validate

    if not all(s.isdigit() for s in _names([seeds])):
        raise ValueError(f"--seeds takes whole numbers such as 10,11, not {seeds!r}")
    given: dict[str, Any] = {"attacks": _names([attacks])} if attacks else {}
    made = ValidationPlan(
        seeds=tuple(map(int, _names([seeds]))),
        changes=tuple(change or ()),
        conditions=chosen_conditions(_names([conditions])),
        **given,
    )
    folder = out or Path("runs") / "validation"
    found = validate(made, folder, [read_file(file) for file in add or ()])
    write_validation(found, folder / "figures")
    if as_json:
        print_json(found)
    else:
        show_validation(found)
        say(f"result: {folder / 'validation.json'}")
