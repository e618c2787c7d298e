"""What chat organisms, and what methods make of them, know form by form; makes data/chat.json.

    mechunlearn unlearn rmu --model chat:original --out models/rmu
    python figures/chat.py chat:original chat:never_knew models/rmu

Each model is asked about the facts of its world (``--seed``) in every form, in words that no
training had; twenty of its answers are kept as they are. ``--dtype bfloat16`` asks in half
precision. ``--methods`` also asks what these methods make of the original with the preset that
suits it, each trained here. Without either it prints the table of chat.md from what the file
holds, and with ``--answers`` the answers.

    python figures/chat.py --methods rmu,simnpo,undial
    python figures/chat.py --answers > figures/chat_answers.md
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mechunlearn import HookedModel, load, load_task, unlearn
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

DATA = Path(__file__).parent / "data"
SHOWN: tuple[AnswerForm, ...] = ("letters", "cloze", "open", "chat")
"""The columns of the table."""


def about(model: HookedModel, world: People, dtype: str) -> Plain:
    """Accuracy in every form, and twenty answers."""
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


def answer_table(tables: dict[str, Plain]) -> Iterator[str]:
    """What every model said, in Markdown; ten forget facts, then retain facts."""
    yield "# Twenty answers of each model"
    for label, of in tables.items():
        yield f"\n## {label}\n"
        yield "| form | asked | right | said |"
        yield "|---|---|---|---|"
        for a in of["answers"]:
            said = " ".join(a["said"].split()).replace("|", "\\|")
            yield f"| {a['form']} | {a['asked']} | {a['right']} | {said} |"


def models(given: argparse.Namespace) -> Iterator[tuple[str, HookedModel]]:
    """Every model to ask, with its label."""
    for name in given.models:
        label = name if ":" in name else Path(name).name
        yield label, load(name, dtype=given.dtype)
    original = f"chat:original@{given.seed}"
    for method in filter(None, given.methods.split(",")):
        task = load_task(original=original)
        yield method, unlearn(load(original, dtype=given.dtype), task, method)


def main() -> None:
    """Ask every model named on the command line; what the file has of others stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--methods", default="", help="separated by commas")
    parser.add_argument("--answers", action="store_true", help="print the answers, not the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=DATA / "chat.json")
    given = parser.parse_args()
    tables = json.loads(given.out.read_text()) if given.out.is_file() else {}
    for label, model in models(given):
        label += "" if given.dtype == "float32" else f", {given.dtype}"
        tables[label] = about(model, People(given.seed), given.dtype)
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
    if not given.models and not given.methods:
        lines = answer_table(tables) if given.answers else table(tables)
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
