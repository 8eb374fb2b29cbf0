"""HTML pages of one file that load nothing: their frame, their style, their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .record import is_number

LONG = 30
"""Text of more characters may wrap in a table."""

ROW_HEAD = ' scope="row"'

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1b1b1b; --soft: #5b5b5b;
  --line: #d8d8d8; --train: #0072b2; --held: #c04e00; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #16181b; --text: #e8e8e8;
  --soft: #a8adb3; --line: #3a3f45; --train: #56b4e9; --held: #f0a040; } }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--ground);
  color: var(--text); font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem; }
h3 { margin: 0 0 .3rem; font-size: 1rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; overflow-wrap: anywhere; }
.soft, figcaption, th { color: var(--soft); }
.grid { display: grid; gap: 1rem; margin-top: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .7rem; break-inside: avoid; }
figure { margin: .5rem 0 0; }
figcaption { font-size: .8rem; line-height: 1.25; margin-bottom: .3rem; }
figure svg { display: block; width: 100%; max-width: 21rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg path { fill: none; stroke-width: 1.7; }
.axis { stroke: var(--line); }
.train { stroke: var(--train); } .held { stroke: var(--held); }
circle.train { stroke: none; fill: var(--train); } circle.held { stroke: none; fill: var(--held); }
circle.hidden { opacity: 0; } circle.hidden:hover { opacity: 1; }
.baseline { stroke: var(--held); stroke-dasharray: 6 4; }
.one { stroke: var(--soft); stroke-dasharray: 1.5 3; }
.key { width: 2.2rem; vertical-align: middle; margin-right: .3rem; }
.legend span { white-space: nowrap; margin-right: 1.2rem; }
.scroll { overflow-x: auto; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { white-space: nowrap; } tbody th { color: inherit; }
.long { min-width: 14rem; overflow-wrap: anywhere; white-space: normal; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { border: 1px solid var(--line); border-radius: .4rem; padding: .7rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll img { display: block; width: 100%; min-width: 42rem; background: #fff; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } .scroll img { min-width: 0; } tr { break-inside: avoid; }
  * { print-color-adjust: exact; } }
"""


def page(title: str, header: Sequence[str], sections: Mapping[str, str]) -> str:
    """A page in which nothing can be loaded or run.

    Args:
        title: Plain text.
        header: Lines of plain text below it.
        sections: Heading to HTML; one without content is left out.
    """
    lines = "".join(f"<p>{escape(line)}</p>" for line in header)
    body = "\n".join(
        f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"
        for heading, content in sections.items()
        if content
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{lines}</header>
<main>
{body}
</main>
</body>
</html>
"""


def note(text: str) -> str:
    """A paragraph of plain text in the second rank."""
    return f'<p class="soft">{escape(text)}</p>'


def scroll(label: str) -> str:
    """Attributes of a place that scrolls sideways, with the keyboard too."""
    return f'class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"'


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of plain values, each row beginning with its head; empty where there are no rows."""
    body = ""
    for first, *rest in rows:
        cells = "".join(_cell(value, "td") for value in rest)
        body += f"<tr>{_cell(first, 'th', ROW_HEAD)}{cells}</tr>\n"
    tops = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return body and (
        f"<div {scroll(label)}><table>\n<thead><tr>{tops}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


def _cell(value: Any, tag: str, attributes: str = "") -> str:
    text = "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    style = "number" if is_number(value) else "long" if len(text) > LONG else ""
    style = f' class="{style}"' if style else ""
    return f"<{tag}{attributes}{style}>{escape(text)}</{tag}>"
