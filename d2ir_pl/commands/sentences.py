"""One sentence for what is wrong with the options.

It is made of the reports of the parser, and of the messages of constructors, which know the names
of their parameters but not the options that the user has given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from d2ir_pl.commands.classes import CLASSES, known_classes

# The parser goes on to say that a value which is wrong for a class is not another type either.
_OTHER_TYPES = r"(?: - Expected a (?:typing\.Literal\['auto'\]|<class 'NoneType'>))*"


def sentence(message: str, prog: str, known: Iterable[str] = ()) -> str:
    """Reduce a report of jsonargparse to the option, what is wrong with it, and the remedy.

    Args:
        message: the report, with a branch for every type that the option could have had.
        prog: the command, whose help the remedy may be.
        known: options, one of which may have been meant.
    """
    text = " ".join(message.split())
    if alone := re.fullmatch(r"argument ([^\s/:]+)\S*: expected one argument", text):
        return f"{alone[1]} has no value: write one behind it"
    # Where a class or null is possible, what matters is why it is not the class.
    text = re.sub(r"Does not validate against any of the Union subtypes .*? Errors: - ", "", text)
    text = re.sub(r"(- )?Expected a path but .*? either not accessible or invalid - ", "", text)
    bare = re.sub(r'Parser key "[^"]+": (- )?', "", text)
    text = re.sub(_OTHER_TYPES + " Given value type: .*", "", text)
    key = ".".join(re.findall(r'Parser key "([^"]+)": ', text))
    text = re.sub(r'Parser key "[^"]+": (- )?', "", text)
    inner = re.search(_NUMBER_OR_WORD, bare)  # of an option of a class that is named
    if inner and (wrong := _of_another_type(inner[0])) is not None:
        return f"--{key} {wrong}"
    owner = re.match(r"(?:Problem with given class_path '(?P<name>[^']+)': )+", text)
    text = text[owner.end() :] if owner else text
    if unknown := _unknown_option(text):
        return _about_unknown(unknown, key, owner["name"] if owner else "", prog, known)
    if (path := re.search(r"Expected a dot import path string: (\S+)", text)) and key in CLASSES:
        return f"--{key} {path[1]} is unknown: {_classes_like(path[1], known_classes(key))}"
    if path := re.search(r"Expected a dot import path string: (\S+)", text):
        return f"--{key} {path[1]} is unknown: give the import path of a class, such as mine.Class"
    if config := re.search(r"Unable to load config '(.*?)'", text):
        first = key[: len(key) // 2] if key[len(key) // 2 + 1 :] == key[: len(key) // 2] else key
        return f"--{first} {config[1]} is no file of settings: give one, or the options below it"
    text = re.sub(r"( - Expected a (?:<class '[\w.]+'>|bool|List\[[\w.]*\]))+$", "", text)
    if missing := re.search(r"following arguments are required: (\w+)", text):
        return f"--{key}.{missing[1]} is missing: the class that --{key} names needs it"
    if key in CLASSES and "Not a valid subclass" in text:
        value = re.search(r"Given value: (.*)", bare)
        if value and "Given value type: <class 'list'>" in bare:
            names = ", ".join(known_classes(key))
            return f"--{key} {value[1]:.80} is no class: use auto, {names}, or one of your own"
        return f"--{key}: its options need a class: name one instead of auto, such as --{key} D2IR"
    if known_values := re.fullmatch(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", text):
        values = known_values[1].replace("'", "")
        return f"--{key} {known_values[2]} is unknown: use one of {values}"
    if listed := re.fullmatch(r"Expected a <class 'str'>\. Got value: \[([^\]]*)\]", text):
        return f"--{key} [{listed[1]}] is a list: write it as text, '{listed[1].replace(' ', '')}'"
    if (wrong := _of_another_type(bare) or _of_another_type(text)) is not None:
        return f"--{key} {wrong}"
    text = re.sub(r"(?:<class '(\w+)'>|typing\.(Literal))", r"\1\2", text)
    text = text.replace(" - Expected a ", " or ").replace("Expected a ", "expected ")
    text = text.replace(". Got value: ", ", not ")
    return f"--{key}: {text}" if key else text


def _classes_like(name: str, names: Sequence[str]) -> str:
    """Which class may have been meant, and the others."""
    small = {known.lower(): known for known in names}
    near = next(iter(difflib.get_close_matches(name.lower(), small, 1)), None)
    others = ", ".join(known for low, known in small.items() if low != near)
    hint = "use" if near is None else f"did you mean {small[near]}? Or use"
    return f"{hint} auto, {others}, or the import path of a class"


_TYPES = {
    "<class 'int'>": ["a whole number"],
    "<class 'float'>": ["a number"],
    "<class 'bool'>": ["true", "false"],
    "bool": ["true", "false"],
    "<class 'str'>": ["text"],
    "<class 'NoneType'>": ["null"],
}
"""What a user writes for a value of a type."""


_NUMBER_OR_WORD = (
    r"Expected a <class '(?:int|float)'> - Expected a typing\.Literal\[[^\]]*\] "
    r"Given value type: <class '\w+'> Given value: \S+"
)
"""What is told of a value that may be a number or one of some words."""


def _of_another_type(text: str) -> str | None:
    """A value and what it has to be, in words; None where the report is about something else."""
    types = r"(?P<types>Expected a .*?)"
    value = r"\.? (?:Given value type: .*? Given|Got) value: (?P<value>.*)"
    found = re.fullmatch(types + value, text)
    if found is None:
        return None
    words: list[str] = []
    for part in found["types"].split(" - "):
        name = part.removeprefix("Expected a ")
        if name.startswith("typing.Literal["):
            words += [value.strip(" '\"") for value in name[15:-1].split(",")]
        elif name.startswith("List["):
            words.append("a list")
        elif name in _TYPES:
            words += _TYPES[name]
        else:
            return None
    words = [w for w in dict.fromkeys(words) if w != "a whole number" or "a number" not in words]
    listed = " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
    return f"{found['value']:.80} must be {listed}"


def _unknown_option(text: str) -> str | None:
    """The option that the parser says it does not know, as the user would type it."""
    if unknown := re.match(r"unrecognized arguments: ([^\s=]+)", text):
        return unknown[1]
    if unknown := re.match(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'", text):
        return "--" + ".".join(part for part in unknown.groups() if part)
    return None


def _about_unknown(option: str, key: str, owner: str, prog: str, known: Iterable[str]) -> str:
    """A sentence about an unknown option.

    Args:
        option: what the user typed, or what stands below `key` in a file.
        key: the option that the unknown one lies below, if it is one of a class.
        owner: import path of that class; empty if there is none.
        prog: the command.
        known: options, one of which may have been meant.
    """
    if not owner:
        near = difflib.get_close_matches(option, list(known), 1, 0.8)
        hint = f"did you mean {near[0]}?" if near else f"see '{prog} --help all'"
        return f"{option} is not an option: {hint}"
    name = owner.rpartition(".")[2]
    chosen = next((c for c in CLASSES if f"{key}.".startswith(f"{c}.")), key)
    hint = f"see '{prog} --{chosen}.help {name}'"
    return f"--{key}.{option.removeprefix('--')} is not an option of {name}: {hint}"


def with_option(message: str, options: Mapping[str, Any]) -> str:
    """Let a message that begins with a parameter begin with the option that sets it.

    `steps 0 must be at least 1` becomes `--model.method.steps 0 must be at least 1`, where that is
    the option whose last part is `steps` and whose value is 0. Parts of a chain are counted from 0:
    `--model.degradation.parts[1].quality`. A message that names no parameter stays as it is.

    Args:
        message: what a constructor says of its arguments.
        options: all options as a tree, in which a class has a `class_path` and `init_args`.
    """
    if message.startswith("-"):
        return message
    places = [(*place, value) for option, value in _leaves(options, "") for place in _ends(option)]
    for full, end, value in places:
        for text in _written(value):
            if re.match(rf"{re.escape(f'{end} {text}')}(?![\w.]*\w)", message):
                return f"--{full}{message[len(end) :]}"
    for full, end, _ in places:  # `naming` puts a colon behind the parameter
        if message.startswith(f"{end}: "):
            return f"--{full}{message[len(end) :]}"
    return message


def with_trainer_option(message: str, options: Mapping[str, Any]) -> str:
    """Let what Lightning's trainer says begin with the option that it is about.

    Args:
        message: what the trainer says of its arguments, such as `devices` or `Trainer(devices=0)`.
        options: values of the options `--trainer` by their names; the one that is named first is
            meant, else the one whose value is.
    """
    text = " ".join(message.split())
    if text.startswith("-"):
        return text
    text = re.sub(r" Find a complete list.*", "", text)
    text = text.replace("`", "").removesuffix(".")
    given = {name: value for name, value in options.items() if value is not None}
    words = {name: name for name in given} | {"Timer": "max_time"}
    places = [(text.find(w), n) for w, n in words.items() if re.search(rf"\b{w}\b", text)]
    said = [n for n, v in given.items() if re.search(rf"\b{re.escape(str(v))}\b", text)]
    name = min(places)[1] if places else said[0] if said else ""
    if name not in given:
        return f"the --trainer options do not fit this machine: {text}"
    return f"--trainer.{name} {_written(given[name])[0]}: {text}"


def _leaves(tree: Any, option: str) -> Iterator[tuple[str, Any]]:
    """Every option with its value, those of a class below the option that chooses it."""
    if option:
        yield option, tree
    if isinstance(tree, Mapping):
        inner = tree.get("init_args") or {} if "class_path" in tree else tree
        for key, value in inner.items():
            yield from _leaves(value, f"{option}.{key}" if option else key)
    elif isinstance(tree, list | tuple):
        for i, part in enumerate(tree):
            # Which of several inputs is meant, its name says.
            yield from _leaves(part, option if isinstance(part, str) else f"{option}[{i}]")


def _ends(option: str) -> Iterator[tuple[str, str]]:
    """An option with each of its ends: `a.b.c`, `b.c` and `c`."""
    parts = option.split(".")
    for i in range(len(parts)):
        yield option, ".".join(parts[i:])


def _written(value: Any) -> list[str]:
    """How a message may write a value."""
    if isinstance(value, bool):
        return [str(value).lower(), str(value)]
    if isinstance(value, list | tuple):
        return [str(list(value)), str(tuple(value))]
    return [str(value), repr(value), *([f"{value:g}"] if isinstance(value, float) else [])]
