"""Execute notebooks, and write them beside their sources: ``python notebooks/execute.py 00 01``.

Without names, all but the long ones. What goes to standard error (progress, warnings) is not kept,
nor is anything that differs from run to run without meaning: cell ids and times.
"""

import resource
import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
LONG = ("08",)
"""Minutes each, and a model that is not shipped."""
WIDGET = "application/vnd.jupyter.widget-view+json"


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
    if WIDGET in output.get("data", {}):
        return False  # Live only: a widget's state would be most of the file.
    return bool(output.get("data", True))


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Text that a cell printed in pieces as one output."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def cpu_seconds() -> float:
    """Processor time of the kernels that have ended, the browser's included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def execute(file: Path) -> None:
    """Run a notebook from start to end, and write it with its outputs."""
    notebook, start, before = jupytext.read(file), time.perf_counter(), cpu_seconds()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    where = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=3600, store_widget_state=False, resources=where).execute()
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i}", NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = joined([output for output in cell.outputs if kept(output)])
    jupytext.write(notebook, file.with_suffix(".ipynb"))
    size = file.with_suffix(".ipynb").stat().st_size
    wall, cpu = time.perf_counter() - start, cpu_seconds() - before
    sys.stderr.write(f"{file.stem}: {wall:.0f} s, {cpu:.0f} CPU s, {size / 1000:.0f} kB\n")


if __name__ == "__main__":
    for source in sources(sys.argv[1:]):
        execute(source)
