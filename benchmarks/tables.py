"""Tables in Markdown, as the benchmarks print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def head(*titles: str) -> str:
    """The first two lines of a table: the titles of its columns, and the rule below them."""
    return f"{row(*titles)}\n{'|---' * len(titles)}|"


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def single(cells: Mapping[str, object]) -> str:
    """A table of one line, from its cells by the titles of their columns."""
    return f"{head(*cells)}\n{row(*cells.values())}"


def of(lines: Sequence[Mapping[str, str]]) -> str:
    """A table of lines with the same titles, without columns that are empty; none of no lines."""
    titles = [title for title in (lines[0] if lines else {}) if any(line[title] for line in lines)]
    if not titles:
        return ""
    return "\n".join([head(*titles), *(row(*(line[t] for t in titles)) for line in lines)])
