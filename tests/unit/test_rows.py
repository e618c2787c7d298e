"""Which rows share a cached prefix."""

import random

from mechunlearn.bench.rows import Row, prefix_groups


def row(*tokens: int) -> Row:
    return Row(list(tokens), [(len(tokens) - 1, 1, 0)], len(tokens))


def questions(header: list[int], n: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [row(*header, *(rng.randrange(1000) for _ in range(20))) for _ in range(n)]


def test_each_long_header_is_a_group() -> None:
    rows = [
        r
        for subject in range(5)
        for r in questions([1, 2, 3, 4, *range(100 * subject, 100 * subject + 90)], 30, subject)
    ]
    random.Random(0).shuffle(rows)
    groups = prefix_groups(rows, worth=16, batch=1000)
    assert sorted(i for _, group in groups for i in group) == list(range(150))
    assert [(shared, len(group)) for shared, group in groups] == [(94, 30)] * 5
    for shared, group in groups:
        assert len({tuple(rows[i].tokens[:shared]) for i in group}) == 1


def test_what_saves_less_than_a_batch_stays_together() -> None:
    short = questions([1, 2, 3, 4, 5], 30, 0) + questions([1, 2, 3, 9, 9], 30, 1)
    assert [(n, len(group)) for n, group in prefix_groups(short, 16, 1000)] == [(0, 60)]
    few = questions(list(range(60)), 3, 0) + questions(list(range(100, 160)), 3, 1)
    assert [(n, len(group)) for n, group in prefix_groups(few, 16, 1000)] == [(0, 6)]
    one = questions(list(range(60)), 4, 0)
    assert [(n, len(group)) for n, group in prefix_groups(one, 16, 1000)] == [(60, 4)]
