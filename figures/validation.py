"""The validation's figures again, from its result: python figures/validation.py [--images]."""

import sys
from pathlib import Path

from mechunlearn.plots.validation import write_validation
from mechunlearn.studies.records import ValidationResult

here = Path(__file__).parent
result = ValidationResult.load(here / "data" / "validation.json")
write_validation(result, here, images="--images" in sys.argv)
