"""Reading an output folder needs no network, and so no PyTorch."""

import subprocess
import sys
from pathlib import Path

import d2ir_pl
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record

READ = """
import sys, types
package = types.ModuleType("d2ir_pl")  # whatever the package itself imports
package.__path__ = [sys.argv[1]]
sys.modules["d2ir_pl"] = package
from pathlib import Path
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import METRICS, means
from d2ir_pl.results.settings import read_settings
from d2ir_pl.results.warnings import warnings
folder = ResultFolder(Path(sys.argv[2]))
records = folder.records(folder.names())
print(records[0].psnr, means(records, METRICS), warnings(records[0]), read_settings(folder.root))
slow = {"torch", "numpy", "PIL", "pytorch_lightning"} & sys.modules.keys()
assert not slow, slow
"""


def test_reading_a_folder_imports_nothing_slow(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path)
    record = Record("a", "restored", "settings", "input", psnr=30.0, phi={"width_px": 6.0})
    folder.write_record(record)
    folder.write_settings("model:\n  seed: 0\n")
    package = str(Path(d2ir_pl.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", READ, package, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("30.0 {'psnr': 30.0}")
    assert "the width is at its bound of 6 pixels" in done.stdout
