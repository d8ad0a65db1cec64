"""`fit`: train a prior on a folder of photographs."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.cli import LightningArgumentParser
from rich.console import Console

from d2ir_pl.commands.parser import COMMON_TRAINER_OPTIONS, CommandCLI
from d2ir_pl.commands.processes import together
from d2ir_pl.compat import option_names
from d2ir_pl.console import quiet
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.training.data import PriorDataModule
from d2ir_pl.training.module import PriorTrainingModule
from d2ir_pl.training.run import TrainingSettings, run
from d2ir_pl.training.trainer import training_trainer


class TrainingCLI(CommandCLI):
    """`fit`: options of the training, its data and Lightning's trainer, and a few of its own."""

    command = "fit"
    about = "Train a diffusion prior on a folder of photographs."
    module_class = PriorTrainingModule
    data_class = PriorDataModule
    trainer_options = COMMON_TRAINER_OPTIONS | {
        "max_steps",
        "max_epochs",
        "max_time",
        "limit_train_batches",
        "limit_val_batches",
        "enable_checkpointing",
        "val_check_interval",
        "log_every_n_steps",
        "enable_progress_bar",
        "accumulate_grad_batches",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "detect_anomaly",
        "sync_batchnorm",
    }
    path_options = frozenset({"output", "ckpt_path", "data.val_inputs", "model.init_from"})
    network = "the network"
    make_trainer = staticmethod(training_trainer)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--output", type=str, default="results/prior", help="folder for logs and checkpoints"
        )
        parser.add_argument("--seed", type=int, default=0, help="seed of weights and every draw")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="checkpoint to go on from; 'last' is the one in --output",
        )
        parser.add_argument(
            "--checkpoint_minutes",
            type=float,
            default=10.0,
            help="write a checkpoint every so many minutes, beside the one at the end",
        )
        known = option_names(parser)  # a module of the user's own may lack some
        if "--model.seed" in known:
            parser.link_arguments("seed", "model.seed")
        if not self.own_data:
            parser.link_arguments("seed", "data.seed")
        parser.set_defaults(
            {
                "trainer.max_steps": 10_000,
                "trainer.val_check_interval": 500,
                "trainer.gradient_clip_val": 1.0,
            }
        )

    def training_settings(self) -> TrainingSettings:
        """What the training is told beside the module, the data and the trainer."""
        config = self.config
        return TrainingSettings(
            output=Path(config.output),
            text=self.parser.dump(config, skip_validation=True),
            precision=config.trainer.precision,
            ckpt_path=config.ckpt_path,
            checkpoint_minutes=config.checkpoint_minutes,
            checkpoints=config.trainer.enable_checkpointing is not False,
            tensorboard=self.writes_tensorboard,
        )


def parse_training_options(arguments: list[str]) -> TrainingCLI:
    """Make the module, the data and the trainer that the options of `fit` describe.

    Raises:
        UserError: with one sentence that begins with the option, if one is wrong.
    """
    return TrainingCLI.parse(arguments)


def fit(arguments: list[str]) -> int:
    """Train a prior; checkpoints and curves go to --output."""
    keep_freed_memory()
    with quiet():
        cli = parse_training_options(arguments)
        settings, console = cli.training_settings(), Console(stderr=True)
        with together(cli.trainer, "the last checkpoint is kept, and --ckpt_path last goes on"):
            return run(cli.model, cli.datamodule, cli.trainer, settings, console)
