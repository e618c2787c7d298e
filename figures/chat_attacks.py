"""In which forms attacks bring knowledge back; makes data/chat_attacks.json.

    python figures/chat_attacks.py      prints the table of chat.md from what the file holds
    python figures/chat_attacks.py models/rmu --attacks direction_ablation,relearning_disjoint

Each attack is tuned on statements to complete of the select fold, as in an audit, and judged on
the confirm fold in every form, in words that no training had. Beside it stand the model without
the attack, a sham of the same size, and the same attack on never-knew models.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mechunlearn import attack, load, load_task
from mechunlearn.organisms.forms import AnswerForm, question_sets, right_answers
from mechunlearn.stats import wilson
from mechunlearn.tasks.people import People
from mechunlearn.types import NO_CHANGE, Change, HookedModel

DATA = Path(__file__).parent / "data"
FORMS: tuple[AnswerForm, ...] = ("letters", "cloze", "open", "chat")
NEVER_KNEW = ("chat:never_knew@0", "chat:never_knew_2", "chat:wrong")


def shares(model: HookedModel, change: Change, world: People) -> dict[str, dict[str, list[float]]]:
    """Share of right answers with its 95 % Wilson interval, by question set and form."""
    table: dict[str, dict[str, list[float]]] = {}
    with change.on(model):
        for name in ("forget", "retain"):
            facts = [f for f in question_sets(world)[name] if f.person.fold == "confirm"]
            for form in FORMS:
                right = sum(right_answers(model, world, facts, form))
                row = [right / len(facts), *wilson(right, len(facts)), len(facts)]
                table.setdefault(name, {})[form] = [round(x, 4) for x in row]
    return table


def lines(tables: dict[str, dict[str, dict[str, list[float]]]]) -> Iterator[str]:
    """Forget facts with intervals and retain facts, in %, as lines of Markdown."""
    yield "| model, attack | " + " | ".join(FORMS) + " | retain: " + " / ".join(FORMS) + " |"
    yield "|---" * (2 + len(FORMS)) + "|"
    for label, known in tables.items():
        cells = ["{:.0f} [{:.0f}, {:.0f}]".format(*(100 * x for x in known["forget"][f][:3]))
                 for f in FORMS]  # fmt: skip
        kept = " / ".join(f"{100 * known['retain'][f][0]:.0f}" for f in FORMS)
        yield f"| {label} | {' | '.join(cells)} | {kept} |"


def main() -> None:
    """Attack every model named on the command line; what the file has of others stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--original", default="chat:original@0")
    parser.add_argument("--attacks", default="direction_ablation")
    parser.add_argument("--never-knew", default=",".join(NEVER_KNEW))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DATA / "chat_attacks.json")
    given = parser.parse_args()
    tables = json.loads(given.out.read_text()) if given.out.is_file() else {}
    if not given.models:
        sys.stdout.write("\n".join(lines(tables)) + "\n")
        return
    task, world, original = (
        load_task(original=given.original), People(given.seed), load(given.original)
    )  # fmt: skip

    def keep(label: str, model: HookedModel, change: Change) -> None:
        tables[label] = shares(model, change, world)
        given.out.write_text(json.dumps(tables, indent=1) + "\n")
        sys.stdout.write(f"{label}: {tables[label]}\n")
        sys.stdout.flush()

    for name in [*given.models, *filter(None, given.never_knew.split(","))]:
        model, label = load(name, original=given.original), name if ":" in name else Path(name).name
        keep(label, model, NO_CHANGE)
        for attacking in given.attacks.split(","):
            found = attack(attacking, model, original, task)
            keep(f"{label}, {attacking}", model, found.change)
            sham = found.sham()
            if sham is not None and name in given.models:
                keep(f"{label}, {attacking}: sham", model, sham)


if __name__ == "__main__":
    main()
