"""The encoder that a model of new people may start from: `mien train df --warm-start df_encoder`.

    python recipes/encoder.py [--figures name=value ...]

Trains, going on where it was, and writes the package's file and its card; a run that has ended only writes them.

DF with its usual 128 pixels, as an autoencoder of the public-domain portraits: one decoder draws them all, so that the code must
say who it is. Only the encoder is shipped; neck and decoders are the new people's own. Shared data needed: portraits.
"""

from __future__ import annotations

import argparse
import tarfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import shipping
from mien import data, train, weights
from mien.faceset import extract
from mien.faceset.store import FaceSet
from mien.runs import model
from mien.systems import df
from mien.types import CropSpec
from signers import Printer

ROOT = Path(__file__).parents[1]
NAME = "df_encoder"
CONFIG = df.Config(pretrain=True, lr=2e-4)
AUGMENT = {"flip": 0.5}
STEPS, BATCH = 1200, 16


def faces(shared: Path, run: Path) -> FaceSet:
    """The portraits as a face set."""
    place = run / "portraits"
    if not place.exists():
        photos = run / "photos"
        with tarfile.open(shared / "data" / "portraits" / "faces128_pd.tar") as tar:
            pictures = [member for member in tar.getmembers() if member.name.endswith(".jpg")]
            tar.extractall(photos, pictures, filter="data")
        extract.extract(photos, place, extract.Settings(size=CONFIG.size))
    return FaceSet.open(place)


def main(shared: Path, run: Path) -> nn.ModuleDict:
    """Train to the end; returns the averaged networks."""
    spec = CropSpec(CONFIG.template, CONFIG.size)
    gallery = data.gallery([faces(shared, run)], "portraits", spec)
    torch.manual_seed(1)
    net, training = df.network(CONFIG, 1), df.training(CONFIG, 1)
    batches = data.batches([gallery], replace(df.AUGMENT, **AUGMENT), training, STEPS, BATCH, 1)
    settings = train.Settings(STEPS, BATCH, ema=0.99, clip=1.0, warmup=50, log_every=25, save_every=200)
    return train.run(
        net, training, batches, settings, run / "training", Printer(), {"config": CONFIG, "augment": AUGMENT}
    )


def ship(net: nn.ModuleDict, figures: dict[str, str]) -> Path:
    """The encoder as the package's file, in bf16, and its card."""
    file = weights.ASSETS / f"{NAME}.safetensors"
    part = file.with_name(file.name + ".part")
    halved = {name: value for name, value in model.halved(net["model"]).items() if name.startswith("encoder.")}
    save_file({name: value.contiguous() for name, value in halved.items()}, part)
    part.chmod(0o644)  # safetensors writes files for their owner alone
    part.replace(file)
    return shipping.ship(
        NAME, file, licence="Apache-2.0", data="US-government portraits (public domain)", source="recipes/encoder.py",
        paper="Perov et al., DeepFaceLab, 2020", command="python recipes/encoder.py", figures=figures,
        note=f"encoder of DF at 128 px (options ud, width 64) for --warm-start; {STEPS} steps of {BATCH} faces",
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/")
    parser.add_argument("--run", type=Path, default=ROOT / "out" / "encoder", help="run folder")
    parser.add_argument("--figures", nargs="*", default=[], help="name=value: what was measured, for the card")
    options = parser.parse_args()
    print(ship(main(options.shared, options.run), dict(figure.split("=", 1) for figure in options.figures)))
