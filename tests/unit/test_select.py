"""What attacks get to ask."""

from mechunlearn.audit.select import ENOUGH, lost
from mechunlearn.types import Question


def test_attacks_ask_what_was_lost_unless_that_is_little() -> None:
    questions = [Question(f"q{i}", ("a", "b"), 0) for i in range(20)]
    knew = [1.0] * 19 + [0.0]
    assert lost(questions, knew, [0.0] * ENOUGH + [1.0] * 12) == tuple(questions[:ENOUGH])
    assert lost(questions, knew, [0.0] * 20) == tuple(questions[:19])
    assert lost(questions, knew, [0.5] * (ENOUGH - 1) + [1.0] * 13) == tuple(questions)
