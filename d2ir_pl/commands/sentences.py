"""One sentence for what is wrong with the options, made of the reports of the parser."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from d2ir_pl.commands.classes import CLASSES, known_classes


def sentence(message: str, prog: str, known: Iterable[str] = ()) -> str:
    """Reduce a report of jsonargparse to the option, what is wrong with it, and the remedy.

    Args:
        message: several lines, a branch for every type that the option could have had.
        prog: the command, whose help the remedy may be.
        known: options, one of which may have been meant.
    """
    text = " ".join(message.split())
    # Where a class or null is possible, what matters is why it is not the class.
    text = re.sub(r"Does not validate against any of the Union subtypes .*? Errors: - ", "", text)
    text = re.sub(r"( - Expected a <class 'NoneType'>)? Given value type: .*", "", text)
    key = ".".join(re.findall(r'Parser key "([^"]+)": ', text))
    text = re.sub(r'Parser key "[^"]+": (- )?', "", text)
    owner = re.match(r"Problem with given class_path '([^']+)': ", text)
    text = text[owner.end() :] if owner else text

    if unknown := re.match(r"unrecognized arguments: ([^\s=]+)", text):
        typed = unknown[1]
    elif unknown := re.match(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'", text):
        typed = "--" + ".".join(part for part in unknown.groups() if part)
    if unknown:
        if owner:
            name = owner[1].rsplit(".", 1)[-1]
            hint = f"see '{prog} --{key}.help {name}'"
            return f"--{key}.{typed.removeprefix('--')} is not an option of {name}: {hint}"
        near = difflib.get_close_matches(typed, list(known), 1, 0.8)
        hint = f"did you mean {near[0]}?" if near else f"see '{prog} --help'"
        return f"{typed} is not an option: {hint}"
    if (path := re.search(r"Expected a dot import path string: (\S+)", text)) and key in CLASSES:
        names = ", ".join(known_classes(key))
        return f"--{key} {path[1]} is unknown: use auto, {names}, or the import path of a class"
    if key in CLASSES and text.startswith("Not a valid subclass"):
        return f"--{key}: its options need a class: name one instead of auto, such as --{key} D2IR"
    text = re.sub(r"(?:<class '(\w+)'>|typing\.(Literal))", r"\1\2", text)
    text = text.replace("Expected a ", "expected ").replace(". Got value: ", ", not ")
    return f"--{key}: {text}" if key else text
