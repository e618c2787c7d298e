"""The pages in a real browser: no errors, no network, usable by everybody, text stays text."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mechunlearn.analysis.records import Beside
from mechunlearn.analysis.report import Report
from mechunlearn.report import write_board, write_comparison, write_page

TIMES = """() => {
  const times = { opened: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd };
  for (const outcome of ["some", "none", "back relearning_text"]) {
    const start = performance.now();
    const select = document.querySelector("#by-outcome");
    select.value = outcome;
    select.dispatchEvent(new Event("change"));
    document.querySelector("#list").getBoundingClientRect();
    times[outcome] = performance.now() - start;
  }
  return times;
}"""
"""Milliseconds to open the page, browser of questions included, and to filter and lay out."""


WIDEST = (
    """Math.max(...[...document.querySelectorAll('.plot .main-svg')].map((e) => e.clientWidth))"""
)


LOW = 100
"""A window's height with no figure in sight, so that none is drawn: that takes seconds."""


@pytest.fixture(scope="module")
def small(
    with_questions: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Path]:
    report = with_questions(60, 4)
    return report, write_page(report, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; at the end there must have been no message of an error and no request."""
    messages: list[str] = []
    contexts = []

    def open_page(file: Path, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(120_000)  # On a busy machine everything takes its time.
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: messages.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda r: messages.append(r.url) if r.url.startswith("http") else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def wait_until(page: Any, expression: str) -> None:
    """Wait for a condition; the page's own policy forbids to evaluate text inside it."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"this did not come true: {expression}")


def open_everything(page: Any) -> None:
    """Open every part and let every figure be drawn."""
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_figures_are_drawn_where_they_are_seen_and_fit(
    small: tuple[Report, Path], opened: Callable[..., Any], width: int
) -> None:
    page = opened(small[1], width)
    page.locator(".plot").first.scroll_into_view_if_needed()
    page.wait_for_selector(".plot .main-svg")
    plots = page.locator(".plot").count()
    assert 0 < page.locator(".js-plotly-plot").count() < plots  # Closed ones wait.
    open_everything(page)
    assert page.locator(".js-plotly-plot").count() == plots
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.ci
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_nothing_keeps_anybody_out(
    small: tuple[Report, Path],
    committed: dict[str, Report],
    opened: Callable[..., Any],
    axe: str,
    scheme: str,
    tmp_path: Path,
) -> None:
    runs = {name: committed[f"audit-attacks/{name}"] for name in ("rmu-seed0", "npo-seed0")}
    pages = write_comparison(runs, tmp_path / "of.html"), write_board(runs, tmp_path / "board.html")
    for file in (small[1], *pages):
        page = opened(file, 390, color_scheme=scheme)
        for kind in (".attack", "#list", "#validation", "#repeat"):
            if page.locator(f"{kind} summary").count():
                page.locator(f"{kind} summary").first.click()
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_the_checker_sees_what_is_wrong(
    small: tuple[Report, Path], opened: Callable[..., Any], axe: str
) -> None:
    page = opened(small[1])
    page.add_style_tag(content=".soft { color: #bbb !important; }")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    assert "color-contrast" in [v["id"] for v in found]


@pytest.mark.long
def test_figures_follow_the_page_into_the_dark(
    small: tuple[Report, Path], opened: Callable[..., Any]
) -> None:
    page = opened(small[1])
    page.wait_for_selector(".plot .xtick text")
    ticks = "[...document.querySelectorAll('.plot .xtick text')]"
    colours = f"{ticks}.map((text) => getComputedStyle(text).fill)"
    light = page.evaluate(colours)
    assert set(light) == {"rgb(27, 27, 27)"}
    page.emulate_media(color_scheme="dark")
    wait_until(page, f"{colours}.every((colour) => colour === 'rgb(233, 233, 230)')")


@pytest.mark.ci
@pytest.mark.parametrize("scripts", [True, False])
def test_questions_are_text_and_nothing_else(
    small: tuple[Report, Path], opened: Callable[..., Any], scripts: bool
) -> None:
    page = opened(small[1], height=LOW, java_script_enabled=scripts)
    questions = small[0].questions
    assert questions is not None
    stem = questions.sets["forget"].stem[0]
    if scripts:
        page.select_option("#by-outcome", "all")
        page.locator("#list summary").first.click()
        assert page.locator("#list .choices").first.inner_text().count("<script>") == 1
        assert page.evaluate("window.hacked === undefined")
        assert page.locator("#list").first.inner_text().count(stem) == 1
    else:
        page.locator("#questions details:not(#as-asked) summary").first.click()
        assert stem in page.locator("#questions table").first.inner_text()
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0


@pytest.mark.ci
def test_filters_find_what_they_say(small: tuple[Report, Path], opened: Callable[..., Any]) -> None:
    report, file = small
    questions = report.questions
    assert questions is not None
    right, after = (questions.models[m]["forget"] for m in (report.original.label, "rmu"))
    said = questions.attacked["rmu"]["logit_lens"]["forget"]
    lost = [i for i in range(60) if after[i] != right[i]]
    back = [i for i in lost if said[i] == right[i]]
    page = opened(file, height=LOW)

    def counted() -> int:
        return int(page.locator("#count").inner_text().split()[0])

    every = [of["forget"] for of in questions.attacked["rmu"].values()]
    some = [i for i in lost if any(answers[i] == right[i] for answers in every)]
    assert counted() == len(some) < 60  # It opens on what was lost and came back.
    page.select_option("#by-outcome", "lost")
    assert counted() == len(lost)
    page.select_option("#by-outcome", "back logit_lens")
    assert counted() == len(back)
    page.select_option("#by-topic", "topic 3")
    assert counted() == sum(i % 7 == 3 for i in back)
    # The address leads to what is shown.
    again = page.context.new_page()
    again.goto(page.url)
    assert again.input_value("#by-outcome") == "back logit_lens"
    assert again.locator("#count").inner_text() == page.locator("#count").inner_text()
    again.close()
    page.select_option("#by-topic", "")
    page.fill("#by-text", f"question {back[-1]} ")
    assert counted() == 1
    page.locator("#list summary").click()
    answers = page.locator("#list .answers").inner_text()
    assert f"choice {said[back[-1]]} of {back[-1]} ✓ right" in answers
    page.fill("#by-text", "")
    page.select_option("#by-set", "retain_select")
    page.select_option("#by-outcome", "all")
    assert "no attack was asked this" in page.locator("#list summary").first.inner_text()


@pytest.mark.ci
def test_the_keyboard_is_enough(small: tuple[Report, Path], opened: Callable[..., Any]) -> None:
    page = opened(small[1])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    first = page.locator("details.attack").first
    first.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("open") is not None


@pytest.mark.long
def test_a_link_to_an_attack_opens_it(
    small: tuple[Report, Path], opened: Callable[..., Any]
) -> None:
    page = opened(small[1])
    page.locator("#overview tbody a").nth(1).click()
    wait_until(page, "document.querySelectorAll('details.attack')[1].open")


@pytest.mark.long
def test_paper_gets_every_attack_and_figure(
    small: tuple[Report, Path], opened: Callable[..., Any]
) -> None:
    page = opened(small[1], color_scheme="dark")
    page.evaluate("addEventListener('beforeprint', () => (window.printed = true))")
    page.evaluate(f"addEventListener('beforeprint', () => (window.widest = {WIDEST}))")
    page.pdf()
    assert page.evaluate("window.printed")
    # Figures were drawn as wide as paper, and are as wide as the window again.
    assert page.evaluate("window.widest") <= 660
    assert page.evaluate(WIDEST) > 660
    assert page.evaluate("document.querySelectorAll('.plot .main-svg').length") > 0
    closed = "document.querySelectorAll('details.attack:not([open])').length"
    assert page.evaluate(closed) == len(small[0].rows)  # As before printing.


@pytest.mark.slow
def test_a_large_report_opens_and_filters_quickly(
    with_questions: Callable[..., Report], opened: Callable[..., Any], tmp_path: Path
) -> None:
    file = write_page(with_questions(2000, 20, words=60), tmp_path / "report.html")
    page = opened(file)
    times = page.evaluate(TIMES)
    print(f"{file.stat().st_size / 1e6:.1f} MB, milliseconds: {times}")  # noqa: T201
    assert file.stat().st_size < 15e6
    assert max(times.values()) < 2000


@pytest.mark.ci
def test_open_answers_are_shown_with_the_right_words_marked(
    with_questions: Callable[..., Report], tmp_path: Path, opened: Callable[..., Any]
) -> None:
    report = with_questions(8, 2)
    kept = report.questions
    assert kept is not None

    def said(name: str, letters: str) -> tuple[str, ...]:
        asked = kept.sets[name]
        return tuple(
            f"Surely <b>{asked.choices[i][int(c)] if c in '0123' else ''}</b>"
            for i, c in enumerate(letters)
        )

    def told(of: Any) -> Any:
        return {n: said(n, x) if isinstance(x, str) else told(x) for n, x in of.items()}

    def deep(models: Any) -> Any:
        return {model: told(attacks) for model, attacks in models.items()}

    texts = Beside(
        models=told(kept.models), attacked=deep(kept.attacked), control=deep(kept.control)
    )
    report = replace(report, questions=replace(kept, texts=texts))
    page = opened(write_page(report, tmp_path / "report.html"), height=LOW)
    page.select_option("#by-outcome", "all")
    page.locator("#list summary").first.click()
    table = page.locator("#list .answers").first
    table.wait_for()
    rows = table.locator("tbody tr").all()
    asked = kept.sets["forget"]
    right = asked.choices[0][asked.right[0]]
    marked = [row.locator("td").first.locator("mark").all_inner_texts() for row in rows]
    told_right = ["✓" in row.locator("td").first.inner_text() for row in rows]
    assert any(told_right)
    assert [" ".join(words) == " ".join(right.split()) for words in marked] == told_right
    assert "Surely <b>" in rows[0].inner_text()  # Text, not markup.
    assert page.locator("#list .choices li").first.inner_text() == f"right: {right}"
