"""A face set on disk: a folder of pictures and masks, and one parquet file that says what each of them shows.

    set.json            version, crop, picture format, number of faces, what the set was made from
    faces.parquet       one row a face, see `SCHEMA`
    faces/000001.jpg    the crop (or .png)
    masks/000001.png    uint8, 255 where the face itself is seen

A set is written beside its place and renamed when it is whole; it is never changed afterwards.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mien import weights
from mien.errors import InputError, OutputError
from mien.types import Array, CropSpec

VERSION = 1
QUALITY = 95
FORMATS = ("jpg", "png")
ROWS = 256
"""Rows a parquet group: what is held in memory while writing."""
SHAPES: dict[str, tuple[int, ...]] = {"points": (478, 3), "to_frame": (2, 3), "colour": (3,), "shapes": (52,)}
"""Columns that hold more than a number a face. `identity` is one more: as long as its embedder makes it."""
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("source", pa.string()),
        ("frame", pa.int32()),
        ("track", pa.string()),
        ("points", pa.list_(pa.float32(), 478 * 3)),
        ("to_frame", pa.list_(pa.float64(), 6)),
        ("yaw", pa.float32()),
        ("pitch", pa.float32()),
        ("roll", pa.float32()),
        ("score", pa.float32()),
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("colour", pa.list_(pa.float32(), 3)),
        ("identity", pa.list_(pa.float32())),
        ("shapes", pa.list_(pa.float32(), 52)),
    ]
)
"""name: of the picture's file; source, frame, track: where the face is from ('' for a photo's track); points: the mesh in
crop pixels; to_frame: crop to frame pixels; yaw, pitch, roll: degrees in the frame; sharpness: detail at the crop's size;
brightness: mean luma, 0..1; colour: CIE Lab of the skin; identity: a unit vector; shapes: `faces.expression.NAMES`."""
_NAME = re.compile(r"\d{6,}")


class FaceSet:
    """A set that is on disk, opened by `FaceSet.open`. Pictures are read when they are asked for."""

    def __init__(self, folder: Path, spec: CropSpec, form: str, about: Mapping[str, Any], table: pa.Table) -> None:
        self.folder, self.spec, self.format, self.about, self.table = folder, spec, form, dict(about), table

    @staticmethod
    def open(folder: Path) -> FaceSet:
        """The set in `folder`. Raises InputError where there is none, or one of another version, or a damaged one."""
        values = _described(folder)
        if values.get("version") != VERSION:
            raise InputError(f"{folder} is a face set of version {values.get('version')}: extract it anew")
        try:
            spec = CropSpec(**values["spec"])
            form, count, about = str(values["format"]), int(values["faces"]), dict(values["about"])
            table = pq.read_table(folder / "faces.parquet")
            whole = table.schema.equals(SCHEMA) and len(table) == count and form in FORMATS
            whole = whole and len(pc.unique(pc.list_value_length(table["identity"]))) <= 1
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
            whole = False
        if not whole:
            raise InputError(f"the face set {folder} is damaged: extract it anew")
        opened = FaceSet(folder, spec, form, about, table)
        opened._check()
        return opened

    def _check(self) -> None:
        """That every picture the table names is there, under a plain name."""
        for kind, form in (("faces", self.format), ("masks", "png")):
            place = self.folder / kind
            there = {path.name for path in place.iterdir()} if place.is_dir() else set()
            lost = [f"{n}.{form}" for n in self.names if f"{n}.{form}" not in there or not _NAME.fullmatch(n)]
            if lost:
                raise InputError(f"the face set {self.folder} lacks {kind}/{lost[0]}: extract it anew")

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def names(self) -> list[str]:
        """The pictures' names, in the set's order."""
        return [str(name) for name in self.table["name"].to_pylist()]

    def rgb(self, i: int) -> Array:
        """Face `i`: H x W x 3, uint8. Raises InputError where the file cannot be read."""
        return _decoded(self.picture(i), cv2.IMREAD_COLOR_RGB)

    def mask(self, i: int) -> Array:
        """What of face `i` is seen: H x W, uint8, 255 where it is. Raises InputError."""
        return _decoded(self.folder / "masks" / f"{self.names[i]}.png", cv2.IMREAD_GRAYSCALE)

    def picture(self, i: int) -> Path:
        """The file that holds face `i`."""
        return self.folder / "faces" / f"{self.names[i]}.{self.format}"

    def points(self, i: int | None = None) -> Array:
        """The mesh of face `i` (478 x 3 float32, crop pixels), or of all (N x 478 x 3)."""
        return self.column("points") if i is None else self.column("points")[i]

    def column(self, name: str) -> Array:
        """A column as an array of N, or N x its own shape: points N x 478 x 3, to_frame N x 2 x 3, identity N x D."""
        if name not in self._columns:
            column = self.table[name].combine_chunks()
            if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
                self._columns[name] = np.asarray(column.to_numpy(zero_copy_only=False))
            else:
                flat = column.flatten().to_numpy(zero_copy_only=False)
                shape = SHAPES.get(name, (len(flat) // max(len(self), 1),))
                self._columns[name] = flat.reshape(len(self), *shape)
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, Array]:
        return {}


class Writer:
    """Writes a set into `folder.part` and gives it its name when all went well; else nothing is left.

        with Writer(folder, spec, about) as writer:
            writer.add(rgb, mask, row)

    Raises OutputError where the folder exists (`overwrite` replaces a face set, and nothing else) or cannot be written.
    """

    def __init__(
        self, folder: Path, spec: CropSpec, about: Mapping[str, Any], overwrite: bool = False, form: str = "jpg"
    ) -> None:
        assert form in FORMATS, f"{form} is no format of face sets"
        refuse(folder, overwrite)
        self.folder, self.spec, self.form, self.count = folder, spec, form, 0
        self.about = dict(about)
        self._part = folder.with_name(folder.name + ".part")
        self._rows: list[dict[str, Any]] = []
        with self._writing():
            shutil.rmtree(self._part, ignore_errors=True)
            for kind in ("faces", "masks"):
                (self._part / kind).mkdir(parents=True)
            self._table = pq.ParquetWriter(self._part / "faces.parquet", SCHEMA, compression="zstd")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._close()
        finally:
            with contextlib.suppress(OSError):  # a full disk can't take the table's end either
                self._table.close()
            shutil.rmtree(self._part, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """A folder that is gone when the set is finished."""
        place = self._part / "scratch"
        with self._writing():
            place.mkdir(exist_ok=True)
        return place

    def add(self, rgb: Array, mask: Array, row: Mapping[str, Any]) -> None:
        """One face: rgb H x W x 3 and mask H x W, uint8; row: a value for every column but the name. Raises OutputError."""
        options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
        if self.form == "jpg":
            options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        picture = cv2.imencode(f".{self.form}", np.ascontiguousarray(rgb[..., ::-1]), options)[1].tobytes()
        self._put(picture, cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes(), row)

    def copy(self, faces: FaceSet, i: int, row: Mapping[str, Any]) -> None:
        """Face `i` of another set, its files as they are where the formats agree. Raises InputError, OutputError."""
        if faces.format != self.form:
            self.add(faces.rgb(i), faces.mask(i), row)
            return
        try:
            picture, mask = (
                faces.picture(i).read_bytes(),
                (faces.folder / "masks" / f"{faces.names[i]}.png").read_bytes(),
            )
        except OSError as error:
            raise InputError(f"{faces.picture(i)} cannot be read ({error.strerror}): extract the set anew") from error
        self._put(picture, mask, row)

    def _put(self, picture: bytes, mask: bytes, row: Mapping[str, Any]) -> None:
        name = f"{self.count + 1:06d}"
        with self._writing():
            (self._part / "faces" / f"{name}.{self.form}").write_bytes(picture)
            (self._part / "masks" / f"{name}.png").write_bytes(mask)
        self.count += 1
        self._rows.append({**row, "name": name})
        if len(self._rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = [_arrow([row[field.name] for row in self._rows], field.type) for field in SCHEMA]
        with self._writing():
            self._table.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        self._rows = []

    def _close(self) -> None:
        """Finish the files and rename the folder; a set that is replaced goes last."""
        if self._rows:
            self._flush()
        about = {"identity": identity_weights(), **self.about}
        values = {
            "version": VERSION, "spec": asdict(self.spec), "format": self.form, "faces": self.count, "about": about
        }  # fmt: skip
        old = self.folder.with_name(self.folder.name + ".old")
        with self._writing():
            self._table.close()
            shutil.rmtree(self._part / "scratch", ignore_errors=True)
            (self._part / "set.json").write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")
            if self.folder.exists():
                shutil.rmtree(old, ignore_errors=True)
                self.folder.rename(old)
            self._part.rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What the disk says, in one line. Raises OutputError."""
        try:
            yield
        except OSError as error:
            why = error.strerror or "the disk may be full"
            raise OutputError(f"{self.folder} cannot be written ({why}): make room, or choose another place") from error


def identity_weights() -> str:
    """SHA-256 of the network that makes the identity vectors here: those of another are never compared with them."""
    return weights.cards()["identity"].sha256


def refuse(folder: Path, overwrite: bool) -> None:
    """Raises OutputError where a set must not be written: something is there, and it is no set that may be replaced."""
    if not folder.absolute().parent.is_dir():
        raise OutputError(f"the folder {folder.absolute().parent} does not exist: make it first")
    if not folder.exists():
        return
    if not overwrite:
        raise OutputError(f"{folder} exists: choose another name with -o, or pass --overwrite")
    if not (folder / "set.json").is_file():
        raise OutputError(f"{folder} is no face set and is not replaced: choose another name with -o")


def _described(folder: Path) -> dict[str, Any]:
    """What set.json says. Raises InputError."""
    try:
        values = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder} is no face set: make one with `mien extract`") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the face set {folder} is damaged: extract it anew") from error
    return values if isinstance(values, dict) else {}


def _arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of numbers or texts, or of lists from arrays of any shape."""
    if pa.types.is_fixed_size_list(kind):
        flat = np.asarray(values, kind.value_type.to_pandas_dtype()).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)
    if pa.types.is_list(kind):
        return pa.array([np.asarray(value, kind.value_type.to_pandas_dtype()) for value in values], type=kind)
    return pa.array(values, type=kind)


def _decoded(path: Path, how: int) -> Array:
    """A picture of the set. Raises InputError."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, how) if data.size else None
    except (OSError, cv2.error):
        pixels = None
    if pixels is None:
        raise InputError(f"{path} is missing or damaged: extract its face set anew")
    return np.asarray(pixels)
