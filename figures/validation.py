"""The validation's figures again, from its result: python figures/validation.py [--images]."""

import json
import sys
from pathlib import Path

from mechunlearn.plots.validation import write_validation

here = Path(__file__).parent
found = json.loads((here / "validation.json").read_text())
write_validation(found, here, images="--images" in sys.argv)
