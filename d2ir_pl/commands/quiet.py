"""Less talk from Lightning."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

# Where Lightning says that a process it started has died, before it kills all others.
_LAUNCHER = "lightning_fabric.strategies.launchers.subprocess_script"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to one's own lines: Lightning's tips and hints are for people who write modules."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    launcher = logging.getLogger(_LAUNCHER)
    launcher.setLevel(logging.INFO)
    launcher.addFilter(_in_own_words)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*lightning_utilities.*")
        yield


def _in_own_words(record: logging.LogRecord) -> bool:
    text, dies, _ = record.getMessage().partition(" Forcefully")
    if dies:
        record.msg, record.args = (
            f"d2ir: {text} The run stops; finished images are kept, and the same command does the "
            "rest",
            (),
        )
    return True
