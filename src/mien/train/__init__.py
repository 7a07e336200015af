"""The training engine: phases that take turns in a step, averaged weights, a log, and checkpoints that resume exactly.

`run` trains what a system declares (`phases.Training`); `fit` is the small loop of the recipes: one network, one optimiser.
A run is its folder: `config.json`, `log.jsonl` and the last `state-NNNNNN.safetensors`. Batch k comes from (seed, k) alone
and every turn seeds torch's generator with (seed, step, turn), so that a run killed at any step and resumed gives the
weights, bit for bit, of one that wasn't.
"""

from mien.train.engine import run
from mien.train.estimate import Estimate, estimate
from mien.train.fit import Plan, fit
from mien.train.folder import latest
from mien.train.settings import Settings, Watch

__all__ = ["Estimate", "Plan", "Settings", "Watch", "estimate", "fit", "latest", "run"]
