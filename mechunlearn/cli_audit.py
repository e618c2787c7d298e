"""The commands around an audit: plan it, run it, compare it, validate it."""

import dataclasses
import json
import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechunlearn.cli_options import (
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

if TYPE_CHECKING:
    from mechunlearn.types import Report


def _planned(file: Path | None = None, models: str = "", **given: Any) -> Any:
    """The plan of a command line, or of a file."""
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.audit.plan_file import read_plan
    from mechunlearn.sources import SETS, model_set

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
        int, typer.Option("--workers", min=0, help="Ray: at most; 0: all there is room for.")
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
    from mechunlearn.audit.paper import ATTACKS
    from mechunlearn.audit.paper import paper as run
    from mechunlearn.errors import unknown
    from mechunlearn.report.table import show_paper

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
    from mechunlearn.trackers import check_tracker, track

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


def read_report(run: Path) -> "Report":
    """The report of an audit's folder, or from a file.

    Raises:
        ValueError: If there is none.
    """
    from mechunlearn.types import Report

    return Report.from_dict(_read(run / "report.json" if run.is_dir() else run))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"there is no {file}; make an audit's with: mechunlearn audit")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as err:
        raise ValueError(f"{file} is not valid JSON ({err})") from err


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folder or report.json of an audit; several: compared.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The page; default: RUN/report.html, of several: comparison.html."
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", help="Another validation.json than the package's."),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Draw the page of a finished audit again, or one page that compares several."""
    from mechunlearn.report import write_comparison, write_page
    from mechunlearn.report.table import show

    found = [read_report(run) for run in runs]
    if len(runs) > 1:
        if validation:
            raise ValueError("--validation is for the page of one run; leave it out, or the others")
        named = dict(zip(_run_names(runs), found, strict=True))
        page = write_comparison(named, out or Path("comparison.html"))
    else:
        beside = runs[0] if runs[0].is_dir() else runs[0].parent
        known = _read(validation) if validation else None
        page = write_page(found[0], out or beside / "report.html", known)
    if as_json:
        print_json(found[0].to_dict() if len(found) == 1 else [r.to_dict() for r in found])
    else:
        for each in found:
            show(each)
        say(f"report: {page}")
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        say("no browser was found; open the page by hand")


def _run_names(runs: list[Path]) -> list[str]:
    """The runs' shortest names that tell them apart."""
    paths = [run.resolve() for run in runs]
    paths = [p.parent if p.name == "report.json" else p for p in paths]
    parts = [(p.with_suffix("") if p.is_file() else p).parts for p in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the same run is given twice: {', '.join(map(str, runs))}")


def diff(
    first: Annotated[Path, typer.Argument(help="Folder or report.json of an audit.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: JsonOpt = False,
) -> None:
    """Which numbers moved from one audit to another, and whether beyond their intervals."""
    from mechunlearn.audit.compare import compare
    from mechunlearn.report.table import show_changes

    changes = compare(read_report(first), read_report(second))
    if as_json:
        print_json([dataclasses.asdict(c) for c in changes])
    else:
        show_changes(changes)


def rerun(
    card: Annotated[
        Path,
        typer.Argument(
            help="An audit's folder, its report.json, or the runcard.json of an unlearned model."
        ),
    ],
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Repeat a run and say whether it agrees; exit code 1 if a number moved beyond its interval."""
    from mechunlearn.audit.compare import rerun as repeat
    from mechunlearn.report.table import show_changes

    file = card / "report.json" if card.is_dir() else card
    found = repeat(_read(file), out or Path("runs") / f"{file.resolve().parent.name}-rerun")
    if as_json:
        changes = [dataclasses.asdict(c) for c in found.changes]
        print_json({"agrees": found.agrees, "changes": changes, "out": str(found.out)})
    else:
        show_changes(found.changes)
        say(f"{'agrees' if found.agrees else 'does not agree'}; the new run: {found.out}")
    if not found.agrees:
        raise typer.Exit(1)


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
    from mechunlearn.audit.truths import chosen_conditions
    from mechunlearn.audit.validation import ValidationPlan, validate
    from mechunlearn.plots.validation import write_validation
    from mechunlearn.report.table import show_validation

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
    found = validate(made, folder, [_read(file) for file in add or ()])
    write_validation(found, folder / "figures")
    if as_json:
        print_json(found)
    else:
        show_validation(found)
        say(f"result: {folder / 'validation.json'}")
