"""Whatever is wrong with the input: one line, exit status not 0, and no file that was not there before."""

from __future__ import annotations

import io
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image

from mien import cli

Case = tuple[str, list[str], str, Callable[[Path], object] | None]


@pytest.fixture(scope="session")
def good(session_tmp: Path) -> Path:
    """A folder with a photo and a clip in which all is well: whatever fails, fails for the reason that is tested."""
    folder = session_tmp / "good"
    folder.mkdir()
    photo = skimage.data.astronaut()
    Image.fromarray(photo).save(folder / "photo.png")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(photo[index : index + 256, 96:352]), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def _noise(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(path)


def _cut(name: str, source: str, keep: float) -> Callable[[Path], object]:
    """Make `name` the first part of a good file."""

    def make(folder: Path) -> None:
        data = (folder / source).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return make


def _bomb(folder: Path) -> None:
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9))
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def _pages(folder: Path) -> None:
    page = Image.new("RGB", (32, 32))
    page.save(folder / "pages.tiff", save_all=True, append_images=[page])


def _sound(folder: Path) -> None:
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _jpeg_cut(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.open(folder / "photo.png").convert("RGB").save(buffer, "JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def swap(*arguments: str, out: str = "out.png") -> list[str]:
    return ["swap", *arguments, "-o", out]


# What is wrong, the arguments (run inside the folder), what the line must say, and how the bad file is made.
CASES: list[Case] = [
    ("the target does not exist", swap("photo.png", "none.mp4", out="out.mp4"), "none.mp4", None),
    ("the target is an empty folder", swap("photo.png", "empty"), "empty", lambda d: (d / "empty").mkdir()),
    ("the target is an empty file", swap("photo.png", "e.mp4", out="out.mp4"), "e.mp4", _text("e.mp4", "")),
    ("the target is text", swap("photo.png", "t.mp4", out="out.mp4"), "t.mp4", _text("t.mp4", "words")),
    ("the clip is cut", swap("photo.png", "c.mp4", out="o.mp4"), "c.mp4", _cut("c.mp4", "clip.mp4", 0.7)),
    ("the clip is sound only", swap("photo.png", "sound.mp4", out="out.mp4"), "sound.mp4", _sound),
    ("the picture is cut", swap("photo.png", "c.png"), "c.png.*damaged", _cut("c.png", "photo.png", 0.6)),
    ("the picture is a bomb", swap("photo.png", "bomb.png"), "megapixels", _bomb),
    ("the picture has pages", swap("photo.png", "pages.tiff", out="out.tiff"), "2 pictures", _pages),
    ("the source does not exist", swap("none.jpg", "photo.png"), "none.jpg", None),
    ("the source is empty", swap("e.jpg", "photo.png"), "e.jpg", _text("e.jpg", "")),
    ("the source is text", swap("t.jpg", "photo.png"), "t.jpg", _text("t.jpg", "words")),
    ("the source is cut", swap("cut.jpg", "photo.png"), "cut.jpg", _jpeg_cut),
    ("the source has no face", swap("noise.png", "photo.png"), "no face", lambda d: _noise(d / "noise.png")),
    ("the source is an empty folder", swap("empty", "photo.png"), "empty", lambda d: (d / "empty").mkdir()),
    ("no source at all", swap("photo.png"), "source", None),
    ("source and cast", swap("photo.png", "photo.png", "--cast", "T1=photo.png"), "not both", None),
    ("the output has no known suffix", swap("photo.png", "photo.png", out="out.xyz"), "out.xyz|xyz", None),
    ("the output's folder is missing", swap("photo.png", "photo.png", out="no/out.png"), "no", None),
    ("the output is below a file", swap("photo.png", "photo.png", out="photo.png/out.png"), "photo.png", None),
    ("the output exists", swap("photo.png", "photo.png", out="old.png"), "overwrite", _text("old.png", "old")),
    ("the output is the target", swap("photo.png", "clip.mp4", "--overwrite", out="clip.mp4"), "clip.mp4", None),
    ("a video as a picture", swap("photo.png", "clip.mp4", out="out.jpg"), "jpg|numbered|video", None),
    ("a picture as a video", swap("photo.png", "photo.png", out="out.mp4"), "mp4|picture", None),
    ("an unknown system", swap("photo.png", "photo.png", "--system", "nobody"), "nobody", None),
    ("an unknown detector", swap("photo.png", "photo.png", "--detector", "nobody"), "nobody", None),
    ("an unknown landmarker", swap("photo.png", "photo.png", "--landmarks", "nobody"), "nobody", None),
    ("an unknown colour transfer", swap("photo.png", "photo.png", "--colour", "nobody"), "nobody", None),
    ("an unknown blend", swap("photo.png", "photo.png", "--blend", "nobody"), "nobody", None),
    ("light beyond its range", swap("photo.png", "photo.png", "--light", "7"), "light", None),
    ("an unknown codec", swap("photo.png", "clip.mp4", "--codec", "nobody", out="out.mp4"), "nobody", None),
    ("an unknown preset", swap("photo.png", "clip.mp4", "--preset", "nobody", out="out.mp4"), "preset", None),
    ("quality beyond its range", swap("photo.png", "clip.mp4", "--quality", "999", out="out.mp4"), "quality", None),
    ("never looking for faces", swap("photo.png", "clip.mp4", "--every", "0", out="out.mp4"), "every", None),
    ("an option without a value", swap("photo.png", "photo.png", "--set", "eyes"), "NAME=VALUE", None),
    ("an option the system lacks", swap("photo.png", "photo.png", "--set", "nobody=1"), "nobody", None),
    ("a track that is not there", swap("clip.mp4", "--cast", "T99=photo.png", out="out.mp4"), "T99", None),
    ("a cast photo that is not there", swap("clip.mp4", "--cast", "T1=none.png", out="out.mp4"), "none.png", None),
    ("a cast without a photo", swap("clip.mp4", "--cast", "T1", out="out.mp4"), "T1", None),
    ("a cast file that is no YAML", swap("clip.mp4", "--cast", "c.yaml", out="o.mp4"), "c.yaml", _text("c.yaml", "{a")),
    ("a cast file without pairs", swap("clip.mp4", "--cast", "c.yaml", out="o.mp4"), "c.yaml", _text("c.yaml", "- a")),
    (
        "an analysis that is not there",
        swap("photo.png", "clip.mp4", "--analysis", "no.parquet", out="o.mp4"),
        "no",
        None,
    ),
    (
        "an analysis that is none",
        swap("photo.png", "clip.mp4", "--analysis", "a.parquet", out="o.mp4"),
        "a.parquet",
        _text("a.parquet", "words"),
    ),
    ("weights that are not here", swap("photo.png", "photo.png", "--detector", "yunet"), "yunet", None),
    ("a teacher that is not here", swap("photo.png", "photo.png", "--landmarks", "teacher"), "face_landmarker", None),
    ("analysing what does not exist", ["analyse", "none.mp4"], "none.mp4", None),
    ("analysing text", ["analyse", "t.mp4"], "t.mp4", _text("t.mp4", "words")),
    ("inspecting what does not exist", ["inspect", "none.png"], "none.png", None),
    ("inspecting text", ["inspect", "t.txt"], "t.txt", _text("t.txt", "words")),
    ("anonymising text", ["anonymise", "t.png", "-o", "out.png"], "t.png", _text("t.png", "words")),
    ("fetching unknown weights", ["weights", "--fetch", "nobody"], "nobody", None),
    ("fetching weights without an address", ["weights", "--fetch", "yunet"], "yunet_n_640_640.onnx", None),
]


def _contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder but finished analyses, which are right whatever failed later and save the next run."""
    paths = (path for path in folder.rglob("*") if not path.name.endswith(".faces.parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def test_thirty_kinds_and_more() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize("name, arguments, says, make", CASES, ids=[case[0].replace(" ", "-") for case in CASES])
def test_one_line_and_nothing_left(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    arguments: list[str],
    says: str,
    make: Callable[[Path], object] | None,
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(good, folder)
    if make:
        make(folder)
    before = _contents(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MIEN_WEIGHTS", raising=False)
    monkeypatch.setattr("sys.argv", ["mien", *arguments])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    printed = capfd.readouterr()
    assert ended.value.code not in (0, None), name
    lines = (printed.out + printed.err).splitlines()
    assert len(lines) == 1, lines
    assert re.search(says, lines[0]), lines[0]
    assert _contents(folder) == before
