"""Figures in notebooks, with and without a browser."""

from collections.abc import Iterator

import plotly.graph_objects as go
import plotly.io as pio
import pytest

from mechunlearn.plots.static import hovering, static
from mechunlearn.plots.template import TEMPLATE


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    renderer, template = pio.renderers.default, pio.templates.default
    yield
    pio.renderers.default, pio.templates.default = renderer, template


def test_with_a_browser_they_are_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go.Figure, "to_image", lambda *args, **kwargs: b"")
    monkeypatch.setattr("mechunlearn.plots.static.keep_browser", lambda: None)
    static()
    assert pio.renderers.default == "png"
    assert go.Figure().layout.template.layout.font.family == TEMPLATE.layout.font.family


def test_they_hover_with_a_picture_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go.Figure, "to_image", lambda *args, **kwargs: b"")
    monkeypatch.setattr("mechunlearn.plots.static.keep_browser", lambda: None)
    hovering()
    assert pio.renderers.default == "plotly_mimetype+svg"
    assert go.Figure().layout.template.layout.font.family is None  # Figures bring their own.


@pytest.mark.parametrize("error", [RuntimeError("no Chrome"), ValueError("no kaleido")])
def test_without_one_they_stay_interactive(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(go.Figure, "to_image", fail)
    static()
    assert pio.renderers.default == "plotly_mimetype"
