"""Published methods that run under the same command as D2IR, to compare it with."""

from d2ir_pl.restoration.baselines.bird import BIRD
from d2ir_pl.restoration.baselines.daps import DAPS
from d2ir_pl.restoration.baselines.ddnm import DDNM
from d2ir_pl.restoration.baselines.ddrm import DDRM
from d2ir_pl.restoration.baselines.diffpir import DiffPIR
from d2ir_pl.restoration.baselines.dps import DPS
from d2ir_pl.restoration.baselines.em import FastDiffusionEM
from d2ir_pl.restoration.baselines.gdp import GDP
from d2ir_pl.restoration.baselines.gibbs_ddrm import GibbsDDRM
from d2ir_pl.restoration.baselines.pigdm import PiGDM
from d2ir_pl.restoration.baselines.red_diff import REDDiff

__all__ = [
    "BIRD",
    "DAPS",
    "DDNM",
    "DDRM",
    "DPS",
    "GDP",
    "DiffPIR",
    "FastDiffusionEM",
    "GibbsDDRM",
    "PiGDM",
    "REDDiff",
]
