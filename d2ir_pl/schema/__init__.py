"""What files of others hold, read within bounds: plain values of declared types and ranges.

A record, the settings of a run or the description of a network may come from anyone. So a file is
read up to a size, only if it is a regular one; its values are counted before anything walks through
them; and what is made of them is a dataclass, every field of which is checked against its
annotation.
"""

# The room is no part of the public interface, so it has no `__all__`.
from d2ir_pl.schema.checking import LARGEST as LARGEST
from d2ir_pl.schema.checking import Within as Within
from d2ir_pl.schema.checking import checked as checked
from d2ir_pl.schema.reading import DEEPEST as DEEPEST
from d2ir_pl.schema.reading import LONGEST_NUMBER as LONGEST_NUMBER
from d2ir_pl.schema.reading import MAX_PIXELS as MAX_PIXELS
from d2ir_pl.schema.reading import MOST_BYTES as MOST_BYTES
from d2ir_pl.schema.reading import MOST_VALUES as MOST_VALUES
from d2ir_pl.schema.reading import MOST_YAML as MOST_YAML
from d2ir_pl.schema.reading import count as count
from d2ir_pl.schema.reading import parsed_yaml as parsed_yaml
from d2ir_pl.schema.reading import read_json as read_json
from d2ir_pl.schema.reading import read_text as read_text
from d2ir_pl.schema.reading import read_yaml as read_yaml
