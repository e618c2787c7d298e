"""The command line: parse, call one library function, print, save. Heavy imports stay inside."""

import os
import sys
from typing import Annotated

import typer

from mechunlearn.cli import audit, models, report, studies, tasks
from mechunlearn.cli.options import say
from mechunlearn.errors import PrerequisiteError
from mechunlearn.version import __version__

app = typer.Typer(
    help='Is an LLM\'s "unlearned" knowledge gone, or only hidden?',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    *(audit.plan, audit.audit, audit.attack),
    *(report.report, report.diff, report.figures, report.export),
    *(studies.paper, studies.validate, studies.rerun),
    *(models.unlearn, models.bench, tasks.task, tasks.doctor),
):
    app.command()(command)
app.command("list")(tasks.list_)
organism_app = typer.Typer(help="Tiny models whose knowledge is known.", no_args_is_help=True)
organism_app.command("train")(models.organism_train)
app.add_typer(organism_app, name="organism")


def main() -> None:
    """Entry point: errors a user can mend are one line and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except (
        ValueError,
        TypeError,
        OSError,
        RuntimeError,
        PrerequisiteError,
    ) as err:  # A full disk, too.
        say(f"error: {err}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped; the same command (unlearn: with --resume) goes on where it can")
        sys.exit(130)


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"mechunlearn {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    pass
