"""The commands around finished audits: pages, figures, tables, and what moved between two."""

import sys
import webbrowser
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechunlearn.cli.options import (
    FailOpt,
    ForceOpt,
    JsonOpt,
    fail_for,
    failures,
    print_json,
    say,
)
from mechunlearn.errors import refuse_existing

if TYPE_CHECKING:
    from mechunlearn.analysis.report import Report

RunArg = Annotated[Path, typer.Argument(help="Folder or report.json of an audit.")]


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folder or report.json of an audit; several: compared.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The page; default: RUN/report.html, of several: comparison.html or board.html.",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", help="Another validation.json than the package's."),
    ] = None,
    force: ForceOpt = False,
    card: Annotated[
        bool, typer.Option("--card", help="Only print a section for a model card on the Hub.")
    ] = False,
    board: Annotated[
        bool, typer.Option("--board", help="Many runs: one table of their models, to be sorted.")
    ] = False,
    fail_if: FailOpt = "",
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Draw the page of a finished audit again, or one page of several beside each other."""
    from mechunlearn.analysis.report import Report

    wrong, reports = failures(fail_if), [Report.load(run) for run in runs]
    if card:
        _print_card(reports, wrong)
        return
    if board:
        if validation:
            raise ValueError("--validation is for the page of one run; leave it out, or --board")
        page = _board(runs, reports, out, force, as_json)
    else:
        page = _page(runs, reports, out, validation, force)
        _say_all(reports, as_json)
    if not as_json:
        say(f"report: {page}")
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        say("no browser was found; open the page by hand")
    for each in reports:
        fail_for(each, wrong)


def _say_all(reports: "Sequence[Report]", as_json: bool) -> None:
    from mechunlearn.report.table import show

    if as_json:
        print_json(reports[0] if len(reports) == 1 else reports)
        return
    for each in reports:
        show(each)


def _page(
    runs: Sequence[Path],
    reports: "Sequence[Report]",
    out: Path | None,
    validation: Path | None,
    force: bool,
) -> Path:
    """Draw the page of one run, or of several beside each other."""
    from mechunlearn.report import write_comparison, write_page
    from mechunlearn.studies.records import ValidationResult

    _refuse_page(runs, out, force)
    if len(runs) == 1:
        beside = runs[0] if runs[0].is_dir() else runs[0].parent
        known = ValidationResult.load(validation) if validation else None
        return write_page(reports[0], out or beside / "report.html", known)
    if validation:
        raise ValueError("--validation is for the page of one run; leave it out, or the others")
    named = dict(zip(run_names(runs), reports, strict=True))
    return write_comparison(named, out or Path("comparison.html"))


def _board(
    runs: Sequence[Path],
    reports: "Sequence[Report]",
    out: Path | None,
    force: bool,
    as_json: bool,
) -> Path:
    """Write and print the table of several runs."""
    from mechunlearn.report import write_board
    from mechunlearn.report.board import show_board, standings

    out = out or Path("board.html")
    _refuse_page(runs, out, force)
    named = dict(zip(run_names(runs), reports, strict=True))
    page = write_board(named, out)
    if as_json:
        print_json(standings(named))
    else:
        show_board(standings(named))
    return page


def _print_card(reports: "Sequence[Report]", wrong: Collection[str]) -> None:
    from mechunlearn.report.card import model_card

    if len(reports) > 1:
        raise ValueError("--card is of one run; give one")
    sys.stdout.write(model_card(reports[0]))
    fail_for(reports[0], wrong)


def _refuse_page(runs: Sequence[Path], out: Path | None, force: bool) -> None:
    """Refuse a page in the place of something else; the one in a run's folder is the run's."""
    sources = [run / "report.json" if run.is_dir() else run for run in runs]
    if out is not None and any(out.resolve() == source.resolve() for source in sources):
        raise ValueError(f"{out} is what the page is drawn from; choose another --out")
    page = out or (Path("comparison.html") if len(runs) > 1 else None)
    if page and not force:
        refuse_existing([page])


def run_names(runs: Sequence[Path]) -> list[str]:
    """The runs' shortest names that tell them apart.

    Raises:
        ValueError: If one is given twice.
    """
    paths = [run.resolve() for run in runs]
    paths = [p.parent if p.name == "report.json" else p for p in paths]
    parts = [(p.with_suffix("") if p.is_file() else p).parts for p in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the same run is given twice: {', '.join(map(str, runs))}")


def diff(
    first: RunArg,
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: JsonOpt = False,
) -> None:
    """Which numbers moved from one audit to another, and whether beyond their intervals."""
    from mechunlearn.analysis.compare import compare, differences
    from mechunlearn.analysis.report import Report
    from mechunlearn.report.table import show_changes

    reports = Report.load(first), Report.load(second)
    changes = compare(*reports)
    if as_json:
        print_json(changes)
    else:
        show_changes(changes, differences(reports))


def figures(
    run: RunArg,
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures.")] = Path("figures"),
    images: Annotated[bool, typer.Option("--images", help="Also .svg and .png.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="For dark pages, as NAME-dark.")] = False,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Draw the figures of a finished audit."""
    from mechunlearn.analysis.report import Report
    from mechunlearn.plots import write

    report = Report.load(run)
    files = write(report, out, images, kinds=kind or (), dark=dark, replace=force)
    _written(files, as_json)


def export(
    run: RunArg,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("tables"),
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Logs for inspect view in place of tables.")
    ] = False,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Write a finished audit as Parquet tables (rows, baselines, answers) or as Inspect's logs."""
    from mechunlearn.analysis.report import Report
    from mechunlearn.report.inspect_log import write_inspect_logs
    from mechunlearn.report.parquet import write_parquet

    write = write_inspect_logs if inspect else write_parquet
    _written(write(Report.load(run), out, replace=force), as_json)


def _written(files: list[Path], as_json: bool) -> None:
    names = [str(file) for file in files]
    if as_json:
        print_json(names)
        return
    for name in names:
        say(name)
