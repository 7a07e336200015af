"""The invisible mark: not seen, found again after what happens to pictures, and never found where there is none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import portraits
from mien import picture
from mien.trust import mark_find, mark_layout
from mien.trust.mark import Mark, Stamp, find, payload_of
from mien.types import Array

PAYLOAD = 0x0123456789AB


def grey(rgb: Array) -> Array:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def marked(rgb: Array, payload: int = PAYLOAD, region: Array | None = None) -> Array:
    shift = Stamp(payload).shift(grey(rgb), region)
    return np.clip(rgb.astype(np.int16) + shift[..., None], 0, 255).astype(np.uint8)


def psnr(a: Array, b: Array) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def jpeg(rgb: Array, quality: int) -> Array:
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def scaled(rgb: Array, by: float, how: int = cv2.INTER_AREA) -> Array:
    return cv2.resize(rgb, None, fx=by, fy=by, interpolation=how)


def x264(frames: Sequence[Array], crf: int = 28) -> list[Array]:
    """Luma planes after the encoder."""
    height, width = frames[0].shape
    held = io.BytesIO()
    with av.open(held, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for luma in frames:
            planes = np.concatenate([luma, np.full((height // 2, width), 128, np.uint8)])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        out.mux(stream.encode(None))
    held.seek(0)
    with av.open(held) as back:
        return [frame.to_ndarray(format="yuv420p")[:height] for frame in back.decode(video=0)]


@pytest.fixture(scope="module")
def photos() -> list[Array]:
    """A photo of 512 pixels, a smaller one, and a composite face."""
    astronaut = portraits.astronaut()
    return [astronaut, scaled(astronaut[:400, :320], 0.8), picture.load(portraits.composite(4)).rgb()]


ATTACKS: dict[str, Callable[[Array], Array]] = {
    "none": lambda p: p,
    "jpeg 60": lambda p: jpeg(p, 60),
    "0.75": lambda p: scaled(p, 0.75),
    "crop, even": lambda p: p[len(p) // 20 : -len(p) // 20, p.shape[1] // 20 : -p.shape[1] // 20],
    "crop, uneven": lambda p: p[37:, : -p.shape[1] // 10],
    "screenshot, small": lambda p: jpeg(scaled(p, 0.63, cv2.INTER_LINEAR)[11:, 5:-8], 85),
    "screenshot, large": lambda p: scaled(p, 1.63, cv2.INTER_CUBIC)[31:-50, 77:],
    "one side longer": lambda p: cv2.resize(p, (round(p.shape[1] * 0.81), round(p.shape[0] * 0.8))),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_lives_through(photos: list[Array], name: str) -> None:
    for number, photo in enumerate(photos):
        after = ATTACKS[name](marked(photo, PAYLOAD + number))
        mark = find([grey(after)])
        assert mark is not None, f"photo {number}"
        assert mark.payload == PAYLOAD + number
        assert mark.score > 10
        assert mark.corrected < mark.coded / 3


def test_it_lives_through_x264(photos: list[Array]) -> None:
    for photo in photos[::2]:
        mark = find(x264([grey(marked(photo))] * 3)[-1:])
        assert mark is not None
        assert mark.payload == PAYLOAD


def test_a_screen_with_the_picture_somewhere(photos: list[Array]) -> None:
    screen = np.full((800, 1200, 3), 236, np.uint8)
    for row in range(30, 790, 24):
        cv2.putText(screen, "words beside a picture " * 4, (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 1)
    photo = marked(photos[0])
    screen[133:645, 411:923] = photo
    mark = find([grey(screen)])
    assert mark is not None
    assert mark.payload == PAYLOAD


def test_it_is_not_seen(photos: list[Array]) -> None:
    for photo in photos:
        copy = marked(photo)
        assert 42.2 < psnr(photo, copy) < 47
        assert np.abs(copy.astype(int) - photo).max() <= 20
    flat = np.full((480, 640, 3), 128, np.uint8)
    assert psnr(flat, marked(flat)) > 46, "less where nothing hides it"


@pytest.mark.parametrize("side, least, most", [(256, 1.6, 4), (640, 4, 12)])
def test_texture_hides_more_than_a_wall(side: int, least: float, most: float) -> None:
    luma = np.full((side, side), 128, np.uint8)
    luma[:, side // 2 :] = np.random.default_rng(0).integers(100, 156, (side, side // 2))
    shift = Stamp(PAYLOAD).shift(luma).astype(float)
    wall, texture = shift[:, : side // 2 - 16], shift[:, side // 2 + 16 :]
    assert least < texture.std() / wall.std() < most
    assert wall.any()


def test_stronger_where_a_face_was_swapped(photos: list[Array]) -> None:
    photo = photos[0]
    region = np.zeros(photo.shape[:2], bool)
    region[60:220, 150:290] = True
    plain, with_region = (Stamp(PAYLOAD).shift(grey(photo), r).astype(float) for r in (None, region))
    assert with_region[region].std() > 1.15 * plain[region].std()
    assert psnr(photo, marked(photo, region=region)) > 44


def test_nothing_is_found_where_nothing_is(photos: list[Array]) -> None:
    pictures = [grey(photo) for photo in photos]
    pictures += [grey(picture.load(portraits.composite(number)).rgb()) for number in (1, 7, 12, 18)]
    rng = np.random.default_rng(0)
    pictures += [rng.integers(0, 256, (240, 320), np.uint8), np.zeros((300, 200), np.uint8)]
    pictures += [np.tile(np.uint8([[0, 255], [255, 0]]), (100, 100)), np.full((1, 1), 7, np.uint8)]
    assert [find([luma]) for luma in pictures] == [None] * len(pictures)
    assert find([]) is None
    assert find(pictures[3:8]) is None, "nor in the sum of many"


def views(photo: Array, step: int, count: int = 8) -> list[Array]:
    """What a camera sees that goes along the picture, with a sensor's noise."""
    rng = np.random.default_rng(0)
    wide = cv2.copyMakeBorder(photo, 0, 0, 64, 64, cv2.BORDER_REFLECT)
    seen = [wide[step * n : step * n + 400, 2 * step * n : 2 * step * n + 400] for n in range(count)]
    return [np.clip(view + rng.normal(0, 1.5, view.shape), 0, 255).astype(np.uint8) for view in seen]


@pytest.mark.parametrize("step", [0, 3])
def test_a_clip(photos: list[Array], step: int) -> None:
    """The encoder carries the mark along with what moves, so that it is not where it was put."""
    frames = views(photos[0], step)
    mark = find(x264([grey(marked(frame)) for frame in frames])[3:])
    assert mark is not None
    assert mark.payload == PAYLOAD


def test_frames_add_up(photos: list[Array]) -> None:
    """Too weak in any single frame, and absent from every third, it is found in all of them together."""
    weak = Stamp(PAYLOAD, 0.22)
    lumas = [grey(view) for view in views(photos[0], 5, 16)]
    copies = [cv2.add(luma, weak.shift(luma), dtype=cv2.CV_8U) if n % 3 else luma for n, luma in enumerate(lumas)]
    assert find(copies[4:5]) is None
    mark = find(copies)
    assert mark is not None
    assert mark.payload == PAYLOAD


def test_the_score_counts_standard_deviations(photos: list[Array]) -> None:
    """Of any word against a picture without a mark: what the threshold rests on."""
    words = np.random.default_rng(0).integers(1 << 48, size=300).tolist()
    for photo in photos:
        waves = mark_find._Waves([mark_find._flattened(grey(photo))])
        side = mark_layout.PERIOD * min(waves.shape) / 480
        chips = mark_find._chips(waves, waves.place(side, side))
        scores = [mark_find._score(chips, waves.layout, word) for word in words]
        assert abs(np.mean(scores)) < 0.3
        assert 0.85 < np.std(scores) < 1.15


def test_reading_stops_when_it_is_found(photos: list[Array]) -> None:
    taken = []

    def frames() -> object:
        for number in range(64):
            taken.append(number)
            yield grey(marked(photos[0]))

    assert isinstance(find(frames()), Mark)  # type: ignore[arg-type]
    assert len(taken) == 1


def test_frames_of_another_size_are_passed_over(photos: list[Array]) -> None:
    first, other = grey(photos[0]), grey(photos[1])
    mark = find([first, other, grey(marked(photos[0])), other, grey(marked(photos[0])), grey(marked(photos[0]))])
    assert mark is not None


def test_a_picture_marked_twice_tells_one_of_the_two(photos: list[Array]) -> None:
    twice = marked(marked(photos[0], 1), 2)
    mark = find([grey(twice)])
    assert mark is not None
    assert mark.payload in (1, 2)


def test_the_same_shift_on_every_call(photos: list[Array]) -> None:
    """Chunks of a clip are rendered in any order, by several threads; a decoder's plane is a read-only view."""
    luma = grey(photos[0])
    expected = Stamp(PAYLOAD).shift(luma)
    wide = np.zeros((512, 544), np.uint8)
    wide[:, :512] = luma
    view = wide[:, :512]
    view.flags.writeable = False
    np.testing.assert_array_equal(Stamp(PAYLOAD).shift(view), expected)
    with ThreadPoolExecutor(4) as pool:
        for shift in pool.map(lambda _: Stamp(PAYLOAD).shift(luma), range(8)):
            np.testing.assert_array_equal(shift, expected)
    assert expected.dtype == np.int8


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (9, 8), (63, 97), (16, 16)])
def test_any_size_is_marked(size: tuple[int, int]) -> None:
    luma = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    shift = Stamp(PAYLOAD).shift(luma, luma > 128)
    assert shift.shape == size
    assert np.abs(shift.astype(int)).max() <= 20
    assert find([luma]) is None


def test_a_large_picture_is_found_at_a_quarter_of_its_size() -> None:
    """Its waves grow with it."""
    large = scaled(portraits.astronaut(), 4, cv2.INTER_CUBIC)
    large = np.clip(large + np.random.default_rng(0).normal(0, 3, large.shape), 0, 255).astype(np.uint8)
    for by in (1.0, 0.25):
        mark = find([grey(jpeg(scaled(marked(large), by), 75))])
        assert mark is not None
        assert mark.payload == PAYLOAD


def test_the_layout_never_changes() -> None:
    """Or marks of years ago could not be read: a new layout needs a new KEY, and the old one beside it."""
    waves = mark_layout.layout()
    digest = hashlib.sha256()
    for values in (waves.ky, waves.kx, waves.chips, waves.bit):
        digest.update(values.astype("<i4").tobytes())
    assert digest.hexdigest() == "d1d08e03b99b86b42e4d2ce4e206712fe8717fd91a7c37aeebc561c7c7bad80c"


def test_every_ring_holds_every_bit_once() -> None:
    waves = mark_layout.layout()
    assert (waves.bit < 0).all(axis=1).sum() == mark_layout.REFERENCE
    counts = np.bincount(waves.bit[waves.bit >= 0], minlength=256)
    assert (counts == mark_layout.REPEATS).all()
    assert len({*zip(waves.ky.tolist(), waves.kx.tolist(), strict=True)}) == len(waves.ky)


def test_the_payload_is_the_manifests_digest() -> None:
    assert payload_of("abc") == 0xBA7816BF8F01
    assert payload_of("{}") != payload_of("{ }")


def test_real_faces_and_a_clip(shared: Path) -> None:
    for name in ("london/001_neutral.jpg", "ci-set/lisa_lisa1.jpg"):
        photo = picture.load(shared / "data" / name).rgb()
        mark = find([grey(jpeg(marked(photo), 60))])
        assert mark is not None
        assert mark.payload == PAYLOAD
        assert find([grey(photo)]) is None
    with av.open(str(shared / "data/asl/book.mkv")) as clip:
        frames = [f.to_ndarray(format="yuv420p")[:480] for f, _ in zip(clip.decode(video=0), range(8), strict=False)]
    stamp = Stamp(PAYLOAD)
    copies = [cv2.add(frame, stamp.shift(frame), dtype=cv2.CV_8U) for frame in frames]
    mark = find(x264(copies))
    assert mark is not None
    assert mark.payload == PAYLOAD
    assert find(frames) is None
