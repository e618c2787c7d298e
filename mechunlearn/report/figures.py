"""A report's figures as the page's script draws them."""

from dataclasses import dataclass

from markupsafe import Markup

from mechunlearn.plots.figure import Drawn
from mechunlearn.plots.template import without_title


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure whose finding and caption stand on the page as text."""

    drawn: Drawn
    finding: str
    caption: str
    height: int
    """Pixels."""
    spec: Markup
    """Plotly's JSON, safe inside a ``script`` element."""

    @classmethod
    def of(cls, drawn: Drawn) -> "PageFigure":
        """A figure without its title."""
        bare = without_title(drawn.figure)
        return cls(
            drawn=drawn,
            finding=drawn.figure.layout.meta["finding"],
            caption=drawn.figure.layout.meta["caption"],
            height=int(bare.layout.height),
            spec=inside_script(bare.to_json()),
        )


def inside_script(text: str) -> Markup:
    """JSON that no content can use to end the ``script`` element around it."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
