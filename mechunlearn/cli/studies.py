"""The commands of studies: paper, validate, trace, rerun."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechunlearn.cli.options import (
    Fields,
    JsonOpt,
    ModelsOpt,
    OutOpt,
    TrustOpt,
    answer,
    kept,
    names_of,
    plan_of,
    plan_options,
    print_json,
    say,
)

if TYPE_CHECKING:
    from mechunlearn.audit.plan import AuditPlan


@plan_options(only=("original", "unlearned", "task", "changes", "dtype", "device"))
def paper(
    fields: Fields,
    models: ModelsOpt = "",
    attacks: Annotated[
        str, typer.Option("--attacks", help="Rows of the published table; default: all.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is missing and what it will take.")
    ] = False,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """The published protocol, cell by cell, beside the published table: --models zephyr.

    Variants are chosen on the reported questions, as in the paper; an audit does better.
    """
    from mechunlearn.errors import unknown
    from mechunlearn.records import plain
    from mechunlearn.report.table import show_paper
    from mechunlearn.studies.paper import ATTACKS
    from mechunlearn.studies.paper import paper as run
    from mechunlearn.studies.published_attacks import REGISTERED

    used = {"attacks": tuple(dict.fromkeys(REGISTERED.values())), "control": "none"}
    made = plan_of(fields | used, models=models)
    if not made.unlearned:
        raise ValueError("the paper's table is of models that were unlearned: give --unlearned")
    rows = names_of("--attacks", [attacks] if attacks else ()) or ATTACKS
    for row in rows:
        if row not in ATTACKS:
            raise unknown("row of the table", row, ATTACKS)
    default = made.folder
    folder = out or default.with_name(f"paper-{default.name}")
    if dry_run:
        _look_ahead(made, folder, rows, as_json)
        return
    kept.folder = folder
    cells = run(made, folder, rows)
    if as_json:
        print_json([plain(c) | {"difference": c.difference} for c in cells])
    else:
        show_paper(cells)
        say(f"table: {folder / 'paper.json'}")


def _look_ahead(plan: "AuditPlan", folder: Path, rows: Sequence[str], as_json: bool) -> None:
    """Say what the table would take."""
    from mechunlearn.report.costs import show_paper_outlook
    from mechunlearn.studies.paper_outlook import paper_outlook

    ahead = paper_outlook(plan, folder, rows)
    if as_json:
        print_json(ahead)
    else:
        show_paper_outlook(ahead)


WorldsOpt = Annotated[
    str,
    typer.Option(
        "--seeds",
        help="Worlds, comma-separated; default: those of --chat or --twins that are there, else "
        "0,1,10,11,12,13,14, of which five are made.",
    ),
]


@plan_options(only=("attacks", "changes"))
def validate(
    fields: Fields,
    seeds: WorldsOpt = "",
    chat: Annotated[
        bool, typer.Option("--chat", help="The shipped chat organisms: seed 0, and some of 1.")
    ] = False,
    twins: Annotated[
        str, typer.Option("--twins", help="Models of organism train --kind chat --base, by folder.")
    ] = "",
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
    organisms get small ones, made in a minute; --twins takes a real model's. Goes on where it was
    stopped.
    """
    from mechunlearn.plots.validation import write_validation
    from mechunlearn.report.table import show_validation
    from mechunlearn.studies.conditions import chosen_conditions
    from mechunlearn.studies.records import ValidationResult
    from mechunlearn.studies.validation import ValidationPlan
    from mechunlearn.studies.validation import validate as run
    from mechunlearn.studies.world_models import worlds

    made = ValidationPlan(
        seeds=_seeds(seeds) if seeds else worlds(chat=chat, twins=twins),
        attacks=fields["attacks"],
        changes=fields["changes"],
        conditions=chosen_conditions(names_of("--conditions", [conditions] if conditions else ())),
        chat=chat,
        twins=twins,
    )
    kept.folder = folder = out or Path("runs") / "validation"
    result = run(made, folder, [ValidationResult.load(file) for file in add or ()])
    write_validation(result, folder / "figures")
    if as_json:
        print_json(result)
    else:
        show_validation(result)
        say(f"result: {folder / 'validation.json'}")


@plan_options(without=("methods", "attacks", "seed", "seeds", "planted", "retain_limit", "budget"))
def trace(
    fields: Fields,
    models: ModelsOpt = "",
    benign: Annotated[
        int,
        typer.Option(
            "--benign", min=0, help="Also finetune the original on retain examples, N steps."
        ),
    ] = 0,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """What gives away that a model was unlearned, and of what: membership, responses, activations.

    Statistics, not attacks: areas under the ROC curve beside the original, a never-knew model and a
    benign finetune. No verdict reads them.
    """
    from mechunlearn.report.table import show_separations
    from mechunlearn.studies.separation import separations

    made = plan_of(fields, models=models)
    folder = out or made.folder.with_name(f"trace-{made.name}")
    result = separations(made, folder, benign=benign)
    if as_json:
        print_json(result)
    else:
        show_separations(result)
        say(f"table: {folder / 'trace.json'}")


def _seeds(seeds: str) -> tuple[int, ...]:
    words = names_of("--seeds", [seeds])
    if not all(word.isdigit() for word in words):
        raise ValueError(f"--seeds takes whole numbers such as 10,11, not {seeds!r}")
    return tuple(map(int, words))


def rerun(
    card: Annotated[
        Path,
        typer.Argument(
            help="An audit's folder, its report.json, or the runcard.json of an unlearned model."
        ),
    ],
    sample: Annotated[
        int, typer.Option(min=0, help="Only so many attacks of an audit, drawn at random; 0: all.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of which attacks are drawn.")] = 0,
    trust_remote_code: TrustOpt = False,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Repeat a run and say whether it agrees; exit code 1 if a number moved beyond its interval."""
    from mechunlearn.report.table import show_changes
    from mechunlearn.studies.rerun import rerun as repeat

    file = card / "report.json" if card.is_dir() else card
    kept.folder = out or Path("runs") / f"{file.resolve().parent.name}-rerun"
    result = repeat(
        file, kept.folder, sample=sample, seed=seed, trust_remote_code=trust_remote_code
    )
    if as_json:
        found = {"agrees": result.agrees, "changes": result.changes, "differs": result.differs}
        print_json({**found, "cells": result.cells, "out": str(result.out)})
    else:
        for model, attack in result.cells:
            say(f"repeated: {attack} on {model}")
        show_changes(result.changes, result.differs)
        answer(f"{'agrees' if result.agrees else 'does not agree'}; the new run: {result.out}")
    if not result.agrees:
        raise typer.Exit(1)
