"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.fixture
def manifest() -> Manifest:
    """A manifest with something in every field."""
    return Manifest(
        "swap",
        inputs={"source": "ab" * 32},
        weights={"mesh": "cd" * 32},
        settings={"system": "warp", "quality": 95, "text": 'a "quoted" <name> & more'},
        versions={"mien": "0.1.0"},
        consent=Consent("the person shown", "I agree"),
    )
