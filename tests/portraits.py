"""A real face, and what is made from it: the photo scikit-image carries, a moving clip, composite faces of nobody."""

from __future__ import annotations

from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import skimage

from mien import picture
from mien.types import Array

FRAMES, SIDE, KEY_EVERY = 24, 240, 6
TIME_BASE, STEP = Fraction(1, 12800), 512


def composite(number: int) -> Path:
    """A face of the shipped bank, 1 to 18."""
    return Path(str(resources.files("mien"))) / "assets" / "bank" / f"{number:02d}.jpg"


def astronaut() -> Array:
    """The photo, RGB uint8, 512 x 512; the face's middle lies at (224, 124) and is about 100 pixels wide."""
    return picture.load(Path(skimage.__file__).parent / "data" / "astronaut.png").rgb()


def view(frame: int) -> Array:
    """What a hand-held camera sees of the photo: it sways, tilts and comes nearer."""
    matrix = cv2.getRotationMatrix2D((224.0, 124.0), 5 * np.sin(frame / 5), 0.8 + 0.006 * frame)
    matrix[:, 2] += SIDE / 2 - 224 + 6 * np.sin(frame / 4), SIDE / 2 - 124
    return np.asarray(cv2.warpAffine(astronaut(), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))


def clip(path: Path, frames: int = FRAMES, pix_fmt: str = "yuv420p", people: int = 1) -> Path:
    """A clip of the views with sound; a key frame every KEY_EVERY frames. people: how often she stands side by side."""
    with av.open(str(path), "w") as container:
        options = {"g": str(KEY_EVERY), "keyint_min": str(KEY_EVERY), "sc_threshold": "0", "crf": "14"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE * people, SIDE, pix_fmt
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        sound: Any = container.add_stream("aac", rate=48000, layout="mono")
        sound.codec_context.open()
        for start in range(0, frames * 1920, 1024):
            wave = 0.2 * np.sin((np.arange(1024) + start) * 0.05).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
            heard.sample_rate, heard.time_base, heard.pts = 48000, Fraction(1, 48000), start
            container.mux(sound.encode(heard))
        container.mux(sound.encode(None))
        for number in range(frames):
            rgb = np.hstack([view(number)] * people)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number * STEP, TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
