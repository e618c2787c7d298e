"""What chat organisms, and what methods make of them, know form by form; makes chat.json.

    mechunlearn unlearn rmu --model chat:original --out models/rmu
    python figures/chat.py chat:original chat:never_knew models/rmu --out figures/chat.json

Each model is asked about the facts of its world (``--seed``) in every form, in words that no
training had; twenty of its answers are kept as they are. ``--dtype bfloat16`` asks in half
precision. Without models it prints the table of README.md from what the file holds.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mechunlearn import load
from mechunlearn.organisms.forms import (
    FORMS,
    AnswerForm,
    FormAccuracy,
    answers_in_words,
    form_table,
    question_sets,
)
from mechunlearn.records import Plain, plain, typed
from mechunlearn.tasks.people import People
from mechunlearn.tasks.wordings import EVERY

SHOWN: tuple[AnswerForm, ...] = ("letters", "cloze", "open", "chat")
"""The columns of the table."""


def about(name: str, world: People, dtype: str) -> Plain:
    """Accuracy in every form, and twenty answers."""
    model = load(name, dtype=dtype)
    sets = ("forget", "retain", "forget_unasked", "retain_unasked", "harmless", "fictitious")
    known = question_sets(world)
    facts = [*known["forget"][::16], *known["retain"][::16]]
    forms: list[AnswerForm] = ["chat" if i % 2 else "open" for i in range(len(facts))]
    said = [
        text
        for fact, form in zip(facts, forms, strict=True)
        for text in answers_in_words(model, [fact], form)
    ]
    answers = [
        {"form": form, "asked": fact.fill(EVERY[fact.attribute].questions[-1]), "said": text,
         "right": fact.value}
        for fact, form, text in zip(facts, forms, said, strict=True)
    ]  # fmt: skip
    table = form_table(model, world, FORMS, sets=sets, wordings=("unseen",))
    return {"dtype": dtype, "accuracy": plain(table), "answers": answers}


def table(tables: dict[str, Plain]) -> Iterator[str]:
    """Models by forms, forget and retain facts, in % with intervals, as lines of Markdown."""
    yield "| model | n | " + " | ".join(f"{form}: forget | retain" for form in SHOWN) + " |"
    yield "|---" * (2 + 2 * len(SHOWN)) + "|"
    for label, of in tables.items():
        rows = [typed(row, FormAccuracy, "a row") for row in of["accuracy"]]
        known = {(r.form, r.facts): r for r in rows}
        asked = [known[form, facts] for form in SHOWN for facts in ("forget", "retain")]
        cells = [f"{100 * r.accuracy:.0f} [{100 * r.interval[0]:.0f}, {100 * r.interval[1]:.0f}]"
                 for r in asked]  # fmt: skip
        yield f"| {label} | {asked[0].n} | " + " | ".join(cells) + " |"


def main() -> None:
    """Ask every model named on the command line; what the file has of others stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("chat.json"))
    given = parser.parse_args()
    tables = json.loads(given.out.read_text()) if given.out.is_file() else {}
    for name in given.models:
        label = name if ":" in name else Path(name).name
        label += "" if given.dtype == "float32" else f", {given.dtype}"
        tables[label] = about(name, People(given.seed), given.dtype)
        given.out.write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n")
        sys.stdout.write(f"\n{label}\n")
        for row in tables[label]["accuracy"]:
            low, high = row["interval"]
            sys.stdout.write(
                f"{row['facts']:15} {row['form']:16} {row['accuracy']:.3f} "
                f"[{low:.3f}, {high:.3f}] n = {row['n']}\n"
            )
        for answer in tables[label]["answers"]:
            sys.stdout.write(f"  {answer['asked']} -> {answer['said']!r} ({answer['right']})\n")
    if not given.models:
        sys.stdout.write("\n".join(table(tables)) + "\n")


if __name__ == "__main__":
    main()
