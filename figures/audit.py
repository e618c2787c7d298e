"""The audit's figures again, from its results: python figures/audit.py [KIND ...] [--images]."""

import sys
from pathlib import Path

from mechunlearn.analysis.report import Report
from mechunlearn.plots import write

here = Path(__file__).parent
kinds = [word for word in sys.argv[1:] if not word.startswith("--")]
write(Report.load(here / "audit-organism"), here, "--images" in sys.argv, kinds=kinds)
