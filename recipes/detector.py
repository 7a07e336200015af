"""Trains the face detector on mosaics.

python recipes/detector.py prepare            # pictures.npz, from shared/data
python recipes/detector.py mosaics            # 24 shards of 500 mosaics
python recipes/detector.py train
python recipes/detector.py export
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

import detector_data
import detector_mining
import detector_mosaics
import shipping
from detector_samples import Samples, Shards, boxes_of
from mien import train, weights
from mien.faces.detect import iou
from mien.faces.onestage import OneStage
from mien.nets.detector import STRIDES, Config, Detector, Final

SHARED = Path(__file__).parents[1].parent / "shared"
RUN = Path(__file__).parents[1] / "runs" / "detector"
SHARD = 500
GATE = {"score": 0.05, "box": 0.1, "points": 0.1}
"""What a lower precision may change; boxes and points in strides."""
HELD_OUT = 400
LEAST = 20
"""Mosaics on which the threshold is chosen, and the smallest faces that count there, px."""
SEED = 5
PLAN = train.Plan(
    schedule=((0, 0.0), (200, 1.0), (4500, 0.6), (9800, 0.0)), lr=2.5e-3, weight_decay=0.02, ema=0.997, seed=SEED,
    log_every=25, save_every=100,
)  # fmt: skip


def losses(net: Detector, batch: list[Tensor]) -> Mapping[str, Tensor]:
    """Focal loss of the scores; of the cells that find a face, distance-IoU loss of boxes (Zheng et al. 2020) and how
    far points are off, in parts of the face."""
    bgr, what, boxes, points = batch
    x = bgr.float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    score, shift, places = (torch.cat([t.float() for t in out[i::3]], dim=1) for i in range(3))
    corner, stride = cells(x.shape[2], x.shape[3])
    target = (what > 0).float()
    many = target.sum().clamp(min=1)
    logit = score[..., 0]
    odds = logit.sigmoid()
    focal = F.binary_cross_entropy_with_logits(logit, target, reduction="none") * (odds - target).abs().square()
    focal = (focal * (what >= 0)).sum() / many
    here = what > 0
    where = corner.expand(len(x), -1, -1)[here], stride.expand(len(x), -1)[here][:, None]
    found = box_of(shift[here], *where)
    wanted = boxes[here]
    size = (wanted[:, 2:] - wanted[:, :2]).amax(dim=1, keepdim=True)
    spots = (places[here].view(-1, 5, 2) + where[0][:, None]) * where[1][:, None]
    off = (spots - points[here].view(-1, 5, 2)) / size[:, None]
    point = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.03, reduction="sum") / (10 * many)
    box = distance_iou(found, wanted).sum() / many
    with torch.no_grad():
        hit = ((odds > 0.5) & here).sum() / many
        false = ((odds > 0.5) & (what == 0)).sum() / many
    return {
        "total": 4 * focal + box + 5 * point,
        "score": focal,
        "box": box,
        "point": point,
        "hit": hit,
        "false": false,
    }


def cells(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Corners (N x 2) of all cells, in their strides, and the strides (N)."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        corners.append(torch.stack([x, y], dim=-1).reshape(-1, 2).float())
        strides.append(torch.full((len(corners[-1]),), float(stride)))
    return torch.cat(corners), torch.cat(strides)


def box_of(shift: Tensor, corner: Tensor, stride: Tensor) -> Tensor:
    """Boxes (N x 4, pixels) that cells give."""
    middle = (corner + shift[:, :2]) * stride
    half = shift[:, 2:].clamp(max=6).exp() * stride / 2
    return torch.cat([middle - half, middle + half], dim=1)


def distance_iou(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU + squared distance of the middles over that of the corners of what holds both (N)."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    area_a, area_b = ((t[:, 2:] - t[:, :2]).prod(dim=1) for t in (a, b))
    iou = shared / (area_a + area_b - shared).clamp(min=1e-6)
    span = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return 1 - iou + apart.square().sum(dim=1) / span.square().sum(dim=1).clamp(min=1e-6)


def fit(run: Path, shards: Shards, plan: train.Plan) -> Detector:
    """Train, or go on training, in the folder `run`."""

    def batches(step: int) -> Iterator[list[Tensor]]:
        return iter(DataLoader(Samples(shards, plan.seed, step), batch_size=None, num_workers=1, prefetch_factor=4))

    torch.manual_seed(plan.seed)
    net = Detector(Config())
    return train.fit(net, batches, losses, plan, run, describe={"net": net.config, "shards": shards})


def mosaics(run: Path, first: int, last: int, hard: bool) -> None:
    """Write shards `first` to `last` of mosaics that aren't there yet; with the last false alarms that were mined."""
    cv2.setNumThreads(1)
    pool = [crop for path in sorted(run.glob("pool-*.npy"))[-2:] for crop in np.load(path, allow_pickle=False)]
    with np.load(run / "data/hands.npz", allow_pickle=False) as cut:
        hands = [cut[name] for name in sorted(cut)] if hard else []
    maker = detector_mosaics.Maker(detector_data.load(run / "data/train"), detector_data.scenes(), pool, hands)
    for i in range(first, last):
        path = run / f"mosaics-{i:03d}.npz"
        if not path.exists():
            detector_mosaics.write(path, maker, i * SHARD, SHARD, SEED)
            print(path.name, flush=True)


def choose(run: Path, file: Path) -> tuple[float, dict[str, float]]:
    """The threshold of most F1 over what no training saw (whole photos, and mosaics of them), and what it gives."""
    ours = OneStage(file, 0.05, min_face=LEAST, threads=1, engine_name="onnxruntime")
    pictures = detector_data.load(run / "data/held-out")
    maker = detector_mosaics.Maker(pictures, detector_data.scenes(), [], [])
    looked = [(np.ascontiguousarray(p.rgba[..., :3]), p.faces, p.sure) for p in pictures]
    looked += [maker.make(np.random.default_rng((SEED + 1, i))) for i in range(HELD_OUT)]
    right, false, total = [], [], 0
    for rgb, outlines, sure in looked:
        boxes = boxes_of(outlines)
        sure = sure & ((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= LEAST)
        found = ours.detect(rgb)
        shared = iou(boxes, np.array([d.box for d in found]).reshape(-1, 4))
        score = np.array([d.score for d in found])
        total += int(sure.sum())
        right += [float(score[row > 0.4].max()) for row in shared[sure] if (row > 0.4).any()]
        false += score[shared.max(axis=0, initial=0) < 0.3].tolist()
    table = {}
    for threshold in np.arange(0.2, 0.9, 0.02):
        hits, wrong = sum(r >= threshold for r in right), sum(f >= threshold for f in false)
        table[round(float(threshold), 2)] = 2 * hits / (hits + wrong + total), hits / total, wrong / len(looked)
    best = max(table, key=lambda t: table[t][0])
    for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, best):
        f1, recall, alarms = table[threshold]
        print(
            f"threshold {threshold}: F1 {f1:.4f}, recall {recall:.4f} of {total}, {alarms:.4f} false alarms a picture"
        )
    return best, dict(zip(("f1", "recall", "false_a_picture"), (round(float(v), 4) for v in table[best]), strict=True))


def follow(run: Path) -> None:
    """Measure the last checkpoint on what is held out and note it beside the log."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        step = to_onnx(run / "a", file)
        threshold, figures = choose(run, file)
    with (run / "a/held_out.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, "threshold": threshold} | figures) + "\n")


def export(run: Path) -> None:
    """Write the network and its card into the package's assets, and say which threshold suits it."""
    file = weights.ASSETS / "detector.onnx"
    step = to_onnx(run / "a", file)
    threshold, figures = choose(run, file)
    log = [json.loads(line) for line in (run / "a/log.jsonl").read_text().splitlines()]
    hours = sum(entry["seconds_a_step"] for entry in log) * PLAN.log_every / 3600
    shipping.ship(
        "detector",
        file,
        licence="Apache-2.0",
        data="whole photos of the US congress and NASA (public domain), US government portraits (public domain), "
        "Intel IoT DevKit sign-language clips (CC-BY-4.0) but those of one signer; scikit-image's pictures without faces; "
        "labels by YuNet (Apache-2.0) and MTCNN (MIT) where they agree, points from MediaPipe's FaceLandmarker (Apache-2.0)",
        source="recipes/detector.py",
        paper="Wu, Peng and Yu, YuNet: a tiny millisecond-level face detector, 2023",
        command="the commands at the head of recipes/detector.py, in their order",
        gate={f"{kind}_{stride}": change for kind, change in GATE.items() for stride in STRIDES},
        figures={"threshold": threshold, **figures, "steps": step, "hours_on_one_core": round(hours, 2)},
    )
    print(f"{file.name}: {file.stat().st_size} bytes of step {step}; threshold {threshold} of onestage.THRESHOLDS")


def to_onnx(folder: Path, file: Path) -> int:
    """Write the averaged network of the last checkpoint as ONNX; returns its step."""
    net, step = train.latest(Detector(), folder)
    names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("score", "box", "points")]
    axes = {"bgr": {2: "height", 3: "width"}}
    shipping.export(Final(net), {"bgr": torch.rand(2, 3, 96, 128) * 255}, names, file, axes)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["prepare", "mosaics", "mine", "train", "follow", "export"])
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--run", type=Path, default=RUN)
    parser.add_argument("--hard", action="store_true", help="mosaics with more hands, balls and false alarms")
    parser.add_argument("--shards", type=int, nargs=2, default=(0, 24))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "prepare":
        detector_data.prepare(args.shared, args.run / "data", SEED)
        detector_data.hands(args.shared, args.run / "data", SEED)
    elif args.what == "mosaics":
        mosaics(args.run, *args.shards, args.hard)
    elif args.what == "mine":
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "net.onnx"
            step = to_onnx(args.run / "a", file)
            detector_mining.mine(args.shared, args.run / "data", file, args.run / f"pool-{step:06d}.npy")
    elif args.what == "follow":
        follow(args.run)
    elif args.what == "export":
        export(args.run)
    else:
        fit(args.run / "a", Shards(str(args.run)), PLAN)


if __name__ == "__main__":
    main()
