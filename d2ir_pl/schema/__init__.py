"""What files of others hold, read within bounds: plain values of declared types and ranges.

A record, the settings of a run or the description of a network may come from anyone. So a file is
read up to a size, only if it is a regular one; its values are counted before anything walks through
them; and what is made of them is a dataclass, every field of which is checked against its
annotation.
"""

from d2ir_pl.schema.checking import LARGEST, Within, checked
from d2ir_pl.schema.reading import (
    DEEPEST,
    LONGEST_NUMBER,
    MAX_PIXELS,
    MOST_BYTES,
    MOST_VALUES,
    MOST_YAML,
    count,
    parsed_yaml,
    read_json,
    read_text,
    read_yaml,
)

__all__ = [
    "DEEPEST",
    "LARGEST",
    "LONGEST_NUMBER",
    "MAX_PIXELS",
    "MOST_BYTES",
    "MOST_VALUES",
    "MOST_YAML",
    "Within",
    "checked",
    "count",
    "parsed_yaml",
    "read_json",
    "read_text",
    "read_yaml",
]
