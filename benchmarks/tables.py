"""Tables in Markdown, as the benchmarks print them."""

from __future__ import annotations

from collections.abc import Mapping


def head(*titles: str) -> str:
    """The first two lines of a table: the titles of its columns, and the rule below them."""
    return f"{row(*titles)}\n{'|---' * len(titles)}|"


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def single(cells: Mapping[str, object]) -> str:
    """A table of one line, from its cells by the titles of their columns."""
    return f"{head(*cells)}\n{row(*cells.values())}"
