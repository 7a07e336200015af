"""The parsing network (`src/mien/assets/parsing.onnx`): the parts of a face, and what is in front of it.

python recipes/parsing.py            trains, resumes where it was; then exports
python recipes/parsing.py --export   exports the averaged weights of the last checkpoint

200 000 samples: an hour and a half on one core that others used too, half of that on a quiet one.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import parsing_data
import parsing_samples
import shipping
from mien import train, weights
from mien.faces.landmarks import TeacherLandmarker
from mien.faces.segment import CLASSES
from mien.nets.parsing import Config as NetConfig
from mien.nets.parsing import ParsingNet
from parsing_labels import IGNORE

ROOT = Path(__file__).parents[1]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights. class_weights and dice_weights: in the order of `CLASSES`."""

    net: NetConfig = field(default_factory=NetConfig)
    spoil: parsing_samples.Spoil = field(default_factory=parsing_samples.Spoil)
    plan: train.Plan = field(
        default_factory=lambda: train.Plan(schedule=((0, 0.0), (200, 1.0), (12300, 0.0)), lr=3e-3, save_every=100)
    )
    batch: int = 16
    class_weights: tuple[float, ...] = (0.3, 1.0, 1.5, 2.0, 1.5, 2.0, 1.0, 0.7, 0.3, 1.5)
    dice_weights: tuple[float, ...] = (0.0, 1.0, 0.3, 0.5, 0.3, 0.5, 0.3, 0.5, 0.0, 3.0)


def main(config: Config, shared: Path, folder: Path) -> None:
    """Train to the end of the plan, from the last checkpoint in `folder` if there is one."""
    torch.manual_seed(config.plan.seed)
    data = folder / "data"
    if not (data / "hands-test.npz").exists():
        teacher = TeacherLandmarker(shared / "weights" / "face_landmarker_v2_with_blendshapes.task")
        parsing_data.prepare(shared, data, teacher)

    def batches(step: int) -> Iterator[Batch]:
        samples = parsing_samples.Samples(data, "train", config.batch, config.plan.seed, step, config.spoil)
        return iter(DataLoader(samples, batch_size=None, num_workers=1, prefetch_factor=8))

    class_weights, dice_weights = torch.tensor(config.class_weights), torch.tensor(config.dice_weights)

    def losses(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        rgb, label = batch
        x = rgb.permute(0, 3, 1, 2).float() / 127.5 - 1  # channels last in memory, as they come
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(x)
        return losses_of(logits.float(), label.long(), class_weights, dice_weights)

    train.fit(ParsingNet(config.net), batches, losses, config.plan, folder, config)


def losses_of(logits: Tensor, label: Tensor, class_weights: Tensor, dice_weights: Tensor) -> dict[str, Tensor]:
    """Weighted cross-entropy a pixel, and 1 - dice (Milletari et al. 2016) of each class over the whole batch."""
    log_odds = F.log_softmax(logits, dim=1)
    entropy = F.nll_loss(log_odds, label, class_weights, ignore_index=IGNORE)
    counts = label != IGNORE
    odds, classes = log_odds.exp(), label[counts]
    right = odds.gather(1, torch.where(counts, label, 0)[:, None])[:, 0][counts]
    both = torch.zeros(len(CLASSES)).scatter_add(0, classes, right)
    either = (odds * counts[:, None]).sum((0, 2, 3)) + torch.bincount(classes, minlength=len(CLASSES))
    dice = 1 - (2 * both + 10) / (either + 10)
    mean = (dice * dice_weights).sum() / dice_weights.sum()
    return {"total": entropy + 0.5 * mean, "entropy": entropy, "dice": mean, "occluder": dice[-1]}


class Odds(nn.Module):
    """The network as it ships: softmax behind it."""

    def __init__(self, net: ParsingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crop: Tensor) -> Tensor:
        return torch.softmax(self.net(crop), dim=1)


def ship(folder: Path, config: Config, figures: dict[str, str]) -> Path:
    """Export the last checkpoint's averaged weights into the package, with their card."""
    average, step = train.latest(ParsingNet(config.net), folder)
    path = weights.ASSETS / "parsing.onnx"
    shipping.export(Odds(average), {"crop": torch.zeros(2, 3, config.net.side, config.net.side)}, ["odds"], path)
    shipping.ship(
        "parsing", path,
        licence="Apache-2.0",
        data="US-government portraits (public domain), Intel IoT DevKit clips of two signers (CC-BY-4.0); labels from "
        "meshes by MediaPipe's FaceLandmarker and its hair and selfie segmentation (Apache-2.0)",
        source="recipes/parsing.py",
        paper="Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, 2015",
        note=f"256 px crop to odds of {len(CLASSES)} classes at 128 px; step {step}",
        command="python recipes/parsing.py",
        figures=figures,
        gate={"odds": 0.05},
    )  # fmt: skip
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "parsing", help="run folder")
    parser.add_argument("--steps", type=int, help="end the schedule there")
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint")
    parser.add_argument("--figures", nargs="*", default=[], help="name=value: what benchmarks/parsing.py measured")
    options = parser.parse_args()
    settings = Config()
    if options.steps:
        schedule = (*settings.plan.schedule[:-1], (options.steps, 0.0))
        settings = dataclasses.replace(settings, plan=dataclasses.replace(settings.plan, schedule=schedule))
    if not options.export:
        main(settings, options.shared, options.run)
    print(ship(options.run, settings, dict(figure.split("=", 1) for figure in options.figures)))
