"""What the detector learns from: pictures with a soft cut-out of the person in them and their faces' outlines.

`prepare` keeps a face of a whole photo where MTCNN and YuNet agree on it, takes its outline and five points from the
FaceLandmarker mesh, and marks what only one of them sees as doubtful. Faces are kept again with their heads turned
(`mesh_data.turn`) and with hands and things in front of them (`occluders`). Pictures of ci-set, and
copies of them, are left out.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data

import cutouts
import mesh_data
import occluders
from mien import geometry, weights
from mien.faces import topology
from mien.faces.detect import iou
from mien.faces.landmarks import TeacherLandmarker, roi_from_detection, roi_from_points
from mien.faces.mtcnn import Mtcnn
from mien.faces.onestage import OneStage
from mien.types import Array
from parsing_labels import Teachers

Rng = np.random.Generator
MOST = 448  # longest side of a kept picture, px
KEPT = 192  # side of a turned or covered face
FRAMES_A_CLIP = 10
DRAWN_HANDS = 400
HAND_FACE = 75  # height of the face that a cut-out hand belongs to, px
HELD_OUT_CLIPS = ("bird", "milk", "please", "sorry")  # one signer is for the test
HELD_OUT_EVERY = 12  # every n-th whole photo is for choosing the threshold
POINTS = 41
"""Of each face: its outline (36 points) and the five that are found, in pixels."""
SCENES = (
    "brick", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field",
    "immunohistochemistry", "logo", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """RGBA (how likely a person is there is its alpha), faces (N x 41 x 2), sure (N): others are doubtful; kind: where from."""

    rgba: Array
    faces: Array
    sure: Array
    kind: str


def points_of(mesh: Array) -> Array:
    """Outline and five points (41 x 2) of a mesh (478 x 3): eyes, nose tip, mouth corners, the picture's left first."""
    eyes = [mesh[[33, 133], :2].mean(axis=0), mesh[[362, 263], :2].mean(axis=0)]
    return np.concatenate([mesh[list(topology.OVAL), :2], eyes, mesh[[4, 61, 291], :2]]).astype(np.float32)


def prepare(shared: Path, folder: Path, seed: int) -> None:
    """Write pictures.npz and pixels.npy (what mosaics are made of), and held-out.npz (whole photos for the threshold)."""
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    marker = Marker(shared)
    held, kept = [], []
    for i, (rgb, kind) in enumerate(_whole(shared)):
        picture = marker.mark(rgb, kind)
        (held if kind == "photo" and i % HELD_OUT_EVERY == 0 else kept).append(picture)
    kept += [p for p in (marker.portrait(rgb, mesh) for rgb, mesh in _portraits(shared)) if p]
    rng = np.random.default_rng(seed)
    modes = mesh_data.expressions(shared)
    kept += [v for rgb, mesh in marker.crops for v in _variants(rgb, mesh, modes, rng)]
    _store(folder / "train", kept)
    _store(folder / "held-out", held)
    faces = sum(int(p.sure.sum()) for p in kept)
    print(
        f"{len(kept)} pictures, {faces} faces, {sum(len(p.sure) for p in kept) - faces} doubtful; {len(held)} held out"
    )


def hands(shared: Path, folder: Path, seed: int) -> None:
    """Write hands.npz: hands cut out of the clips that aren't held out, and drawn ones, RGBA."""
    detector = cv2.FaceDetectorYN.create(str(shared / "weights/yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    teacher = TeacherLandmarker(weights.find("face_landmarker", mirror=shared / "weights"), 1)
    found: list[Array] = []
    for path in sorted((shared / "data/asl").glob("*.mkv")):
        if path.stem not in HELD_OUT_CLIPS:
            frames = cutouts.clip(path)[::2]
            found += cutouts.hands(frames, cutouts.meshes(frames, teacher, detector), HAND_FACE)
    rng = np.random.default_rng(seed)
    found += [_drawn_hand(rng) for _ in range(DRAWN_HANDS)]
    np.savez(folder / "hands.npz", **{f"{i:05d}": hand for i, hand in enumerate(found)})


def _drawn_hand(rng: Rng) -> Array:
    """A hand in some skin's colour, cut to where it is."""
    tone = np.array([225, 165, 135]) * rng.uniform(0.25, 1.1) + rng.normal(0, 10, 3)
    skin = np.broadcast_to(np.clip(tone, 5, 250).astype(np.uint8), (KEPT, KEPT, 3)).copy()
    points = np.concatenate([topology.CANONICAL * [1, -1, -1], np.zeros((10, 3))]) * 6 + [KEPT / 2, KEPT / 2, 0]
    layer = _drawn_fist(rng, skin[0, 0]) if rng.random() < 0.5 else occluders.drawn_hand(rng, skin, points)
    rows, columns = (np.flatnonzero((layer[..., 3] > 20).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return _drawn_hand(rng)
    return layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _drawn_fist(rng: Rng, skin: Array) -> Array:
    """Four bent fingers side by side, a thumb across them, a wrist behind; often a watch or a sleeve."""
    layer = np.zeros((KEPT, KEPT, 4), np.float32)
    middle, light, thick = np.array([KEPT, KEPT]) / 2, rng.uniform(0, 2 * np.pi), rng.uniform(11, 16)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    occluders._capsule(layer, middle, middle - along * 90, thick * rng.uniform(1.6, 2.3), skin, light)
    if rng.random() < 0.6:
        band = middle - along * rng.uniform(45, 60)
        colour = rng.uniform(0, 255, 3)
        occluders._capsule(
            layer, band - across * thick, band + across * thick, thick * rng.uniform(0.6, 1.5), colour, light
        )
    occluders._capsule(layer, middle - across * thick, middle + across * thick, thick * 2.2, skin, light)
    for i in range(4):
        root = middle + across * (i - 1.5) * thick * 1.5 + rng.normal(0, 2, 2)
        tone = skin * rng.uniform(0.85, 1.08)
        occluders._capsule(layer, root, root + along * thick * rng.uniform(0.8, 2.6), thick * 0.85, tone, light)
    if rng.random() < 0.8:
        root = middle + across * thick * rng.choice([-2.2, 2.2])
        tip = middle + along * thick * rng.uniform(0, 2) + rng.normal(0, 5, 2)
        occluders._capsule(layer, root, tip, thick * 0.9, skin * rng.uniform(0.9, 1.1), light)
    return np.clip(layer, 0, 255).astype(np.uint8)


def load(path: Path) -> list[Picture]:
    """The pictures that `prepare` kept under `path`; pixels stay on the disk until they are looked at."""
    pixels = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    table = np.load(path.with_suffix(".npz"), allow_pickle=False)
    size, first, count, kind, faces, sure = (table[k] for k in ("size", "first", "count", "kind", "faces", "sure"))
    out = []
    ends = np.cumsum(count)
    for i in range(len(size)):
        h, w = size[i]
        rgba = pixels[first[i] : first[i] + h * w * 4].reshape(h, w, 4)
        rows = slice(ends[i] - count[i], ends[i])
        out.append(Picture(rgba, faces[rows], sure[rows], str(kind[i])))
    return out


def scenes() -> list[Array]:
    """Pictures of scikit-image without a face, as RGB."""
    out = []
    for name in SCENES:
        picture = getattr(skimage.data, name, lambda: None)()
        if picture is None:
            continue
        picture = picture if picture.dtype == np.uint8 else (picture > 0).astype(np.uint8) * 255
        rgb = np.dstack([picture] * 3) if picture.ndim == 2 else picture[..., :3]
        scale = min(1.0, 640 / max(rgb.shape[:2]))
        out.append(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return out


class Marker:
    """Finds and marks the faces of pictures; `crops` collects each face with its mesh."""

    def __init__(self, shared: Path) -> None:
        folder = shared / "weights"
        network = weights.find("yunet_dynamic", mirror=folder)
        self.yunet = OneStage(network, 0.5, min_face=12, threads=1, engine_name="onnxruntime")
        self.sure_yunet = OneStage(network, 0.8, min_face=12, threads=1, engine_name="onnxruntime")
        self.mtcnn = Mtcnn(24)
        self.teacher = TeacherLandmarker(weights.find("face_landmarker", mirror=folder), 1)
        self.segment = Teachers(folder)
        self.crops: list[tuple[Array, Array]] = []

    def mark(self, rgb: Array, kind: str) -> Picture:
        """A whole picture: faces on which both detectors and the mesh agree are sure."""
        found, others = self.yunet.detect(rgb), self.mtcnn.detect(rgb)
        theirs = np.array([d.box for d in others]).reshape(-1, 4)
        agreed = np.zeros(len(theirs), bool)
        faces, sure = [], []
        for detection in found:
            shared = iou(np.array([detection.box]), theirs)[0] > 0.35
            agreed |= shared
            first, _ = self.teacher.landmarks(rgb, [roi_from_detection(detection)])
            mesh, presence = self.teacher.landmarks(rgb, [roi_from_points(first[0])])
            sure.append(bool(shared.any() and presence[0] > 0.6 and detection.score > 0.65))
            faces.append(points_of(mesh[0]) if sure[-1] else _outline(np.array(detection.box)))
            if sure[-1]:
                self._keep(rgb, mesh[0])
        faces += [_outline(box) for box in theirs[~agreed]]
        sure += [False] * int((~agreed).sum())
        return self._picture(rgb, np.array(faces, np.float32).reshape(-1, POINTS, 2), np.array(sure, bool), kind)

    def portrait(self, rgb: Array, mesh: Array) -> Picture | None:
        """A cut face whose mesh is known, if YuNet sees it as well."""
        if len(self.sure_yunet.detect(rgb)) != 1:
            return None
        self._keep(rgb, mesh)
        return self._picture(rgb, points_of(mesh)[None], np.ones(1, bool), "portrait")

    def _keep(self, rgb: Array, mesh: Array) -> None:
        matrix = roi_from_points(mesh, mesh_data.KEPT_MARGIN).to_crop(mesh_data.KEPT)
        side = (mesh_data.KEPT, mesh_data.KEPT)
        crop = cv2.warpAffine(rgb, matrix, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.crops.append((crop, geometry.apply(matrix, mesh).astype(np.float32)))

    def _picture(self, rgb: Array, faces: Array, sure: Array, kind: str) -> Picture:
        _, person = self.segment(rgb)
        rgba = np.dstack([rgb, np.clip(person * 1.4 - 0.2, 0, 1) * 255]).astype(np.uint8)
        scale = min(1.0, MOST / max(rgb.shape[:2]))
        if scale < 1:
            rgba = cv2.resize(rgba, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return Picture(rgba, faces * np.float32(scale), sure, kind)


def _variants(crop: Array, mesh: Array, modes: dict[str, Array], rng: Rng) -> Iterator[Picture]:
    """The face turned, and, turned or not, with something in front of it."""
    turned = mesh_data.turn(crop, mesh, modes, rng)
    yield _cut(*turned, "turned")
    rgb, points = turned if rng.random() < 0.4 else (crop, mesh)
    kind = rng.choice(4, p=(0.5, 0.2, 0.15, 0.15))
    if kind == 0:
        layer = occluders.drawn_hand(rng, rgb, points)
    elif kind == 1:
        layer = occluders.thing(rng, rgb, points, crop)
    elif kind == 2:
        layer = occluders.cloth_mask(rng, rgb, points, crop)
    else:
        layer = occluders.strands(rng, rgb, points)
    alpha = layer[..., 3:].astype(np.float32) / 255
    hidden = alpha[..., 0][tuple(np.clip(points[:468, 1::-1], 0, 255).astype(int).T)].mean()
    if hidden < 0.5:
        yield _cut((rgb * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8), points, "covered")


def _cut(rgb: Array, mesh: Array, kind: str) -> Picture:
    """A face with a soft round edge: its surroundings were stretched."""
    scale = KEPT / rgb.shape[0]
    points = points_of(mesh) * np.float32(scale)
    y, x = np.mgrid[:KEPT, :KEPT].astype(np.float32)
    far = np.hypot(x - KEPT / 2, (y - KEPT / 2) * 0.9) / (KEPT / 2)
    alpha = np.clip((0.96 - far) * 12, 0, 1) * 255
    rgba = np.dstack([cv2.resize(rgb, (KEPT, KEPT), interpolation=cv2.INTER_AREA), alpha]).astype(np.uint8)
    return Picture(rgba, points[None], np.ones(1, bool), kind)


def _outline(box: Array) -> Array:
    """A box as the outline that its face would have; its five points mean nothing."""
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ring = (box[:2] + box[2:]) / 2 + np.stack([np.cos(turn), np.sin(turn)], axis=1) * (box[2:] - box[:2]) / 2
    return np.concatenate([ring, np.repeat(ring.mean(axis=0)[None], 5, axis=0)]).astype(np.float32)


def _whole(shared: Path) -> Iterator[tuple[Array, str]]:
    """Whole photos but those of ci-set's people's pages, then frames of the clips that aren't held out."""
    known = {_print_of(mesh_data.image_at(p)) for p in sorted((shared / "data/ci-set").glob("*.jpg"))}
    for path in sorted((shared / "data/photos").glob("*/*.jpg")):
        rgb = mesh_data.image_at(path)
        if _print_of(rgb) not in known:
            yield rgb, "photo"
    for path in sorted((shared / "data/asl").glob("*.mkv")):
        if path.stem not in HELD_OUT_CLIPS:
            yield from ((rgb, "clip") for rgb in mesh_data.frames(path, FRAMES_A_CLIP))


def _print_of(rgb: Array) -> bytes:
    """The same for two copies of one photo: which of 8 x 9 patches are brighter than their neighbours."""
    small = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).tobytes()


def _portraits(shared: Path) -> Iterator[tuple[Array, Array]]:
    """Cut faces (128 px) whose photos aren't here, with their meshes."""
    labels = np.load(shared / "data/portraits/faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(shared / "data/portraits/faces128_pd.tar") as tar:
        for name, src, mesh in zip(labels["name"], labels["src"], labels["landmarks478"], strict=True):
            if src.startswith("voteview/"):
                jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
                yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh.astype(np.float32)


def _store(path: Path, pictures: list[Picture]) -> None:
    np.save(path.with_suffix(".npy"), np.concatenate([p.rgba.reshape(-1) for p in pictures]))
    np.savez(
        path.with_suffix(".npz"),
        size=np.array([p.rgba.shape[:2] for p in pictures]),
        first=np.cumsum([0] + [p.rgba.size for p in pictures[:-1]]),
        count=np.array([len(p.sure) for p in pictures]),
        faces=np.concatenate([p.faces for p in pictures]),
        sure=np.concatenate([p.sure for p in pictures]),
        kind=np.array([p.kind for p in pictures]),
    )
