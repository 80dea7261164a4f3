"""HTML and SVG from nested calls. Text is escaped unless a `tag` made it."""

from collections.abc import Iterable
from html import escape
from typing import Any

EMPTY = {"br", "col", "img", "meta"}  # elements without content and end


class Markup(str):
    """Text that is markup already."""


Content = Any  # Markup, str, a number, None (nothing), or an iterable of these


def tag(name: str, /, *content: Content, **attributes: Any) -> Markup:
    """One element.

    Parameters
    ----------
    name : str
    *content : Markup, str, number, None, or iterables of them
        What is not Markup is escaped; None stands for nothing.
    **attributes
        `class_` is class, `aria_label` is aria-label; None leaves an attribute out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            spelled = key.rstrip("_").replace("_", "-")
            words.append(f'{spelled}="{escape(_clean(str(value)))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in EMPTY else f"{start}{join(content)}</{name}>")


def join(content: Content) -> Markup:
    """Content as markup, without an element around it."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Markup("".join(join(piece) for piece in content))
    return Markup(escape(_clean(str(content))))


def name(text: str) -> Markup:
    """A name of a class or file: any script, in its own direction."""
    return tag("bdi", text)


def table(
    head: Iterable[Content],
    rows: Iterable[Iterable[Content]],
    text: int = 1,
    tall: bool = False,
    total: bool = False,
) -> Markup:
    """A table that scrolls within its own box.

    Parameters
    ----------
    head, rows
        Cells.
    text : int
        The first columns, which hold words; the others hold figures, and end in one line.
    tall : bool
        Keep a long table in a box of limited height.
    total : bool
        The last row is about all others.
    """

    def cells(row: Iterable[Content], element: str) -> list[Markup]:
        return [
            tag("th" if i == 0 else element, cell, class_=None if i < text else "n",
                scope="row" if i == 0 and element == "td" else None)
            for i, cell in enumerate(row)
        ]  # fmt: skip

    lines = [tag("tr", cells(row, "td")) for row in rows]
    if total:
        lines[-1] = Markup(lines[-1].replace("<tr", '<tr class="sum"', 1))
    whole = tag("table", tag("thead", tag("tr", cells(head, "th"))), tag("tbody", lines))
    return tag("div", whole, class_="box tall" if tall else "box", tabindex="0")


def percent(share: float, digits: int = 1) -> str:
    """A share; one that is neither 0 nor 1 never reads 0 % or 100 %."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
    step = 10.0**-digits
    return f"{min(max(100 * share, step), 100 - step):.{digits}f}\N{NO-BREAK SPACE}%"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def _clean(text: str) -> str:
    """Without characters that no HTML may hold: controls, and halves of surrogate pairs."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if c < " " and c not in "\t\n" or "\ud800" <= c <= "\udfff"
        else c for c in text
    )  # fmt: skip
