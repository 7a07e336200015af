"""A training from face sets to a model that `mien swap` takes: what decides it, its folder, starting and going on.

run.json                        what decides it, written at the start
state-NNNNNN.safetensors, log.jsonl, config.json     what the engine keeps, see `train`
previews/000500.jpg             see `preview`
model.safetensors, model.json, people/               the model, anew each time the run is saved, see `model`
"""

from mien.runs.loaded import Loaded, load
from mien.runs.run import STEPS, Run

__all__ = ["STEPS", "Loaded", "Run", "load"]
