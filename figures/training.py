"""How the chat organisms learned, drawn from data/chat_training.json.

    mechunlearn organism train --kind chat --out models
    python figures/training.py models/original@0 models/never_knew@0

With folders of organisms it first writes what their cards say to that file; ``--images`` also
makes the picture that is kept here.
"""

import json
import sys
from pathlib import Path

import plotly.graph_objects as go

from mechunlearn.plots.files import write_figures
from mechunlearn.plots.pretraining import PretrainingCard, pretraining
from mechunlearn.records import Plain, typed

HERE = Path(__file__).parent
DATA = HERE / "data" / "chat_training.json"


def draw(found: Plain) -> dict[str, go.Figure]:
    """The figure, by file name."""
    cards = {name: typed(card, PretrainingCard, name) for name, card in found.items()}
    return {"chat-training": pretraining(cards)}


def main() -> None:
    """Take over cards, if there are any, and draw."""
    folders = [Path(name) for name in sys.argv[1:] if not name.startswith("--")]
    if folders:
        cards = {f.name: json.loads((f / "card.json").read_text()) for f in folders}
        kept = {n: {k: c[k] for k in ("cpu_seconds", "curves")} for n, c in cards.items()}
        DATA.write_text(json.dumps(kept) + "\n")
    write_figures(draw(json.loads(DATA.read_text())), HERE, images="--images" in sys.argv)


if __name__ == "__main__":
    main()
