"""A whole clip in one go: write frames, get the file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from mien.trust.credentials import Seal
from mien.types import Frame, Manifest
from mien.video.assemble import assemble
from mien.video.encode import ChunkEncoder, EncodeSettings, settings_for
from mien.video.info import VideoInfo, index


class Writer:
    """Writes frames to `path` when used as a context manager; nothing is left behind where an error ends it.

    info: of the source, or of what is written; source: the clip whose other streams, chapters and metadata are copied;
    seal: signs the manifest into the file.
    `warnings` holds, afterwards, one line for each stream that the container could not take.
    Raises OutputError where the output cannot be written.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        manifest: Manifest,
        settings: EncodeSettings | None = None,
        source: Path | None = None,
        seal: Seal | None = None,
    ):
        self.warnings: list[str] = []
        self._path, self._info, self._manifest, self._source, self._seal = Path(path), info, manifest, source, seal
        self._settings = settings_for(self._path, info, settings or EncodeSettings())
        self._chunk = self._path.with_name(f"{self._path.stem.replace('%', '')}.chunk.nut")
        self._last_duration = index(source).last_duration if source else None
        self._encoder: ChunkEncoder | None = None

    def __enter__(self) -> Self:
        self._encoder = ChunkEncoder(self._chunk, self._info, self._settings, self._last_duration)
        return self

    def write(self, frame: Frame) -> None:
        """Add the next frame, with a rising pts in `info.time_base` units."""
        assert self._encoder is not None, "use the writer as a context manager"
        self._encoder.write(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._encoder is not None
        try:
            if error is not None:
                self._encoder.abort()
                return
            self._encoder.close()
            chunks = [self._chunk]
            self.warnings = assemble(
                self._path, self._source, chunks, self._info, self._settings, self._manifest, self._seal
            )
        finally:
            self._chunk.unlink(missing_ok=True)
