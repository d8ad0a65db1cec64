"""Two processes of a plain trainer restore every photo once."""

import json
from pathlib import Path

from forks import Programs
from photos import save_all

SCRIPT = """
import json, sys
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader
from d2ir_pl.prediction import RestorationDataModule, RestorationModule
from d2ir_pl.restoration import D2IR, DegradationEstimation

out, many, one = sys.argv[1:]
quick = D2IR(DegradationEstimation(steps=1), stages="estimation")
module = RestorationModule(method=quick)
photos = torch.rand(5, 3, 24, 32, generator=torch.Generator().manual_seed(0))
runs = [
    RestorationDataModule(many),
    RestorationDataModule(one),
    DataLoader(photos, batch_size=2),
]
for number, data in enumerate(runs):
    trainer = Trainer(accelerator="cpu", devices=2, enable_progress_bar=False, logger=False)
    batches = trainer.predict(module, data) or []
    names = [image.name for batch in batches for image in batch]
    with open(f"{out}/{number}-{trainer.global_rank}.json", "w") as file:
        json.dump(names, file)
    trainer.strategy.barrier()
"""


def test_no_photo_is_lost_or_doubled(tmp_path: Path, programs: Programs) -> None:
    many = save_all(tmp_path / "many", ["a.png", "b.png", "c.png"])
    one = save_all(tmp_path / "one", ["a.png"])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = programs.run([script, tmp_path, many, one], spare=1)
    assert run.returncode == 0, run.stderr[-3000:]
    for number, expected in enumerate(
        [[["a", "c"], ["b"]], [["a"], []], [["0", "2", "4"], ["1", "3"]]]
    ):
        shares = [json.loads((tmp_path / f"{number}-{rank}.json").read_text()) for rank in (0, 1)]
        assert shares == expected
