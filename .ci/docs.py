"""The reference as HTML, from docstrings: python .ci/docs.py FOLDER. A warning is an error."""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import mechunlearn

out = Path(sys.argv[1])
for name in mechunlearn.__all__:  # They are imported on first use, which pdoc does not try.
    vars(mechunlearn)[name] = getattr(mechunlearn, name)
modules = [m.name for m in pkgutil.walk_packages(mechunlearn.__path__, "mechunlearn.")]
warnings.filterwarnings("error", module="pdoc")
warnings.filterwarnings("ignore", message=".*has already been added", module="pdoc")
pdoc.render.configure(docformat="google")
pdoc.pdoc("mechunlearn", *modules, output_directory=out)
