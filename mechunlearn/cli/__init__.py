"""The command line: parse, call one library function, print, save. Heavy imports stay inside."""

import os
import sys
import traceback
from typing import Annotated

import typer

from mechunlearn.cli import audit, chat, guide, models, report, studies, tasks
from mechunlearn.cli.errors import explained
from mechunlearn.cli.options import alarm, kept
from mechunlearn.version import __version__

app = typer.Typer(
    help='Is an LLM\'s "unlearned" knowledge gone, or only hidden?',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(audit.plan, audit.audit, audit.attack),
    *(report.report, report.diff, report.figures, report.export),
    *(studies.paper, studies.validate, studies.trace, studies.rerun),
    *(models.unlearn, models.bench, chat.chat, tasks.task, tasks.doctor, guide.guide),
):
    app.command()(command)
app.command("list")(tasks.list_)
organism_app = typer.Typer(help="Tiny models whose knowledge is known.", no_args_is_help=True)
organism_app.command("train")(models.organism_train)
app.add_typer(organism_app, name="organism")


STOPPED = {
    **dict.fromkeys(
        ("audit", "attack", "paper", "rerun", "validate"),
        "every finished piece is kept in {folder}; the same command goes on",
    ),
    "chat": "conversations are not kept",
    "unlearn": "training up to its last checkpoint is kept in OUT.training; the same command with "
    "--resume goes on",
}
"""What a command keeps when it is stopped, and how to go on."""
DEBUG, QUIET = "--debug", "--quiet"
INTERRUPTED = 130


def main() -> None:
    """Entry point: whatever goes wrong is one line and exit code 2; Ctrl-C is 130."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    given = sys.argv[1:]
    arguments = [a for a in given if a not in (DEBUG, QUIET)]
    kept.folder = None
    if QUIET in given:
        from mechunlearn.progress import console

        console.quiet = True
    try:
        # Outside its standalone mode typer hands over errors and returns exit codes.
        code = app(arguments, prog_name="mechunlearn", standalone_mode=False)
        code = code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as err:
        code = _failed(err, debug=DEBUG in given)
    if code == INTERRUPTED:
        command = next((a for a in arguments if a in STOPPED), "")
        text = STOPPED.get(command, "nothing is kept; run it again")
        if kept.folder is not None and not kept.folder.exists():
            text = "nothing is kept yet; the same command begins anew"
        alarm(f"stopped; {text.format(folder=kept.folder or 'its folder (--out, or its default)')}")
    sys.exit(code)


def _failed(err: Exception, debug: bool) -> int:
    """Say what happened; the exit code."""
    if type(err).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{err}\n")
        return 2
    if debug:
        traceback.print_exception(err)
    alarm(f"error: {explained(err)}")
    return 2


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"mechunlearn {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; with any command.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option(QUIET, help="Neither notes nor progress; with any command.")
    ] = False,
) -> None:
    pass
