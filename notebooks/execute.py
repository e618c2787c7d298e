"""Execute notebooks and write them beside their sources: ``python notebooks/execute.py [00 01 ...]``.

Without names, all but the long ones. What goes to standard error (progress, warnings) is not kept,
nor is anything that differs from run to run without meaning: cell ids and times.
"""

import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
LONG = ("08",)
"""Minutes each, and a model that is not shipped."""


def sources(names: list[str]) -> list[Path]:
    """Notebooks by the beginnings of their names."""
    found = sorted(HERE.glob("[0-9][0-9]_*.py"))
    if names:
        return [file for file in found if file.name.startswith(tuple(names))]
    return [file for file in found if not file.name.startswith(LONG)]


def kept(output: NotebookNode) -> bool:
    """Whether an output belongs on the page."""
    if output.output_type == "stream":
        return output.name != "stderr"
    return bool(output.get("data", True))


def execute(file: Path) -> None:
    """Run a notebook from start to end, and write it with its outputs."""
    notebook, start = jupytext.read(file), time.perf_counter()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(HERE)}})
    client.execute()
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i}", NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if kept(output)]
    jupytext.write(notebook, file.with_suffix(".ipynb"))
    size = file.with_suffix(".ipynb").stat().st_size
    sys.stderr.write(f"{file.stem}: {time.perf_counter() - start:.1f} s, {size / 1000:.0f} kB\n")


if __name__ == "__main__":
    for source in sources(sys.argv[1:]):
        execute(source)
