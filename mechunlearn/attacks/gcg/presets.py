"""Named settings: fast ones of our own, and those of the papers."""

import dataclasses

from mechunlearn.attacks.gcg.objective import Hidden, Objective
from mechunlearn.attacks.gcg.settings import GCGConfig, Length, SearchConfig

FAST = SearchConfig(steps=30, length=5, width=32, races=(4, 12), gradient_questions=16, restarts=2)
PAPER = GCGConfig(
    # FLRT's search: 16 children of 64 tokens a place, a buffer of 16, 0.7/0.1/0.1/0.1, growing
    # lengths; targets of 10 forced and 35 matched tokens; RMU's blocks 5 to 7.
    search=SearchConfig(
        steps=1500,
        length=32,
        shortest=Length(start=32, per_step=0.068, most=100),
        longest=Length(start=32, per_step=0.992, most=1024),
        width=16,
        top_k=64,
        buffer=16,
        elitist=False,
        substitute=0.7,
        insert=0.1,
        delete=0.1,
        swap=0.1,
        printable=False,
    ),
    objective=Objective(
        cross_entropy=1.0,
        static=Hidden(weight=10.0, measure="cosine"),
        dynamic=Hidden(weight=1.0, measure="l2", span="question"),
        layers=(5, 6, 7),
        fluency=1.5,
        repetition=3.0,
    ),
    target="original",
    forced=10,
    matched=35,
    questions=7,
    retain_share=0.0,
    seed=42,
)
NANOGCG = GCGConfig(
    # nanoGCG 0.3: 250 steps of 512 children, top 256, a suffix of 20 tokens, no buffer.
    search=SearchConfig(steps=250, length=20, width=512, top_k=256, elitist=False),
    place="suffix",
    retain_share=0.0,
)
PRESETS = {
    "paper": PAPER,
    "fast": GCGConfig(search=FAST),
    "small": GCGConfig(search=dataclasses.replace(FAST, restarts=1), questions=24),
    "organism": GCGConfig(search=dataclasses.replace(FAST, steps=20)),
    "nanogcg": NANOGCG,
}
