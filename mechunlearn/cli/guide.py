"""The guide: short pages that come with the package."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mechunlearn.errors import unknown

FOLDER = Path(__file__).parents[1] / "guide"
ORDER = ("verdicts", "models", "questions", "answers", "attacks", "runs", "memory", "page",
         "own-attack", "results")  # fmt: skip
"""Names of the pages, as one reads them."""


def pages() -> Mapping[str, str]:
    """Name and title of every page, in order."""
    return {name: _text(name).partition("\n")[0].removeprefix("# ") for name in ORDER}


def guide(
    page: Annotated[str, typer.Argument(help="A page; without one they are listed.")] = "",
) -> None:
    """The guide: what the numbers mean, what can be given, how to go on."""
    from mechunlearn.progress import results

    console = results()
    if not page:
        for name, title in pages().items():
            console.print(f"{name:12} {title}", highlight=False, markup=False)
        return
    if page not in ORDER:
        raise unknown("page", page, ORDER, " See: mechunlearn guide")
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(_without_links(_text(page))))
    else:
        console.file.write(_text(page))


def _without_links(text: str) -> str:
    """A terminal shows no pictures and opens no files of the package."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def _text(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
