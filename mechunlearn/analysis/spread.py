"""One audit with several seeds: how far numbers and verdicts move."""

from collections.abc import Sequence

from msgspec.structs import replace

from mechunlearn.analysis.records import Category, Model, Row, Seeds, Verdict
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant


def with_spread(report: Report, repeats: Sequence[Report]) -> Report:
    """The report of the first seed, with what the others say beside its rows and verdicts.

    Args:
        repeats: Of the other seeds; attacks that one of them has not finished do not count there.
    """
    if not repeats:
        return report
    reports = (report, *repeats)
    return replace(
        report,
        rows=tuple(_row(row, reports) for row in report.rows),
        models=tuple(_model(model, reports) for model in report.models),
    )


def _row(row: Row, reports: Sequence[Report]) -> Row:
    same = [r for x in reports for r in x.rows if (r.model, r.attack) == (row.model, row.attack)]
    shares = [r.recovery for r in same if r.recovery is not None]
    seeds = Seeds(
        n=len(same),
        found=sum(map(significant, same)),
        value_range=_range([r.value for r in same]),
        difference_range=_range([r.difference for r in same]),
        # Of fewer seeds than n the range would be read as that of all of them.
        recovery_range=_range(shares) if len(shares) == len(same) else None,
    )
    return replace(row, seeds=seeds)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _model(model: Model, reports: Sequence[Report]) -> Model:
    """The model with a verdict that says what it is with the other seeds."""
    if model.verdict is None:
        return model
    by_seed: dict[str, Category] = {}
    attacks = {row.attack for row in reports[0].rows_of(model.label)}
    for report in reports:
        verdict = report.model(model.label).verdict
        # A seed whose attacks are not all finished may say something else for that reason alone.
        same = attacks == {row.attack for row in report.rows_of(model.label)}
        if verdict is not None and attacks and same:
            by_seed[str(report.runcard.seed)] = verdict.category
    return replace(model, verdict=_verdict(model.verdict, by_seed))


def _verdict(verdict: Verdict, by_seed: dict[str, Category]) -> Verdict:
    if len(by_seed) < 2:
        return verdict
    if len(set(by_seed.values())) == 1:
        note = f" The verdict is the same with all {len(by_seed)} seeds."
    else:
        each = "; ".join(f"seed {seed}: {category}" for seed, category in by_seed.items())
        note = f" The verdict depends on the seed ({each}), so take none of them as settled."
    return replace(verdict, text=verdict.text + note, by_seed=by_seed)
