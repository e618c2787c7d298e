"""Figures as files."""

from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from mechunlearn.errors import PrerequisiteError, refuse_existing

WIDTH = 760
"""Pixels of an image."""


def write_figures(
    drawn: Mapping[str, go.Figure], folder: Path, images: bool = False, *, replace: bool = True
) -> list[Path]:
    """Write each figure as ``.json`` and ``.html``, and as ``.svg`` and ``.png`` if asked.

    Args:
        drawn: By file name.
        replace: Whether files that exist are written over.

    Raises:
        FileExistsError: If one exists and is not to be replaced; nothing is written then.
        PrerequisiteError: If images are asked for and kaleido or Chrome is missing.
    """
    suffixes = (".json", ".html", *((".svg", ".png") if images else ()))
    if not replace:
        refuse_existing(folder / f"{name}{suffix}" for name in drawn for suffix in suffixes)
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "plotly.min.js"
    if script.is_file() and script.read_bytes() != get_plotlyjs().encode():
        script.unlink()  # A full disk cut it short, or it is another version's; plotly keeps it.
    written = []
    for name, fig in drawn.items():
        path = folder / f"{name}.json"
        path.write_text(fig.to_json() + "\n", encoding="utf-8")
        fig.write_html(path.with_suffix(".html"), include_plotlyjs="directory", full_html=True)
        written += [path, path.with_suffix(".html")]
    for suffix in suffixes[2:]:
        files = [folder / f"{name}{suffix}" for name in drawn]
        heights = [fig.layout.height for fig in drawn.values()]
        try:
            pio.write_images(list(drawn.values()), files, width=WIDTH, height=heights, scale=2)
        except (ValueError, RuntimeError, ImportError) as err:
            raise PrerequisiteError(
                "images need kaleido and Chrome: pip install 'mechunlearn[export]' and, "
                f"without a browser, plotly_get_chrome ({str(err).splitlines()[0]})"
            ) from err
        written += files
    return written
