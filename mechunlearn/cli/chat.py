"""The command that talks: chat."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mechunlearn.audit.plan import options
from mechunlearn.cli.options import JsonOpt, SeedOpt, TrustOpt, say
from mechunlearn.cli.report import run_names

if TYPE_CHECKING:
    from mechunlearn.bench.conversation import Conversation
    from mechunlearn.bench.generation import Decoding
    from mechunlearn.types import Change, HookedModel

ModelsOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Name, folder, .gguf file, Hub id, or LABEL=MODEL; repeatable.",
    ),
]
AttackOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="RUN:NAME or RUN:NAME:MODEL: a finished audit's model under the attack that it chose; "
        "without --model beside the original and without it.",
    ),
]
NEW, QUIT = "/new", "/quit"
"""What a line can say to the command itself."""
NARROWEST = 24
"""Columns of a terminal that each of several answers needs to stand beside the others."""
Talk = Mapping[str, "Conversation"]
"""By label."""


def chat(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="What to say, one after another; default: lines as they come."),
    ] = None,
    models: ModelsOpt = None,
    attacks: AttackOpt = None,
    system: Annotated[str, typer.Option("--system", help="Message of a system turn.")] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Continue each text by itself, in no chat template.")
    ] = False,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Of an answer at most.")] = 128,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="0: the most likely answer.")
    ] = 0.0,
    seed: SeedOpt = 0,
    device: Annotated[str, typer.Option("--device", help=options()["device"].help)] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help=options()["dtype"].help)] = "auto",
    trust_remote_code: TrustOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Talk to a model, to an unlearned one under an attack, or to several side by side.

    /new forgets the conversation, /quit or the end of the input ends it. In a pipe every line is a
    text, and each gives a line of answers with tabs between; with --json an object.
    """
    from mechunlearn.bench.conversation import Conversation
    from mechunlearn.bench.generation import Decoding

    given = [x for x in texts or () if x.strip()]
    if texts and not given:
        raise ValueError("there is nothing to say: the text is empty")
    if attacks and not models and dtype != "auto":
        raise ValueError("models of a run are loaded in its own format; leave out --dtype")
    decoding = Decoding(max_tokens=tokens, temperature=temperature, seed=seed)
    place = {"device": device, "trust_remote_code": trust_remote_code}
    voices = _of_runs(attacks or (), not models, **place)
    named = models or ([] if attacks else ["chat:original@0"])
    voices = _loaded(named, voices, dtype=dtype, **place) | voices
    talk: dict[str, Conversation] = {}
    for label, (model, change) in voices.items():
        _refuse_long(label, model, decoding)
        talk[label] = Conversation(model, change, decoding, system or None, not plain)
    if without := [label for label, each in talk.items() if not each.remembers and not plain]:
        say(f"{', '.join(without)}: no chat template; each text is continued by itself")
    _hold(talk, given, as_json)


Voices = dict[str, tuple["HookedModel", "Change"]]


def _loaded(named: Sequence[str], taken: Voices, **place: object) -> Voices:
    """Models by the shortest labels that tell them apart."""
    from mechunlearn.audit.labels import labelled
    from mechunlearn.models import load
    from mechunlearn.types import NO_CHANGE

    labels = labelled(named, flag="--model")
    if both := next((label for label in labels if label in taken), ""):
        raise ValueError(f"{both!r} is a model of the run too; give it as LABEL=MODEL")
    return {label: (load(source, **place), NO_CHANGE) for label, source in labels.items()}  # type: ignore[arg-type]


def _of_runs(attacks: Sequence[str], beside: bool, **place: object) -> Voices:
    """Models of finished audits under the attacks that they chose.

    Args:
        beside: Whether the original and the model without the attack talk too.
    """
    from mechunlearn.studies.finished import Finished
    from mechunlearn.types import NO_CHANGE

    parted = [Finished.parted(given) for given in attacks]
    folders = {folder.resolve(): folder for folder, _, _ in parted}
    names = run_names(list(folders)) if len(folders) > 1 else [""] * len(folders)
    titles = dict(zip(folders, names, strict=True))
    runs = {at: Finished.open(folder, **place) for at, folder in folders.items()}  # type: ignore[arg-type]
    voices: Voices = {}
    for given, (folder, name, label) in zip(attacks, parted, strict=True):
        run, title = runs[folder.resolve()], titles[folder.resolve()]
        label = label or run.only_label(given)
        change = run.change(label, name)
        for known in (run.setup.original.label, label) if beside else ():
            voices.setdefault(_of(known, title), (run.model(known), NO_CHANGE))
        under = f"{label} under {name.replace('_', ' ')}"
        voices[_of(under, title)] = (run.model(label), change)
    return voices


def _of(label: str, run: str) -> str:
    """A label; with the run's name, where there are several."""
    return f"{label} ({run})" if run else label


def _refuse_long(label: str, model: "HookedModel", decoding: "Decoding") -> None:
    if model.cfg.n_ctx and decoding.max_tokens >= model.cfg.n_ctx:
        raise ValueError(
            f"--tokens {decoding.max_tokens} leaves no room for a text: the context of {label} is "
            f"{model.cfg.n_ctx} tokens"
        )


def _hold(talk: Talk, given: Sequence[str], as_json: bool) -> None:
    """Say every text to every model, and show what each answers."""
    from mechunlearn.progress import results

    console = results()
    piped = not as_json and not console.is_terminal
    if piped:
        _line(["text", *talk])
    for text in given or _lines(talk):
        answers = {label: each.say(text) for label, each in talk.items()}
        if as_json:
            sys.stdout.write(json.dumps({"text": text, "answers": answers}) + "\n")
        elif piped:
            _line([text, *answers.values()])
        else:
            _show(answers, console.width)
        sys.stdout.flush()


def _lines(talk: Talk) -> Iterator[str]:
    """What somebody types, or the lines of a pipe."""
    typed = sys.stdin.isatty()
    if typed:
        say(f"{NEW} forgets the conversation, {QUIT} ends it")
    while True:
        try:
            text = input("> " if typed else "").strip()
        except EOFError:
            return
        if text == QUIT:
            return
        if text == NEW:
            for each in talk.values():
                each.restart()
        elif text:
            yield text


def _line(cells: Sequence[str]) -> None:
    sys.stdout.write("\t".join(" ".join(cell.split()) for cell in cells) + "\n")


def _show(answers: Mapping[str, str], width: int) -> None:
    """Answers beside each other, or below where the terminal is too narrow."""
    from rich.table import Table
    from rich.text import Text

    from mechunlearn.progress import results

    console = results()
    if len(answers) == 1:
        console.print(*answers.values(), highlight=False, markup=False)
        return
    if width < NARROWEST * len(answers):
        for label, text in answers.items():
            console.print(Text(label, style="bold"), Text(text), sep="\n")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=True)
    for label in answers:
        table.add_column(Text(label), ratio=1, overflow="fold")
    table.add_row(*map(Text, answers.values()))
    console.print(table)
