import platform
from pathlib import Path

import pytest
from forks import Programs

CHURN = """
import resource, sys, torch
from d2ir_pl.priors.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
x = torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    x = x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_tensors_are_used_again_without_page_faults(
    tmp_path: Path, programs: Programs
) -> None:
    script = tmp_path / "churn.py"
    script.write_text(CHURN)
    faults = [int(programs.run([script, mode]).stdout) for mode in ("default", "keep")]
    assert faults[1] < faults[0] / 3
