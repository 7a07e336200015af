"""Faithful video: read frames upright at their exact moments, write them back with everything else untouched.

`probe` -> `index` -> `read` -> (`encode_chunk` a range of frames) -> `assemble`, or `Writer` for a clip in one go.
"""

from mien.video.assemble import assemble
from mien.video.encode import ChunkInfo, EncodeSettings, encode_chunk, settings_for
from mien.video.info import FrameIndex, StreamInfo, VideoInfo, chunk_ranges, index, is_video, probe
from mien.video.planar import Planar
from mien.video.read import prefetch, read
from mien.video.writer import Writer

__all__ = [
    "ChunkInfo",
    "EncodeSettings",
    "FrameIndex",
    "Planar",
    "StreamInfo",
    "VideoInfo",
    "Writer",
    "assemble",
    "chunk_ranges",
    "encode_chunk",
    "index",
    "is_video",
    "prefetch",
    "probe",
    "read",
    "settings_for",
]
