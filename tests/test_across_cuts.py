"""A person who comes back after a cut, in another take, is one track; another person is another."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import av

from mien import analysis, video

FRAMES = 12


def edited(takes: list[Path], out: Path) -> Path:
    """The first frames of each take, one after the other."""
    with av.open(str(out), "w") as container:
        stream: Any = container.add_stream("libx264", rate=15, options={"crf": "14", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for take in takes:
            for frame in islice(video.read(take), FRAMES):
                picture = av.VideoFrame.from_ndarray(frame.pixels.rgb(), "rgb24")
                container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return out


def test_people_are_known_again_after_a_cut(shared: Path, tmp_path: Path) -> None:
    asl = shared / "data" / "asl"
    takes = [asl / f"{name}.mkv" for name in ("book", "again", "learn", "bird", "school", "milk")]
    record = analysis.run(edited(takes, tmp_path / "edited.mkv"))
    assert list(record.cuts) == [FRAMES * i for i in range(1, len(takes))]
    seen = {track.name: {take for take in range(len(takes)) if _there(record, track, take)} for track in record.tracks}
    assert sorted(map(sorted, seen.values())) == [[0, 2, 4], [1], [3, 5]]


def _there(record: analysis.Record, track: Any, take: int) -> bool:
    return len(record.rows(track, take * FRAMES, (take + 1) * FRAMES).frame) > FRAMES / 2
