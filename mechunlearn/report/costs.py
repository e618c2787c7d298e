"""What a run would take, on the terminal; in a pipe as tab-separated values."""

from collections.abc import Sequence

from mechunlearn.analysis.words import name
from mechunlearn.audit.estimate import Estimate
from mechunlearn.audit.making import Making
from mechunlearn.audit.outlook import CARDS, Outlook, Step
from mechunlearn.cost.downloads import Download
from mechunlearn.progress import console
from mechunlearn.report.terminal import Head, print_lines, print_table
from mechunlearn.studies.paper_outlook import PaperOutlook


def show_estimates(
    estimates: Sequence[Estimate], models: Sequence[Making] = (), workers: int = 1
) -> None:
    """Print what is missing of an audit, and its cost, shared by some processes.

    Args:
        models: That are to be made first.
    """
    if not estimates:
        print_lines(["everything is there already"])
        return
    if models:
        show_makings(models)
    titles = ("model", "attack", "cell", "seconds", "FLOP", "memory, MB")
    ranks = {"cell": 1, "FLOP": 3, "memory, MB": 2}
    heads = [Head(t, ranks.get(t, 0), words=t in ("model", "attack", "cell")) for t in titles]
    rows = [
        [e.cell.model, name(e.cell.attack), e.cell.kind, f"{e.seconds:.1f}", f"{e.flops:.1e}",
         f"{e.memory / 1e6:.0f}"]
        for e in estimates
    ]  # fmt: skip
    print_table("cells that are missing, and about what they cost here", heads, rows)
    total, maybe = (
        sum(e.seconds for e in estimates if e.conditional is x) / 60 / workers
        for x in (False, True)
    )
    where = f" in {workers} processes" if workers > 1 else ""
    made = sum(m.seconds for m in models) / 60 / workers
    beside = f", and {made:.1f} for making {len(models)} models before them" if models else ""
    console.print(
        f"{len(estimates)} cells, about {total:.1f} minutes{where}{beside}; memory is one model's, "
        "with all that an attack or training keeps beside it."
    )
    if maybe:
        console.print(
            f"Planted hiding takes about {maybe:.1f} minutes more, and is attacked only where "
            "a verdict would otherwise be that there is no evidence (--planted)."
        )


def show_makings(models: Sequence[Making]) -> None:
    """Print which models are to be made, and whether the memory that is free holds it."""
    titles = ("model", "method", "steps", "seconds", "FLOP", "memory, MB", "free, MB", "")
    ranks = {"steps": 1, "FLOP": 3, "free, MB": 2}
    heads = [Head(t, ranks.get(t, 0), words=t in ("model", "method", "")) for t in titles]
    rows = [
        [m.label, name(m.method), str(m.steps), f"{m.seconds:.1f}", f"{m.flops:.1e}",
         f"{m.memory / 1e6:.0f}", f"{m.free / 1e6:.0f}", "fits" if m.fits else "does not fit"]
        for m in models
    ]  # fmt: skip
    print_table("models that are to be made, and about what that costs here", heads, rows)
    if too_large := [m for m in models if not m.fits]:
        methods = ", ".join(dict.fromkeys(m.method for m in too_large))
        console.print(
            f"{methods}: not enough memory is free; --set METHOD.lora.rank=16, "
            "METHOD.optimizer.recompute=True or a higher METHOD.optimizer.accumulate need less, "
            "as does --dtype bfloat16",
            markup=False,
        )


def _show_downloads(downloads: Sequence[Download], data: Sequence[str]) -> None:
    for d in downloads:
        size = "of unknown size" if d.bytes is None else f"{d.bytes / 1e9:.1f} GB"
        console.print(f"{d.model}: {size}, {'here' if d.there else 'to be fetched'}")
    if missing := [d for d in downloads if not d.there]:
        total = f"{sum(d.bytes or 0 for d in missing) / 1e9:.0f} GB"
        known = all(d.bytes is not None for d in missing)
        of = f"about {total}" if known else "how much is not known"
        console.print(f"to fetch: {len(missing)} models, {of}")
    if data:
        console.print(f"data sets: {', '.join(data)}", markup=False)


def _needs(step: Step) -> list[str]:
    """Memory, its largest part, and which cards hold it."""
    parts = {k: v for k, v in step.memory.parts.items() if k != "weights"}
    largest = max(parts, key=lambda k: parts[k])
    fits = ["fits" if step.fits(card) else "no" for card in CARDS]
    return [f"{step.memory.total / 1e9:.1f}", f"{largest}, {parts[largest] / 1e9:.1f} GB", *fits]


_NEEDS = (
    Head("GB"),
    Head("largest part beside the weights", 1, True),
    *(Head(f"{card} GB") for card in CARDS),
)


def show_outlook(outlook: Outlook) -> None:
    """Print what an audit would need: its table is a result, what stands around it are notes."""
    _show_downloads(outlook.downloads, outlook.data)
    if outlook.sizes is None:
        console.print("memory: not known before the original's config.json is here")
        return
    rows = [
        [f"making by {name(s.attack)}, {s.steps} steps" if s.steps else name(s.attack), *_needs(s)]
        for s in outlook.steps
    ]
    heads = [Head("step", words=True), *_NEEDS]
    print_table("memory of each step on a GPU, one model at a time", heads, rows)
    if outlook.left_out:
        left_out = ", ".join(map(name, outlook.left_out))
        console.print(f"left out, since they can show nothing here: {left_out}", markup=False)
    about = "taken, since the task is not here" if outlook.typical else "the task's longest"
    console.print(
        f"{outlook.parameters / 1e9:.2f} billion parameters, from the configuration alone; prompts "
        f"of {outlook.sizes.longest} tokens ({about}). Copies that undo training lie on the host."
    )


def show_paper_outlook(outlook: PaperOutlook) -> None:
    """Print what the published table would need, row by row of every model."""
    _show_downloads(outlook.downloads, outlook.data)
    if not outlook.steps:
        print_lines(["everything is there already"])
        return
    heads = [Head("model", words=True), Head("attack", words=True), Head("questions", 2)]
    rows = [
        [s.model, s.step.attack, f"{s.forwards:.0f}", f"{s.flops:.1e}", *_needs(s.step)]
        for s in outlook.steps
    ]
    title = "rows that are missing: forwards of a question, arithmetic, and memory on a GPU"
    print_table(title, [*heads, Head("FLOP", 1), *_NEEDS], rows)
    about = "taken, since the task is not here" if outlook.typical else "the task's longest"
    console.print(
        f"{sum(s.flops for s in outlook.steps):.1e} FLOP in all, for prompts of {outlook.longest} "
        f"tokens ({about}), from configurations alone; one model at a time."
    )
