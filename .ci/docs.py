"""Guide and reference as HTML: python .ci/docs.py FOLDER. A warning is an error."""

import pkgutil
import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import markdown2
import pdoc

import mechunlearn
from mechunlearn.cli.guide import FOLDER, pages

EXTENSION = "mechunlearn.report.inspect_task"
out = Path(sys.argv[1])
for name in mechunlearn.__all__:  # They are imported on first use, which pdoc does not try.
    vars(mechunlearn)[name] = getattr(mechunlearn, name)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui;max-width:52rem;margin:2rem auto;padding:0 1rem}}
pre,table{{overflow-x:auto;display:block}}td,th{{padding:.2rem .6rem;text-align:left}}
img{{max-width:100%}}nav a{{margin-right:1rem}}</style>
<nav>{links}<a href="../mechunlearn.html">Reference</a></nav>{body}</html>"""


def guide(folder: Path) -> None:
    """The pages of the guide; links to other files of the repository stay as text."""
    folder.mkdir(parents=True, exist_ok=True)
    links = "".join(f'<a href="{name}.html">{name}</a>' for name in pages())
    for name, title in pages().items():
        text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        text = re.sub(r"!?\[([^\]]*)\]\(\.\.[^)]*\)", r"\1", text)
        text = re.sub(r"\]\((\S+)\.md\)", r"](\1.html)", text)
        text = re.sub(r"^```(\w+) .*$", r"```\1", text, flags=re.MULTILINE)
        body = markdown2.markdown(text, extras=["tables", "fenced-code-blocks"])
        page = PAGE.format(title=title, links=links, body=body)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")


guide(out / "guide")
modules = [m.name for m in pkgutil.walk_packages(mechunlearn.__path__, "mechunlearn.")]
if find_spec("inspect_ai") is None:  # Its extension cannot be read without it.
    modules = [m for m in modules if m != EXTENSION] + [f"!{EXTENSION}"]
warnings.filterwarnings("error", module="pdoc")
warnings.filterwarnings("ignore", message=".*has already been added", module="pdoc")
pdoc.render.configure(docformat="google")
pdoc.pdoc("mechunlearn", *modules, output_directory=out)
