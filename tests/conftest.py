"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import portraits
from mien import analysis
from mien.types import Consent, Manifest

SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the shared folder is marked so, and skipped where the folder is absent."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="the shared photos and weights are not beside this checkout"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos, clips and teacher weights beside the checkout."""
    return SHARED


@pytest.fixture(scope="session")
def session_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scratch folder for the whole run, for what is dear to make."""
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the keys, consents and ledger of one file of tests, in place of the user's own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_HOME", str(folder))
        yield folder


@pytest.fixture
def manifest() -> Manifest:
    """A manifest with something in every field."""
    return Manifest(
        "swap",
        inputs={"source": "ab" * 32},
        weights={"mesh": "cd" * 32},
        settings={"system": "warp", "quality": 95, "text": 'a "quoted" <name> & more'},
        versions={"mien": "0.1.0"},
        consents={"": Consent("the person shown", "I agree", "a film", "2030-01-31")},
    )


@pytest.fixture(scope="session")
def moving(session_tmp: Path) -> Path:
    """A folder of its own with `clip.mp4`: a real face, filmed by a moving camera, with sound."""
    folder = session_tmp / "moving"
    folder.mkdir()
    portraits.clip(folder / "clip.mp4")
    return folder / "clip.mp4"


@pytest.fixture(scope="session")
def analysed(moving: Path) -> Path:
    """The analysis of `moving`, kept beside it, so that every job on the clip finds it."""
    return analysis.run(moving).path
