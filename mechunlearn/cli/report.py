"""The commands around finished runs: their pages, what moved, and once more."""

import dataclasses
import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechunlearn.cli.options import JsonOpt, OutOpt, print_json, say

if TYPE_CHECKING:
    from mechunlearn.analysis.records import Report


def read_report(run: Path) -> "Report":
    """The report of an audit's folder, or from a file.

    Raises:
        ValueError: If there is none.
    """
    from mechunlearn.analysis.records import Report

    return Report.from_dict(read_file(run / "report.json" if run.is_dir() else run))


def read_file(file: Path) -> dict[str, Any]:
    """The JSON of a run.

    Raises:
        ValueError: If it is not there, or no JSON.
    """
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
        known = read_file(validation) if validation else None
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
    from mechunlearn.analysis.compare import compare
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
    from mechunlearn.analysis.compare import rerun as repeat
    from mechunlearn.report.table import show_changes

    file = card / "report.json" if card.is_dir() else card
    found = repeat(read_file(file), out or Path("runs") / f"{file.resolve().parent.name}-rerun")
    if as_json:
        changes = [dataclasses.asdict(c) for c in found.changes]
        print_json({"agrees": found.agrees, "changes": changes, "out": str(found.out)})
    else:
        show_changes(found.changes)
        say(f"{'agrees' if found.agrees else 'does not agree'}; the new run: {found.out}")
    if not found.agrees:
        raise typer.Exit(1)
