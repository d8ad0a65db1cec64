"""A run as one row of TensorBoard's HPARAMS tab: its settings and the means of its scores."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.compat import add_hparams
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.guards import require_no_link
from d2ir_pl.results.record import METRICS, Record, means
from d2ir_pl.results.settings import read_settings

_SUFFIX = ".means"
"""The end of the names of the session's event files."""


def write_session(folder: ResultFolder, records: Iterable[Record]) -> None:
    """Write the run's session to `tensorboard/means`, in place of an old one.

    Metrics are `mean/psnr` and so on. The columns of the tab are not written: TensorBoard would
    take the columns of one run for those of all, while without them it collects them from all runs.
    It takes every curve in a folder below the session's for a metric, so that the session has a
    folder of its own.

    Args:
        folder: the results, with the settings in `config.yaml`.
        records: what is known about the images of the run; failed ones are left out.

    Raises:
        OutputError: if the files cannot be written.
    """
    root = folder.root / "tensorboard" / "means"
    require_no_link(folder.root, root)
    with folder.writing():
        for old in root.glob(f"events.out.tfevents.*{_SUFFIX}"):
            old.unlink()
        scores = means((r for r in records if r.status == "restored"), METRICS)
        if not scores:
            return
        with SummaryWriter(root, filename_suffix=_SUFFIX) as writer:
            add_hparams(writer, read_settings(folder.root))
            for name, value in scores.items():
                writer.add_scalar(f"mean/{name}", value)
