"""The audit's figures again, from its results: python figures/audit.py [KIND ...] [--images]."""

import sys
from pathlib import Path

from mechunlearn.cli.report import figures

here = Path(__file__).parent
kinds = [word for word in sys.argv[1:] if not word.startswith("--")]
figures(here / "audit-organism", here, images="--images" in sys.argv, kind=kinds)
