"""The verdict's rules on made-up numbers: every category, and what must not reach it."""

from typing import Any

import msgspec
import pytest

from mechunlearn.analysis.records import (
    Contrast,
    Findings,
    Measured,
    Openness,
    PositiveControl,
    Renamed,
    Row,
    Tier,
    Verdict,
)
from mechunlearn.analysis.significance import able, deciding, kind, significant, won
from mechunlearn.analysis.verdict import CATEGORIES, Subject, judge
from mechunlearn.attacks.grades import GRADES, HANDED
from mechunlearn.attacks.vocabulary import FAMILIES, Family
from mechunlearn.registry import ATTACKS, find


def row(family: Family, difference: float = 0.0, attack: str = "", **more: Any) -> Row:
    """One attack's numbers; a recovery of more than 0.1 is significant."""
    p = 1e-6 if difference > 0.1 else 0.6
    numbers: dict[str, Any] = {
        "model": "x",
        "attack": attack or f"some_{family}",
        "family": family,
        "variant": {},
        "n": 240,
        "value": 0.25 + difference,
        "value_ci": (0.2, 0.3),
        "difference": difference,
        "difference_ci": (difference - 0.08, difference + 0.08),
        "recovery": difference / 0.75,
        "recovery_ci": (difference / 0.75 - 0.1, difference / 0.75 + 0.1),
        "gap": 0.75,
        "gap_ci": (0.69, 0.81),
        "p": p,
        "p_adjusted": min(1.0, 5 * p),
        "detectable": 0.11,
        "tier": "A",
        "sham": 0.25,
        "control": 0.25,
        "original": 1.0,
        "retain": 1.0,
        "within_limit": True,
        "flops": 1,
        "seconds": 1.0,
        "evidence": GRADES[2] if family == "relearn" else GRADES[0],
    }
    return Row(**numbers | more)


def measured(value: float) -> Measured:
    return Measured(value=value, value_ci=(value - 0.05, value + 0.05), n=240)


def planted(hiding: str = "push", **more: Any) -> PositiveControl:
    """Planted hiding that the attacks found."""
    numbers: dict[str, Any] = {
        "label": f"planted {hiding}",
        "hiding": hiding,
        "value": 0.25,
        "gap": 0.75,
        "gap_ci": (0.7, 0.8),
        "attack": "some_direction",
        "difference": 0.6,
        "difference_ci": (0.5, 0.7),
        "found": ("some_direction",),
    }
    return PositiveControl(**numbers | more)


FOUND = (planted(), planted("filter"))


def judged(
    *rows: Row,
    after: float = 0.25,
    retain: float = 1.0,
    tier: Tier = "A",
    positive: tuple[PositiveControl, ...] | None = FOUND,
    untreated: float = 0.25,
    same: bool = False,
    **findings: Any,
) -> Verdict:
    known: dict[str, Any] = {"tried": {}, "below_chance": False, "p_chance": 0.9}
    found = Findings(model="x", **known | findings)
    control = "never_knew" if tier == "A" else None
    gap = min((r.gap_ci for r in rows), default=(0.6, 0.9))
    subject = Subject(
        measured(1.0), measured(after), measured(1.0), measured(retain), gap, 0.25, 0.25, tier,
        control, untreated, positive=positive, same=same,
    )  # fmt: skip
    return judge(found, rows, subject)


def open_by(share: float | None, low: float = 0.1, knows: float = 0.7) -> Openness:
    return Openness(guessing=0.25, knows_ci=(knows, 0.8), open_ci=(low, low + 0.1), share=share)


def test_a_loss_of_what_was_to_be_kept_is_said() -> None:
    found = [row("direction", 0.7), row("read-out")]
    assert "Retain accuracy" not in judged(*found, retain=0.95).text
    text = judged(*found, retain=0.6).text
    assert text.endswith("fell from 100% to 60%: it lost what it was to keep.")
    assert judged(*found, retain=0.3).category == "not judged"


def test_the_original_given_as_the_unlearned_model_is_named() -> None:
    nothing = row("read-out", gap_ci=(-0.01, 0.02))
    assert judged(nothing, after=1.0).text.endswith("there is nothing to recover.")
    verdict = judged(nothing, after=1.0, same=True)
    assert verdict.category == "intact"
    assert verdict.text.endswith("Its weights are the original's: nothing was unlearned.")


def test_an_audit_that_finds_no_gain_says_so() -> None:
    """Found with 80 % power is then no gain of 100 points, but none."""
    text = judged(*(row(family, detectable=1.0) for family in ("read-out", "relearn"))).text
    assert "no gain, however large, would have been found" in text
    assert "is 100%" not in text


def test_a_control_that_comes_back_itself_clears_nothing() -> None:
    """Under an attack that teaches nothing, what comes back was known: it hides every recovery."""
    back = {"difference": 0.0, "control": 0.9, "control_ci": (0.85, 0.95)}
    rows = [row("read-out"), row("direction", **back), row("relearn")]
    verdict = judged(*rows)
    assert verdict.category == "inconclusive"
    assert "answers 90% under some direction, which teaches nothing" in verdict.text
    taught = row("relearn", **back)
    assert judged(row("read-out"), row("direction"), taught).category == "no evidence"
    near = row("direction", control=0.4, control_ci=(0.35, 0.45), difference=0.0)
    assert judged(row("read-out"), near, row("relearn")).category == "no evidence"
    # What it answers without the attack, in the form of open answers, is nothing that came back.
    assert judged(*rows, untreated=0.85).category == "no evidence"
    found = row("read-out", 0.7)
    assert judged(found, rows[1], rows[2]).category == "hidden at the output"


NOTHING = [row("read-out"), row("direction"), row("relearn")]


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (NOTHING, "no evidence"),
        ([row("read-out", gap_ci=(-0.01, 0.02))], "intact"),
        ([row("direction", 0.7), row("read-out", 0.2)], "hidden, shallow"),
        ([row("prompt", 0.5), row("relearn", 0.7)], "hidden, shallow"),
        ([row("precision", 0.5)], "hidden, shallow"),
        ([row("delta", 0.5)], "hidden, shallow"),
        ([row("direction", 0.2), row("read-out", 0.7)], "hidden at the output"),
        ([row("sparse", 0.3), row("relearn", 0.7)], "hidden, sparse"),
        ([row("read-out"), row("relearn", 0.7)], "hidden, deep"),
        ([row("read-out"), row("direction")], "inconclusive"),
        ([], "inconclusive"),
        ([*NOTHING, row("prompt", 0.1, p=0.02, p_adjusted=0.1)], "inconclusive"),
        ([row("relearn", detectable=0.5)], "inconclusive"),
    ],
)
def test_every_category_has_its_rule(rows: list[Row], category: str) -> None:
    verdict = judged(*rows)
    assert verdict.category == category
    assert category in CATEGORIES
    assert verdict.text.startswith("x: forget accuracy went from 100% to 25%")


def test_no_evidence_is_said_only_where_planted_hiding_was_found() -> None:
    """A18: what does not find planted hiding does not find other hiding either."""
    said = judged(*NOTHING)
    assert (said.category, said.unearned) == ("no evidence", False)
    assert "80% of what a push hid and 80% of what a filter hid" in said.text
    untested = judged(*NOTHING, positive=None)
    assert (untested.category, untested.unearned) == ("inconclusive", True)
    assert "--planted always" in untested.text
    missed = planted("filter", difference=0.1, found=(), questions=900)
    blind = judged(*NOTHING, positive=(planted(), missed))
    assert (blind.category, blind.unearned) == ("inconclusive", False)
    assert "that left 25%, 10% came back. About 900 reported forget questions" in blind.text
    open_still = planted(value=0.9, gap=0.1, gap_ci=(-0.1, 0.2), difference=0.0, found=())
    not_hidden = judged(*NOTHING, positive=(open_still,)).text
    assert "could not be planted (it still answers 90%). What could not be hidden" in not_hidden
    hopeless = planted(difference=-0.1, found=())
    assert "more questions would not help" in judged(*NOTHING, positive=(hopeless,)).text
    partly = judged(*NOTHING, after=0.6, openness=open_by(0.47), positive=None)
    assert (partly.category, partly.lost, partly.unearned) == ("partly open", "inconclusive", True)
    # What was found is found whatever was planted.
    assert judged(row("direction", 0.7), positive=None).category == "hidden, shallow"


def test_the_kind_comes_from_the_family_and_not_from_the_name() -> None:
    """A7: a registered attack may be called anything."""
    misnamed = row("direction", 0.5, attack="relearning_mine")
    assert judged(misnamed).category == "hidden, shallow"
    assert judged(row("relearn", 0.5, attack="finetune_mine")).category == "hidden, deep"
    assert judged(row("relearn", attack="logit_lens")).category == "no evidence"
    assert deciding([misnamed, row("relearn", 0.7)]) == misnamed


def test_the_verdict_names_numbers_and_what_would_settle_it() -> None:
    hidden = judged(
        row("direction", 0.6, "direction_ablation"), row("read-out", attack="logit_lens")
    ).text
    assert "Direction ablation" not in hidden
    assert "direction ablation brings back 80% of the gap [70%, 90%]" in hidden
    assert "net of a model that never knew and was not unlearned." in hidden  # A13
    assert "Logit lens found nothing." in hidden
    alone = judged(row("direction", 0.6, control=None, tier="C", within_limit=False), tier="C").text
    assert "net of its own answers, a sham attack and guessing, at a loss of other" in alone
    assert "A gain of 11% or more would have been found" in judged(*NOTHING).text
    assert "finds what is hidden deep, and it was not tried" in judged(row("read-out")).text
    weak = judged(row("relearn", detectable=0.5, gap_ci=(0.3, 0.5)), after=0.6)
    settles = "About 3376 reported forget questions (of about 5627 in the file) would settle it"
    assert settles in weak.text


def test_an_attack_below_its_control_finds_nothing() -> None:
    worse = row("read-out", -0.5, p=1e-9, p_adjusted=1e-8)
    assert not significant(worse)
    assert judged(*NOTHING, worse).category == "no evidence"


def test_renamed_letters_are_a_disguise_only_if_they_bring_the_answers_back() -> None:
    def renamed(value: float = 0.98, p: float = 1e-9) -> Renamed:
        return Renamed(value=value, p=p, renaming=(1, 0, 2, 3))

    disguised = judged(*NOTHING, renamed=renamed(), below_chance=True, p_chance=1e-9)
    assert disguised.category == "intact, disguised"
    assert not disguised.over_unlearned
    for other in (renamed(p=0.04), renamed(value=0.5)):
        assert judged(*NOTHING, renamed=other).category == "no evidence"


def test_below_chance_is_over_unlearning_and_above_is_not() -> None:
    below = judged(*NOTHING, below_chance=True, p_chance=1e-5)
    assert below.over_unlearned
    assert "inverted" in below.text
    # A17: exchanged names answer wrongly, and no attack undoes that; such a model is not cleared.
    assert below.category == "inconclusive"
    assert not judged(*NOTHING, below_chance=True, p_chance=1e-5, positive=None).unearned
    assert not judged(*NOTHING, below_chance=False, p_chance=1e-5).over_unlearned
    assert not judged(*NOTHING, below_chance=True, p_chance=0.2).over_unlearned


def test_every_family_means_something_and_every_attack_has_one() -> None:
    assert {kind(family) for family in FAMILIES} == {
        "hidden, shallow", "hidden at the output", "hidden, sparse", "hidden, deep",
    }  # fmt: skip
    assert {find("attack", name).family for name in ATTACKS} <= set(FAMILIES)


def test_what_puts_the_original_s_weights_back_decides_nothing() -> None:
    handed = row("delta", 0.7, "merged", evidence=HANDED)
    nothing = judged(handed, *NOTHING)
    assert nothing.category == "no evidence"
    assert "Merged puts a part of the original's weights back (95% right" in nothing.text
    alone = judged(handed)
    assert alone.category == "inconclusive"
    assert "No attack of this audit counts; others would settle it." in alone.text
    assert able([handed, *NOTHING]) == list(NOTHING)
    assert not able([row("relearn", evidence=GRADES[3], tier="C")])
    found = judged(handed, row("direction", 0.5))
    assert found.category == "hidden, shallow"
    assert "some direction brings back" in found.text.lower()
    assert not significant(handed)


def test_a_model_that_cannot_be_judged_is_not() -> None:
    """A5, A14: not finite, an original at chance, collapsed retain accuracy; in words."""
    hits = [row("direction", 0.7)]
    broken = judged(*hits, nonfinite=("x",))
    assert broken.category == "not judged"
    assert "Answers of x are no finite numbers" in broken.text
    ignorant = judged(row("direction", gap_ci=(-0.1, 0.1)), openness=open_by(None, knows=-0.02))
    assert ignorant.category == "not judged"
    assert "does not know these facts in this form" in ignorant.text
    collapsed = judged(*NOTHING, retain=0.3, below_chance=True, p_chance=1e-9)
    assert collapsed.category == "not judged"
    assert "collapsed from 100% to 30% (n = 240)" in collapsed.text
    assert not collapsed.over_unlearned
    assert judged(*NOTHING, retain=0.7).category == "no evidence"
    # Permuted letters bring retain questions down too, and are a disguise.
    renamed = Renamed(value=0.98, p=1e-9, renaming=(1, 0, 2, 3))
    assert judged(*NOTHING, retain=0.0, renamed=renamed).category == "intact, disguised"


def test_what_is_still_answered_is_said_first() -> None:
    """A12, A14: a verdict about a partly open model speaks of what was lost only."""
    deep = [row("read-out"), row("relearn", 0.7)]
    openly = judged(*deep, after=0.96, openness=open_by(0.95))
    assert openly.category == "openly answered"
    assert "still answers 95% of what the original knows" in openly.text
    partly = judged(*NOTHING, after=0.6, openness=open_by(0.47))
    assert (partly.category, partly.lost) == ("partly open", "no evidence")
    assert "still answers 47%" in partly.text
    assert "speaks of what was lost only" in partly.text
    both = judged(*deep, after=0.6, openness=open_by(0.47))
    assert (both.category, both.lost) == ("hidden, deep", "hidden, deep")
    assert "still answers 47%" in both.text
    for little in (open_by(0.09), open_by(0.2, low=-0.01)):
        assert judged(*NOTHING, openness=little).category == "no evidence"


def contrast(against: Any, difference: float) -> Contrast:
    return Contrast(
        against=against,
        level=0.25,
        difference=difference,
        difference_ci=(difference - 0.08, difference + 0.08),
        p=0.001,
        p_adjusted=0.01,
    )


def test_every_contrast_has_to_be_won() -> None:
    """A15: an interval of the sham that covers 0 is enough to lose."""
    control, sham = contrast("control", 0.3), contrast("sham", 0.3)
    assert won(row("read-out", 0.3, contrasts=(control, sham)))
    assert not won(row("read-out", 0.3, contrasts=(control, contrast("sham", 0.05))))


def test_without_a_control_nothing_taught_is_called_recovered() -> None:
    """Tier C: an attack that was taught forget facts shows nothing; benign data does."""
    alone: dict[str, Any] = {"tier": "C", "control": None}
    for grade in GRADES[2:4]:
        learned = row("relearn", 0.7, evidence=grade, **alone)
        verdict = judged(row("read-out", **alone), learned, tier="C")
        assert verdict.category == "inconclusive"
        assert "recover" not in verdict.text
        assert "brings back" not in verdict.text
        assert "may be learned" in verdict.text
        assert not significant(learned)
        shallow = judged(row("direction", 0.5, **alone), learned, tier="C")
        assert shallow.category == "hidden, shallow"
        assert "Some relearn teaches forget facts" in shallow.text
        assert significant(row("relearn", 0.7, evidence=grade))  # With a control it counts.
    benign = row("relearn", 0.7, evidence=GRADES[1], **alone)
    assert judged(benign, tier="C").category == "hidden, deep"


def test_asking_in_another_form_does_not_limit_what_was_found_and_is_named() -> None:
    """A form too noisy to find anything says nothing about attacks that change the model."""
    asks: dict[str, Any] = {"only_asks": True, "attack": "forms"}
    said = judged(*NOTHING, row("prompt", detectable=1.0, **asks))
    assert said.category == "no evidence"
    assert "A gain of 11% or more" in said.text
    little = judged(*NOTHING, row("prompt", 0.12, **asks))
    assert little.category == "no evidence"
    assert "in another form it answers 12% more" in little.text
    assert "no other attack brought back more" in little.text


def test_attacks_that_could_show_nothing_are_no_evidence() -> None:
    """Taught facts without a control, and asking alone: nothing planted would settle that."""
    alone: dict[str, Any] = {"tier": "C", "control": None}
    taught = row("relearn", evidence=GRADES[3], **alone)
    asks = row("prompt", only_asks=True, gap_ci=(0.1, 0.2), **alone)
    for rows in ([taught], [asks], [taught, asks]):
        said = judged(*rows, tier="C", after=1.0, positive=None)
        assert (said.category, said.unearned) == ("inconclusive", False)
        assert "cannot show hidden knowledge here" in said.text


def test_what_is_missing_is_what_would_settle_it() -> None:
    """Questions, sources, or models that never knew; and why an attack is not won."""
    half = contrast("control", 0.09)
    uncertain = row("direction", 0.09, p=0.01, p_adjusted=0.03, contrasts=(half,),
                    difference_ci=(0.01, 0.2))  # fmt: skip
    said = judged(*NOTHING, msgspec.structs.replace(
        uncertain, contrasts=(half, contrast("sham", 0.05))
    )).text  # fmt: skip
    assert "an interval of one of these comparisons reaches 0" in said
    assert "correction" not in said
    spread = msgspec.structs.replace(contrast("spread", 0.2), p_adjusted=0.2)
    said = judged(*NOTHING, row("relearn", 0.2, p=0.04, p_adjusted=0.2, contrasts=(half, spread)))
    assert "More models that never knew" in said.text
    wide = msgspec.structs.replace(spread, difference=0.0, difference_ci=(-0.5, 0.5))
    said = judged(row("relearn", detectable=0.7, contrasts=(half, wide)))
    assert "More models that never knew, each given as --control, would settle it" in said.text
    few = judged(row("relearn", detectable=1.0))
    assert "More forget questions, from more sources, would settle it" in few.text


def test_retain_knowledge_is_what_exceeds_guessing_retain_questions() -> None:
    def said(before: float, after: float, chance: float) -> str:
        known: dict[str, Any] = {"tried": {}, "below_chance": False, "p_chance": 0.9}
        sets = (measured(1.0), measured(0.5), measured(before), measured(after))
        subject = Subject(*sets, (0.4, 0.6), 0.5, chance, "A", "never_knew")
        return judge(Findings(model="x", **known), NOTHING, subject).category

    assert said(0.48, 0.25, 0.25) == "not judged"  # Nothing of four choices survived.
    assert said(0.95, 0.62, 0.5) == "not judged"
    assert said(0.95, 0.9, 0.5) != "not judged"


def test_the_spread_of_controls_is_named_only_where_it_was_exceeded() -> None:
    def said(*contrasts: Contrast) -> str:
        hit = row("relearn", 0.5, contrasts=contrasts)
        known: dict[str, Any] = {"tried": {}, "below_chance": False, "p_chance": 0.9}
        before = [measured(x) for x in (1.0, 0.25, 1.0, 1.0)]
        subject = Subject(*before, (0.6, 0.9), 0.25, 0.25, "A", "never_knew", n_controls=3)
        return judge(Findings(model="x", **known), [hit], subject).text

    control = contrast("control", 0.5)
    assert "3 models that never knew and were not unlearned." in said(control)
    beside = said(control, contrast("spread", 0.5))
    assert "3 models that never knew and were not unlearned and their spread." in beside


def test_only_relearning_from_forget_facts_that_counts_clears_a_model() -> None:
    """A18: what is hidden deep is not found by anything else, and without a control not at all."""
    for tier, grade, category, says in (
        ("A", 2, "no evidence", ""),
        ("A", 1, "inconclusive", "it was not tried"),
        ("B", 2, "no evidence", ""),
        ("C", 2, "inconclusive", "counts only beside a model that never knew"),
        ("C", 1, "inconclusive", "counts only beside a model that never knew"),
    ):
        about: dict[str, Any] = {"tier": tier, "control": 0.25 if tier == "A" else None}
        relearned = row("relearn", evidence=GRADES[grade], **about)
        said = judged(row("read-out", **about), relearned, tier=tier)  # type: ignore[arg-type]
        assert (tier, grade, said.category) == (tier, grade, category)
        assert says in said.text
