"""What one pass over a clip learns of its faces, on disk: one parquet file, one row a face a frame.

Rows hold the mesh, its anchor, the pose and the skin's colours at the vertices; the file's metadata holds the tracks
(name, extent, best view, usual appearance), the cuts and what the file was made from. Rows are read back by frame range,
so that memory does not grow with the clip.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import InputError, OutputError
from mien.faces import align
from mien.faces.keep import VIEW_SPEC
from mien.types import Array, Crop

VERSION = 4
ROWS = 256
"""Rows a parquet group: what is held in memory while writing, and the grain of reading back."""
SCHEMA = pa.schema(
    [
        ("frame", pa.int32()),
        ("tracklet", pa.int32()),
        ("score", pa.float32()),
        ("measured", pa.bool_()),
        ("yaw", pa.float32()),
        ("pitch", pa.float32()),
        ("roll", pa.float32()),
        ("anchor", pa.list_(pa.float64(), 6)),
        ("points", pa.list_(pa.float32(), 478 * 3)),
        ("colours", pa.list_(pa.uint8(), 468 * 3)),
        ("motion", pa.list_(pa.float16(), 478 * 2)),
        ("trust", pa.list_(pa.float16(), 478)),
    ]
)


@dataclass(frozen=True)
class Rows:
    """Some rows of one track, ascending in frame: see the schema; colours are in the clip's own code values, 8 bits.

    motion (N x 478 x 2) is how each point came here from the frame before, as `flow` saw it; trust (N x 478) how sure that is.
    """

    frame: Array
    score: Array
    measured: Array
    pose: Array
    points: Array
    colours: Array
    motion: Array
    trust: Array


@dataclass(frozen=True)
class Track:
    """One person's faces through a clip. `view` is the best crop seen, area is in pixels.

    sharpness: how sharp the face usually is, beside its view (0..1).
    """

    name: str
    tracklets: tuple[int, ...]
    frames: int
    first: int
    last: int
    area: float
    score: float
    sharpness: float
    view: Crop
    thumbnails: Array

    def to_json(self) -> dict[str, Any]:
        """As JSON, arrays as base64 of PNG or float32."""
        plain = {k: getattr(self, k) for k in ("name", "frames", "first", "last", "area", "score", "sharpness")}
        return plain | {
            "tracklets": list(self.tracklets),
            "view": _png(self.view.rgb),
            "points": base64.b64encode(self.view.points.astype("<f4").tobytes()).decode(),
            "thumbnails": [_png(thumbnail) for thumbnail in self.thumbnails],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Track:
        """The track that `to_json` wrote."""
        points = np.frombuffer(base64.b64decode(values["points"]), "<f4").reshape(-1, 3).astype(np.float32)
        spec = VIEW_SPEC
        view = Crop(_unpng(values["view"]), np.eye(2, 3), points, spec, align.face(points, values["score"]))
        plain = {k: values[k] for k in ("name", "frames", "first", "last", "area", "score", "sharpness")}
        thumbnails = np.stack([_unpng(text) for text in values["thumbnails"]])
        return Track(tracklets=tuple(values["tracklets"]), view=view, thumbnails=thumbnails, **plain)


class RecordWriter:
    """Appends rows and closes with the tracks. Writes beside the path and renames, so that a killed pass leaves nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        with _writing(path):
            self._writer = pq.ParquetWriter(self._part, SCHEMA, compression="zstd", compression_level=1)
        self._rows: list[tuple[Any, ...]] = []

    def add(
        self, frame: int, tracklet: int, score: float, points: Array, colours: Array, measured: bool = True,
        motion: tuple[Array, Array] | None = None,
    ) -> None:  # fmt: skip
        """One face in one frame: points 478 x 3, colours 468 x 3 (uint8), motion and trust from `flow`, if known."""
        moved, trust = motion or (np.zeros((478, 2)), np.zeros(478))
        pose = align.pose(points)
        anchor = align.anchor(points)
        self._rows.append(
            (frame, tracklet, score, measured, pose.yaw, pose.pitch, pose.roll, anchor, points, colours, moved, trust)
        )
        if len(self._rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        with _writing(self.path):
            columns = [np.array(column) for column in zip(*self._rows, strict=True)]
            arrays = [_to_arrow(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=ROWS)
            self._rows = []

    def close(self, tracks: Sequence[Track], cuts: Sequence[int], about: Mapping[str, Any]) -> None:
        """Write the tracks and what the file was made from, and give the file its name."""
        self._flush()
        meta = {"version": VERSION, "tracks": [t.to_json() for t in tracks], "cuts": list(cuts), "about": dict(about)}
        with _writing(self.path):
            self._writer.add_key_value_metadata({"mien": json.dumps(meta)})
            self._writer.close()
            self._part.replace(self.path)

    def abort(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # a full disk can't take the file's end either
            self._writer.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the disk says, in one line. Raises OutputError."""
    try:
        yield
    except OSError as error:
        why = error.strerror or "the disk may be full"
        raise OutputError(f"{path} cannot be written ({why}): make room, or choose another place with -o") from error


class Record:
    """An analysis file opened for reading. Raises InputError when the file isn't one."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
            meta = json.loads((self._file.schema_arrow.metadata or self._file.metadata.metadata or {})[b"mien"])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
            raise InputError(f"{path} is not an analysis file of mien: run `mien analyse` again") from error
        if meta["version"] != VERSION:
            raise InputError(f"{path} was made by another version of mien: run `mien analyse` again")
        self.path = path
        self.about: dict[str, Any] = meta["about"]
        self.cuts = np.array(meta["cuts"], int)
        self.tracks = [Track.from_json(t) for t in meta["tracks"]]
        self._extent = [self._frames_of(i) for i in range(self._file.num_row_groups)]

    def _frames_of(self, group: int) -> tuple[int, int]:
        statistics = self._file.metadata.row_group(group).column(0).statistics
        return int(statistics.min), int(statistics.max)

    def track(self, name: str) -> Track:
        """The track of that name. Raises InputError naming those there are."""
        for track in self.tracks:
            if track.name == name:
                return track
        known = ", ".join(t.name for t in self.tracks) or "none"
        raise InputError(f"no track '{name}' in this clip; there are: {known}")

    def _table(self, columns: list[str], track: Track, start: int, stop: int) -> dict[str, Array]:
        groups = [i for i, (low, high) in enumerate(self._extent) if high >= start and low < stop]
        table = self._file.read_row_groups(groups, columns=["frame", "tracklet", *columns])
        frame, tracklet = (table[c].to_numpy() for c in ("frame", "tracklet"))
        wanted = np.flatnonzero(np.isin(tracklet, track.tracklets) & (frame >= start) & (frame < stop))
        wanted = wanted[np.argsort(frame[wanted], kind="stable")]
        wanted = wanted[np.diff(frame[wanted], prepend=-1) > 0]  # two tracklets of one person in one frame: the first
        table = table.take(wanted)
        return {c: _column(table, c) for c in ["frame", *columns]}

    def anchors(self, track: Track) -> tuple[Array, Array]:
        """Frame numbers (T) and measured anchors (T x 2 x 3) of a whole track."""
        table = self._table(["anchor"], track, 0, 2**31 - 1)
        return table["frame"], table["anchor"].reshape(-1, 2, 3)

    def has_strangers(self) -> bool:
        """Whether there is any face that no track lists."""
        listed = [number for track in self.tracks for number in track.tracklets]
        return bool((~np.isin(self._file.read(columns=["tracklet"])["tracklet"].to_numpy(), listed)).any())

    def strangers(self, start: int, stop: int) -> dict[int, list[Array]]:
        """Frame -> meshes of the faces that no track lists, too short or too unsure, for start <= frame < stop."""
        groups = [i for i, (low, high) in enumerate(self._extent) if high >= start and low < stop]
        listed = [number for track in self.tracks for number in track.tracklets]
        table = self._file.read_row_groups(groups, columns=["frame", "tracklet", "points"])
        frame, tracklet = (table[c].to_numpy() for c in ("frame", "tracklet"))
        wanted = np.flatnonzero(~np.isin(tracklet, listed) & (frame >= start) & (frame < stop))
        meshes = _column(table.take(wanted), "points").reshape(-1, 478, 3)
        found: dict[int, list[Array]] = {}
        for number, mesh in zip(frame[wanted].tolist(), meshes, strict=True):
            found.setdefault(number, []).append(mesh)
        return found

    def rows(self, track: Track, start: int, stop: int) -> Rows:
        """The track's rows with start <= frame < stop."""
        columns = ["score", "measured", "yaw", "pitch", "roll", "points", "colours", "motion", "trust"]
        t = self._table(columns, track, start, stop)
        pose = np.stack([t["yaw"], t["pitch"], t["roll"]], axis=1)
        points = t["points"].reshape(-1, 478, 3)
        colours, motion = t["colours"].reshape(-1, 468, 3), t["motion"].reshape(-1, 478, 2).astype(np.float32)
        trust = t["trust"].reshape(-1, 478).astype(np.float32)
        return Rows(t["frame"], t["score"], t["measured"], pose, points, colours, motion, trust)


def _to_arrow(values: Array, kind: pa.DataType) -> pa.Array:
    """A column of numbers, or of fixed-size lists from an array with more axes."""
    if pa.types.is_fixed_size_list(kind):
        flat = values.reshape(-1).astype(kind.value_type.to_pandas_dtype(), copy=False)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)
    return pa.array(values, type=kind)


def _column(table: pa.Table, name: str) -> Array:
    """A column as an array; fixed-size lists come out flat."""
    column = table[name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _png(rgb: Array) -> str:
    return base64.b64encode(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()).decode()


def _unpng(text: str) -> Array:
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR_RGB))
