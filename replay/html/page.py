"""From sections to one file: the template, the style sheet, both scripts and the figures' data, with nothing to fetch."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from dynmm_core.errors import UserError
from replay.files import write_atomically
from replay.html.headline import Fact
from replay.html.palette import SIDES, Look
from replay.html.parts import Section

GENERATOR = "dynmm report"
_FILES = files("replay.html") / "page"
_MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
_MARK_WITHIN = 1_024


@dataclass(frozen=True)
class LegendEntry:
    """A model's button: its name, how its lines look, and a word on it."""

    name: str
    look: Look
    note: str


@dataclass(frozen=True)
class Page:
    """What a page shows: its name and what it is of, the headline, figures below it, the legend, the sections, the causes.

    legend: in the order of the buttons; shown: the models whose lines are drawn at first.
    """

    over: str
    title: str
    subtitle: str
    headline: str
    facts: Sequence[Fact]
    legend: Sequence[LegendEntry]
    shown: frozenset[str]
    sections: Sequence[Section]
    causes: Sequence[tuple[str, str]]


def render(page: Page) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("replay.html", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = _with_code
    scripts = [get_plotlyjs(), (_FILES / "report.js").read_text(encoding="utf-8")]
    return environment.get_template("report.html.j2").render(
        page=page,
        present=[section for section in page.sections if section.absent is None],
        absent=[section for section in page.sections if section.absent is not None],
        generator=GENERATOR,
        style=Markup((_FILES / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        data=Markup(_embedded(_data(page))),
    )


def write_page(path: Path, page: Page) -> int:
    """Write the page at ``path`` and return its size in bytes; a report that is there already is written anew.

    Raises:
        UserError: another file is there, or a folder.
    """
    refuse_foreign(path)
    content = render(page).encode()
    write_atomically(path, content)
    return len(content)


def refuse_foreign(path: Path) -> None:
    """Make sure that nothing but a report of ours would be overwritten.

    Raises:
        UserError: another file is there, or a folder.
    """
    if path.is_dir():
        raise UserError(f"--out: {path} is a folder; name a file")
    if not path.exists():
        return
    with path.open("rb") as file:
        if _MARK not in file.read(_MARK_WITHIN):
            raise UserError(f"--out: {path} is no report of dynmm and stays as it is; name another file")


def _policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: these scripts and no other, and no request to anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _data(page: Page) -> dict[str, Any]:
    charts = [chart for section in page.sections for chart in section.charts]
    return {
        "models": {entry.name: {**asdict(entry.look), "shown": entry.name in page.shown} for entry in page.legend},
        "sides": {name: asdict(look) for name, look in SIDES.items()},
        "charts": {chart.id: {"figures": {name: _figure(figure) for name, figure in chart.figures.items()}} for chart in charts},
    }


def _figure(figure: Any) -> Mapping[str, Any]:
    document: dict[str, Any] = json.loads(figure.to_json())
    # Plotly's template of colours would be a second style sheet.
    document["layout"].pop("template", None)
    return document


def _with_code(text: str) -> Markup:
    """Return text as HTML, what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _embedded(value: Any) -> str:
    """Return JSON that ends no script element, whatever it holds."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
