"""`mien person`, from photos to records and back, as a user would run it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import portraits
from mien import cli, picture
from mien.trust import consent, keys, protected
from mien.types import Manifest

FLAGS = {
    "consent": "--file --folder --for --name --statement --until",
    "forget": "--folder --passphrase",
    "list": "--folder --passphrase",
    "protect": "--folder --passphrase",
}


def mien(*arguments: object, status: int = 0) -> str:
    """Run `mien person ...`; everything it printed."""
    result = CliRunner().invoke(cli.app, ["person", *(str(a) for a in arguments)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture(scope="module")
def other_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The person of composite 1 on a darker, smaller, softer picture."""
    rgb = picture.load(portraits.composite(1)).rgb()
    small = cv2.resize(rgb, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    path = tmp_path_factory.mktemp("photos") / "dark.png"
    picture.save(path, picture.Picture((small * 0.6).astype(np.uint8)), Manifest("test input"))
    return path


def test_flags_are_frozen() -> None:
    group = typer.main.get_command(cli.app).commands["person"]  # type: ignore[attr-defined]
    assert {
        name: " ".join(sorted(f for p in command.params if p.param_type_name == "option" for f in p.opts))
        for name, command in group.commands.items()
    } == FLAGS


def test_a_consent_from_photo_to_record(tmp_path: Path, other_photo: Path) -> None:
    one, home = portraits.composite(1), tmp_path / "home"
    stated = (
        "--name",
        "Nobody",
        "--for",
        "film X",
        "--until",
        "2999-01-31",
        "--statement",
        "I agree",
        "--folder",
        home,
    )
    said = mien("consent", one, *stated)
    assert "Nobody for film X until 2999-01-31: I agree" in said
    assert mien("consent", other_photo, *stated) == said, "another photo of the same person is not asked twice"
    assert mien("consent", portraits.composite(2), *stated) != said
    assert len(consent.load(home, keys.local(home).verify).records) == 2
    listed = mien("list", "--folder", home)
    assert listed.count("Nobody") == 2
    assert "2 consents" in mien("forget", "nobody", "--folder", home)
    assert mien("list", "--folder", home) == ""
    assert "known here" in mien("forget", "nobody", "--folder", home, status=2)


def test_a_protected_person_is_known_again(tmp_path: Path, other_photo: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a quiet lake")
    place = ("--folder", tmp_path / "home", "--passphrase", words)
    assert "Nobody is protected (1 photos" in mien("protect", "Nobody", portraits.composite(1), *place)
    vectors, network = cli.people._look([other_photo, portraits.composite(2)])
    known = protected.read(tmp_path / "home", words)
    found = known.match(vectors[:1], network)
    assert found is not None
    assert found.cosine > 0.8
    assert known.match(vectors[1:], network) is None
    assert "Nobody, 1 photos" in mien("list", *place)
    assert "--passphrase" in mien("list", "--folder", tmp_path / "home", status=2)
    assert "no longer protected" in mien("forget", "Nobody", *place)
    assert mien("list", *place) == ""


def test_what_a_user_can_mend(tmp_path: Path) -> None:
    one, home = portraits.composite(1), ("--folder", tmp_path / "home")
    agreed = ("--name", "Nobody", "--statement", "I agree", *home)
    grey, couple = tmp_path / "grey.png", tmp_path / "couple.png"
    picture.save(grey, picture.Picture(np.full((200, 200, 3), 120, np.uint8)), Manifest("test input"))
    face = picture.load(one).rgb()
    picture.save(couple, picture.Picture(np.hstack([face, face])), Manifest("test input"))
    (tmp_path / "torn.jpg").write_bytes(one.read_bytes()[:200])
    (tmp_path / "none").mkdir()
    for arguments, says in (
        (("consent", grey, *agreed), "no face found"),
        (("consent", couple, *agreed), "more than one person"),
        (("consent", tmp_path / "torn.jpg", *agreed), "torn.jpg"),
        (("consent", tmp_path / "none", *agreed), "holds no photo"),
        (("consent", tmp_path / "gone.jpg", *agreed), "gone.jpg"),
        (("consent", one, "--name", "Nobody", *home), "either --statement or --file"),
        (("consent", one, "--name", "Nobody", "--file", tmp_path / "gone.txt", *home), "does not exist"),
        (("consent", one, "--until", "2020-01-31", *agreed), "ended on 2020-01-31"),
        (("consent", one, "--until", "soon", *agreed), "no day"),
        (("protect", " ", one, *home), "needs a name"),
    ):
        said = mien(*arguments, status=2)
        assert says in said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "home").exists() or mien("list", *home) == ""


def test_a_stranger_among_the_photos_is_told(tmp_path: Path, other_photo: Path) -> None:
    stranger = tmp_path / "stranger.png"
    picture.save(stranger, picture.Picture(portraits.astronaut()), Manifest("test input"))
    photos = (portraits.composite(1), other_photo, stranger)
    said = mien("protect", "Nobody", *photos, "--folder", tmp_path)
    assert f"note: {photos[2]} hardly looks like the other photos" in said
    assert said.count("note:") == 1
