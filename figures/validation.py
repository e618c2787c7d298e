"""The validation's figures again, from its result: python figures/validation.py [--images].

    mechunlearn validate --chat --seeds 0 --out val
    python figures/validation.py --chat val/validation.json

With ``--chat`` it prints the table of chat.md instead, from data/chat_validation.json, where a
result that is named is kept first (its models; what an earlier one had of others stays).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mechunlearn.plots.validation import write_validation
from mechunlearn.records import plain, typed
from mechunlearn.studies.records import SITUATIONS, Suspect, ValidationResult

HERE = Path(__file__).parent
CHAT = HERE / "data" / "chat_validation.json"


def kept(file: Path | None) -> list[Suspect]:
    """The audits that the file here holds, with those of another result in it."""
    known = json.loads(CHAT.read_text()) if CHAT.is_file() else []
    suspects = [typed(each, Suspect, CHAT.name) for each in known]
    if file is not None:
        found = ValidationResult.load(file).models
        new = {(s.condition, s.situation) for s in found}
        suspects = [s for s in suspects if (s.condition, s.situation) not in new] + [*found]
        CHAT.write_text("[\n" + ",\n".join(json.dumps(plain(s)) for s in suspects) + "\n]\n")
    return suspects


def table(suspects: Sequence[Suspect]) -> Iterator[str]:
    """Verdicts by condition and kind of control, as lines of Markdown."""
    heads = ["suspect", "truth", "n", "right before any attack %", *SITUATIONS.values()]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for condition in dict.fromkeys(s.condition for s in suspects):
        own = {s.situation: s for s in suspects if s.condition == condition}
        first = next(iter(own.values()))
        cells = [_verdict(own[situation]) if situation in own else "" for situation in SITUATIONS]
        about = [condition, first.truth, str(first.n), f"{100 * first.suspect:.0f}"]
        yield "| " + " | ".join([*about, *cells]) + " |"


def _verdict(suspect: Suspect) -> str:
    """In words, with the attacks that brought something back and what they reach."""
    best = ", ".join(f"`{a}` {100 * suspect.accuracy[a]:.0f}" for a in suspect.fired)
    return f"{suspect.category}: {best}" if best else suspect.category


def main() -> None:
    """Draw, or print the table."""
    files = [Path(name) for name in sys.argv[1:] if not name.startswith("--")]
    if "--chat" in sys.argv:
        sys.stdout.write("\n".join(table(kept(files[0] if files else None))) + "\n")
        return
    result = ValidationResult.load(HERE / "data" / "validation.json")
    write_validation(result, HERE, images="--images" in sys.argv)


if __name__ == "__main__":
    main()
