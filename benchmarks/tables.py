"""Tables in Markdown, as the benchmarks print them."""

from __future__ import annotations


def head(*titles: str) -> str:
    """The first two lines of a table: the titles of its columns, and the rule below them."""
    return f"{row(*titles)}\n{'|---' * len(titles)}|"


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"
