"""What `mien demo` shows: the main job on what comes with the package, a photo and two clips made from it.

The photo is NASA's portrait of Eileen Collins (public domain) that scikit-image carries; the source face is a composite of
the shipped bank, which is nobody. The clips move over the photo like a hand-held camera, with sound; the second is stored
lying on its side and with uneven frame times, as a telephone would.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import picture, video
from mien.errors import InputError, OutputError
from mien.jobs import Job
from mien.types import Array, Consent, Manifest

FRAMES = 72
SIDE = 480
TICKS = Fraction(1, 12800)
STEP = 512  # 25 frames a second
SOURCE = "07.jpg"
NOBODY = Consent("composite", "an average of 11 people of the London set, nobody's face")


def run(folder: Path, tell: Callable[[str, int, int], None]) -> list[Path]:
    """Make everything in `folder`; returns the files worth opening. Raises OutputError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    photo, source = folder / "photo.png", folder / "source.jpg"
    home = folder / "home"  # nobody's consent is no business of the user's own registry
    picture.save(photo, picture.Picture(_astronaut()), Manifest("demo input"))
    picture.save(source, picture.load(_bank() / SOURCE), Manifest("demo input"))
    clip = _clip(folder / "clip.mp4", range(0, FRAMES * STEP, STEP), turned=False)
    uneven = [STEP * n + (STEP // 3) * (n % 3 == 1) for n in range(FRAMES) if n % 7 != 3]
    twin = _clip(folder / "clip_turned_uneven.mp4", uneven, turned=True)
    made = []
    for target, name in (
        (photo, "photo_swapped.png"),
        (clip, "clip_swapped.mp4"),
        (twin, "clip_turned_uneven_swapped.mp4"),
    ):
        out = folder / name
        scored = target == clip
        job = Job(target, out, (source,), consent=NOBODY, home=home, report=scored, overwrite=True)
        result = job.run(tell)
        sheet = out.with_name(out.stem + "_sheet.jpg")
        _sheet(target, out, sheet)
        made += [out, sheet, *([result.report] if result.report else [])]
    hidden = folder / "photo_anonymised.png"
    Job(target=photo, out=hidden, everyone=True, system="library", home=home, overwrite=True).run(tell)
    return [*made, hidden]


def _bank() -> Path:
    return Path(str(resources.files("mien"))) / "assets" / "bank"


def _astronaut() -> Array:
    """The photo, found by path: importing scikit-image for it would take longer than reading it."""
    package = importlib.util.find_spec("skimage")
    assert package is not None, "scikit-image is a dependency"
    assert package.origin is not None, "scikit-image is a package of files"
    path = Path(package.origin).parent / "data" / "astronaut.png"
    if not path.is_file():
        raise InputError("scikit-image's astronaut.png is missing: reinstall scikit-image")
    return picture.load(path).rgb()


def _clip(path: Path, moments: Iterable[int], turned: bool) -> Path:
    """Encode a clip with sound; `turned`: stored on its side, with the note that tells a player to turn it back."""
    import av

    photo = _astronaut()
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "16", "preset": "fast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICKS
        if turned:
            stream.set_display_rotation(-90)
        sound: Any = container.add_stream("aac", rate=48000, layout="mono")
        for packet in _tone(sound, FRAMES * STEP * TICKS):
            container.mux(packet)
        for moment in moments:
            rgb = _view(photo, float(moment * TICKS))
            stored = np.ascontiguousarray(np.rot90(rgb)) if turned else rgb
            frame = av.VideoFrame.from_ndarray(stored, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = moment, TICKS
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def _view(photo: Array, seconds: float) -> Array:
    """What a hand-held camera sees of the photo at a moment: it comes nearer, sways and tilts."""
    zoom = SIDE / 512 * (1.25 + 0.45 * np.sin(seconds * 1.1))
    tilt = 7 * np.sin(seconds * 2.1)
    matrix = cv2.getRotationMatrix2D((226.0, 150.0), tilt, zoom)
    drift = np.array([14 * np.sin(seconds * 3.0), 9 * np.cos(seconds * 2.3)])
    matrix[:, 2] += np.array([SIDE / 2 - 226.0, 0.34 * SIDE - 150.0]) + drift
    return np.asarray(
        cv2.warpAffine(photo, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    )


def _tone(stream: Any, seconds: Fraction) -> list[Any]:
    """A quiet chord that swells, so that one can hear whether sound and picture stay together."""
    import av

    stream.codec_context.open()
    size = stream.codec_context.frame_size
    packets = []
    for start in range(0, int(seconds * 48000), size):
        time = (np.arange(size) + start) / 48000
        wave = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6)) * 0.05 * (1 + np.sin(4 * time))
        frame = av.AudioFrame.from_ndarray(np.asarray(wave, np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), start
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _sheet(before: Path, after: Path, out: Path) -> None:
    """A picture with some moments of both files, one above the other."""
    if video.is_video(before):
        total = len(video.index(before).pts)
        wanted = set(np.linspace(0, total - 1, 6).astype(int).tolist())
        rows = [[f.pixels.rgb() for f in video.read(path) if f.index in wanted] for path in (before, after)]
    else:
        rows = [[picture.load(path).rgb()] for path in (before, after)]
    tiles = [np.hstack([cv2.resize(rgb, (320, 320), interpolation=cv2.INTER_AREA) for rgb in row]) for row in rows]
    sheet = np.vstack(tiles) if len(rows[0]) > 1 else np.hstack(tiles)
    picture.save(out, picture.Picture(sheet), Manifest("contact sheet"))
