"""Who becomes whom: cast lists and folders of photos as a user gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from mien import picture
from mien.errors import InputError, SettingsError
from mien.types import Identity


def read_cast(values: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """`T1=anna.jpg` pairs, YAML files of such pairs (paths relative to the file), or 'none'. Raises SettingsError."""
    cast: dict[str, tuple[Path, ...]] = {}
    for value in values:
        name, _, path = value.partition("=")
        if value == "none":
            continue
        if name and path:
            cast[name] = (Path(path),)
        elif Path(value).suffix in (".yaml", ".yml"):
            cast |= _cast_file(Path(value))
        else:
            raise SettingsError(f"--cast wants T1=photo.jpg, a YAML file or 'none', not '{value}'")
    return cast


def _cast_file(path: Path) -> dict[str, tuple[Path, ...]]:
    try:
        pairs = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as a cast list: it wants lines like 'T1: anna.jpg'") from error
    many = {str(k): v if isinstance(v, list) else [v] for k, v in pairs.items()} if isinstance(pairs, dict) else {}
    if not many or not all(paths and all(isinstance(p, str) for p in paths) for paths in many.values()):
        raise InputError(f"{path} is not a cast list: it wants lines like 'T1: anna.jpg'")
    return {name: tuple(path.parent / p for p in paths) for name, paths in many.items()}


def photos_at(path: Path) -> list[Path]:
    """A photo, or the photos of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    photos = sorted(p for p in path.iterdir() if p.is_file() and picture.is_picture_name(p))
    if not photos:
        raise InputError(f"{path} holds no photo: put jpeg, png, webp, tiff, bmp or avif files of the person there")
    return photos


def assign(known: Mapping[str, Identity], names: Sequence[str], everyone: bool) -> list[tuple[str, str | None]]:
    """(track, person of the cast, or None to hide it). Raises InputError for a track that isn't there."""
    if everyone:
        return [(name, None) for name in names]
    pairs = []
    for person in known:
        if person and person not in names:
            raise InputError(f"no {person} in this target; there are: {', '.join(names)} (see `mien analyse`)")
        pairs.append((person or names[0], person))
    return [(name, person) for name, person in pairs]
