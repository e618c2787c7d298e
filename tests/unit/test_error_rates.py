"""False alarms of the whole test: some of ``tests/benchmarks/error_rates.py``, with fewer draws."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from error_rates import Null, alarms


@pytest.mark.ci
@pytest.mark.parametrize(
    "null",
    [
        Null(40, 1, 0.0, 0.25, 0.85),
        Null(240, 1, 0.0, 0.55, 0.4, changing=0.1),
        Null(240, 20, 0.3, 0.4, 0.4),
        Null(240, 10, 0.3, 0.85, None),
    ],
    ids=str,
)
def test_sixteen_useless_attacks_alarm_in_one_audit_of_twenty(null: Null) -> None:
    """A2, A10, A19: 5 % with a margin of two standard errors of 100 audits."""
    assert alarms(null, 100, easy=True) <= 0.09
