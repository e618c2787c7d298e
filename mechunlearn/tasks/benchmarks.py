"""Published benchmarks by name: WMDP, MMLU, ARC, OpenBookQA, with their corpora.

Prompts are those of lm-eval's tasks ``wmdp_*``, ``mmlu``, ``arc_*`` and ``openbookqa`` (questions
without surrounding spaces, as in the first two). The audit tasks ``wmdp-bio``, ``wmdp-cyber`` and
``wmdp-chem`` forget that domain and keep MMLU, as in Łucki et al. 2024, arXiv:2409.18025; here
settings are chosen on MMLU's validation split and WMDP's select fold, and reported on MMLU's test
split and WMDP's confirm fold.

Reference: Li et al. 2024, arXiv:2403.03218 (WMDP); Hendrycks et al. 2020, arXiv:2009.03300 (MMLU);
Clark et al. 2018, arXiv:1803.05457 (ARC); Mihaylov et al. 2018, arXiv:1809.02789 (OpenBookQA).
"""

import dataclasses
from dataclasses import dataclass

from mechunlearn.tasks.benchmark import Benchmark, TaskConfig, in_fold
from mechunlearn.tasks.folds import assign_folds
from mechunlearn.tasks.hub import HubSet, rows
from mechunlearn.tasks.reader import to_question
from mechunlearn.types import PromptFormat, Question, Scoring

WMDP = "7125571f22f032c56415e7980f48d877dd830ff8"
CORPORA = "daf89fa9b618b63a624228061a9cebacca88009c"
MMLU = "c30699e8356da336a370243923dbaf21066bb9fe"
ARC = "210d026faf9955653af8916fad021475a3f00453"
OPENBOOKQA = "388097ea7776314e93a529163e0fea805b8a6454"
WIKITEXT = "b08601e04326c79dfdd32d625aee71d232d685c3"

LETTERED = PromptFormat(cloze="{header}Question: {statement}\nAnswer:")
BARE = PromptFormat(cloze="{header}{statement}")
TEXTS = 1_000
"""Documents taken of a corpus, from its start."""
SHORTEST, LONGEST = 50, 4_000
"""Characters: shorter documents are left out, longer ones cut (to about 1,000 tokens)."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a benchmark's questions are and how they are asked."""

    test: HubSet
    examples: HubSet
    """Answered questions to show."""
    validation: HubSet | None = None
    """Questions for the select fold; without them the test questions are divided."""
    prompt: PromptFormat = LETTERED
    scoring: Scoring = "letter"
    topic: str = ""
    """Topic of all questions; empty: each row's ``subject``."""
    examples_about: str = ""
    """The subject whose examples are shown; empty: each question's own."""
    forget_text: HubSet | None = None
    retain_text: HubSet | None = None


def _wmdp(domain: str, topic: str, near: str, *corpora: HubSet) -> Published:
    """A WMDP domain. It has no examples of its own: those of a near MMLU subject are shown."""
    test = HubSet("cais/wmdp", f"wmdp-{domain}", "test", WMDP)
    return Published(test, _mmlu("dev"), None, LETTERED, "letter", topic, near, *corpora)


def _mmlu(split: str) -> HubSet:
    return HubSet("cais/mmlu", "all", split, MMLU)


def _cloze(id_: str, config: str, revision: str, prompt: PromptFormat) -> Published:
    test, train, validation = (
        HubSet(id_, config, split, revision) for split in ("test", "train", "validation")
    )
    return Published(test, train, validation, prompt, "cloze")


def _corpus(config: str) -> HubSet:
    return HubSet("cais/wmdp-corpora", config, "train", CORPORA)


BIO_FORGET = HubSet("cais/wmdp-bio-forget-corpus", None, "train", "main", gated=True)
PLAIN_TEXT = HubSet("Salesforce/wikitext", "wikitext-2-raw-v1", "train", WIKITEXT)
PUBLISHED = {
    "wmdp-bio": _wmdp(
        "bio", "biology", "college_biology", BIO_FORGET, _corpus("bio-retain-corpus")
    ),
    "wmdp-cyber": _wmdp(
        "cyber",
        "cybersecurity",
        "computer_security",
        _corpus("cyber-forget-corpus"),
        _corpus("cyber-retain-corpus"),
    ),
    "wmdp-chem": _wmdp("chem", "chemistry", "college_chemistry"),
    "mmlu": Published(_mmlu("test"), _mmlu("dev"), _mmlu("validation")),
    "arc-easy": _cloze("allenai/ai2_arc", "ARC-Easy", ARC, LETTERED),
    "arc-challenge": _cloze("allenai/ai2_arc", "ARC-Challenge", ARC, LETTERED),
    "openbookqa": _cloze("allenai/openbookqa", "main", OPENBOOKQA, BARE),
}

TWINS = {
    name: HubSet(f"NLie2/rewrite-questions-{name}", None, "train", "main")
    for name in ("gibberish", "nonsensical-biology", "real-words-sciency")
}
"""WMDP-bio's questions rewritten as nonsense, with the same choices and right answers: what is
right there comes from the choices alone."""


def rewritten(name: str, config: TaskConfig) -> tuple[Question, ...]:
    """A published set of questions that nobody can know.

    Raises:
        PrerequisiteError: If it cannot be fetched.
    """
    return _questions(TWINS[name], "", config)


def published(name: str, config: TaskConfig) -> Benchmark:
    """A benchmark's test questions.

    Raises:
        PrerequisiteError: If a data set cannot be fetched.
    """
    about = PUBLISHED[name]
    return Benchmark(
        name=name,
        sets={name: _questions(about.test, about.topic, config)},
        prompt=about.prompt,
        scoring=about.scoring,
        shots=_shots(about, config),
        described=about.test.id in ("cais/wmdp", "cais/mmlu"),
    )


def divided(name: str, config: TaskConfig) -> Benchmark:
    """A benchmark with folds and corpora, as a forget or a retain set.

    Raises:
        ValueError: If there are no corpora where some are wanted.
        PrerequisiteError: If a data set cannot be fetched.
    """
    about, whole = PUBLISHED[name], published(name, config)
    test = whole.sets[name]
    if about.validation:
        select = _questions(about.validation, about.topic, config)
        return dataclasses.replace(
            whole, sets={name: in_fold(select, "select") + in_fold(test, "confirm")}
        )
    return dataclasses.replace(
        whole,
        sets={name: assign_folds(test, by=config.group)},
        texts={role: _texts(part, config) for role, part in _corpora(name, config).items()},
    )


def _corpora(name: str, config: TaskConfig) -> dict[str, HubSet]:
    about = PUBLISHED[name]
    parts = {"plain_text": PLAIN_TEXT}
    if config.corpora:
        if not (about.forget_text and about.retain_text):
            raise ValueError(f"{name} has no corpora; leave out task.corpora")
        parts |= {"forget_text": about.forget_text, "retain_text": about.retain_text}
    return parts


def downloads(name: str, config: TaskConfig) -> list[HubSet]:
    """The data sets that an audit of ``wmdp-bio`` and the like reads."""
    retain = PUBLISHED[config.retain or "mmlu"]
    parts = [PUBLISHED[name].test, *filter(None, (retain.validation, retain.test))]
    return parts + list(_corpora(name, config).values()) + [retain.examples] * bool(config.shots)


def _questions(part: HubSet, topic: str, config: TaskConfig) -> tuple[Question, ...]:
    questions = []
    for place, row in rows(part, config.data):
        try:
            question = to_question(row, source=place)
        except ValueError as err:
            raise ValueError(f"{part}, {place}: {err}") from err
        questions.append(dataclasses.replace(question, topic=topic) if topic else question)
    return tuple(questions)


def _shots(about: Published, config: TaskConfig) -> dict[str, tuple[Question, ...]]:
    if not config.shots:
        return {}
    shots: dict[str, list[Question]] = {}
    for question in _questions(about.examples, "", config):
        shots.setdefault(question.topic, []).append(question)
    if about.examples_about:
        shots = {about.topic: shots.get(about.examples_about, [])}
    return {topic: tuple(own) for topic, own in shots.items()}


def _texts(part: HubSet, config: TaskConfig) -> tuple[str, ...]:
    texts: list[str] = []
    for _, row in rows(part, config.data):
        if len(text := str(row["text"]).strip()) >= SHORTEST:
            texts.append(text[:LONGEST])
        if len(texts) == TEXTS:
            break
    return tuple(texts)
