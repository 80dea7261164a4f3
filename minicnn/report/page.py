"""report.html: one file, without scripts, that asks the network for nothing."""

from pathlib import PurePath

from .classes import classes_section, data_section
from .facts import Facts
from .markup import Markup, join, tag
from .run import curves_section, headline, settings_section, usage_section
from .samples import calibration_section, explained_section, hits_section, mistakes_section
from .style import CSS

# Nothing may be loaded from anywhere, whatever got into the page.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)

SECTIONS = {
    "curves": ("Training", curves_section),
    "classes": ("Classes", classes_section),
    "mistakes": ("Mistakes", mistakes_section),
    "unsure": ("Unsure hits", hits_section),
    "explained": ("Where it looks", explained_section),
    "calibration": ("Calibration", calibration_section),
    "data": ("Data", data_section),
    "use": ("Use it", usage_section),
    "settings": ("Settings", settings_section),
}


def page(facts: Facts) -> str:
    """The whole page.

    Parameters
    ----------
    facts : Facts
        With at least one judged part and one epoch.

    Returns
    -------
    str
        HTML, to be written as UTF-8.
    """
    sections: list[Markup] = []
    links: list[Markup] = []
    for anchor, (title, draw) in SECTIONS.items():
        content = join(draw(facts))
        if content:
            sections.append(tag("section", content, id=anchor))
            links.append(tag("a", title, href=f"#{anchor}"))
    run = PurePath(facts.run).name
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{run}: {facts.architecture} on {PurePath(facts.data).name}"),
        tag("style", Markup(CSS)),
    )
    main = tag("main", tag("header", headline(facts), tag("nav", links)), sections)
    return f"<!doctype html>\n{tag('html', head, tag('body', main), lang='en')}\n"
