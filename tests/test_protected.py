"""The protected list: who is on it isn't swapped, it is encrypted, and what can't be opened refuses everybody."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mien import analysis, picture
from mien.errors import InputError, NoFaceError
from mien.faces.recognise import IdentityEmbedder
from mien.trust import protected, vault
from mien.types import Array
from vectors import NETWORK, person, photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A list with Anna Example on it, from two photos."""
    anna = person(1)
    protected.add(tmp_path, "Anna  Example", np.concatenate([photo(anna, 0.9), anna[None]]), NETWORK)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted((folder / "protected").iterdir())


def test_who_is_protected_is_found(folder: Path) -> None:
    protected.add(folder, "Ben", person(2), NETWORK)
    known = protected.read(folder)
    assert known.names == ("Anna Example", "Ben")
    found = known.match(photo(person(1), 0.8, seed=7), NETWORK)
    assert found is not None
    assert (found.name, found.threshold) == ("Anna Example", protected.THRESHOLD)
    assert found.cosine == pytest.approx(0.8, abs=0.01)
    several = np.concatenate([person(3)[None], photo(person(2), 0.95)])
    ben = known.match(several, NETWORK)
    assert ben is not None
    assert ben.name == "Ben", "one photo of several is enough"
    assert known.match(person(3), NETWORK) is None


def test_the_threshold_is_the_stated_one(tmp_path: Path) -> None:
    protected.add(tmp_path, "Anna", person(1), NETWORK)
    known = protected.read(tmp_path)
    assert known.match(photo(person(1), protected.THRESHOLD + 0.005), NETWORK) is not None
    assert known.match(photo(person(1), protected.THRESHOLD - 0.005), NETWORK) is None


def test_the_refusal_says_why_and_how_sure(folder: Path) -> None:
    known = protected.read(folder)
    with pytest.raises(InputError) as error:
        known.refuse("T1 of party.mp4", photo(person(1), 0.8, seed=7), NETWORK)
    for part in ("T1 of party.mp4", "Anna Example", "0.80", "0.58", "1 in 1190", "mien person forget"):
        assert part in str(error.value)
    known.refuse("T2 of party.mp4", person(3), NETWORK)


def test_an_empty_list_refuses_nobody(tmp_path: Path) -> None:
    known = protected.read(tmp_path / "not there yet")
    assert known.match(person(1), NETWORK) is None
    assert known.names == ()
    assert list(tmp_path.iterdir()) == [], "reading makes no key"


def test_at_rest_it_is_encrypted(folder: Path) -> None:
    kept = b"".join(path.read_bytes() + path.name.encode() for path in folder.rglob("*") if path.is_file())
    assert b"Anna" not in kept
    assert person(1).tobytes()[:16] not in kept
    assert NETWORK.encode() not in kept
    for path in (*files(folder), folder / vault.KEY_FILE):
        assert os.name != "posix" or path.stat().st_mode & 0o077 == 0
    again = protected.add(folder, "Anna Example", person(1), NETWORK)
    assert again.id not in {path.name for path in folder.iterdir()}
    assert len({path.read_bytes() for path in files(folder)}) == 2


def test_a_damaged_file_refuses_everybody(folder: Path) -> None:
    protected.add(folder, "Ben", person(2), NETWORK)
    path = files(folder)[0]
    whole = path.read_bytes()
    damaged = [whole[:n] for n in (0, 5, 20, 30, len(whole) - 1)]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(0, len(whole), 97)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match="nobody is swapped") as error:
            protected.read(folder)
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)
    assert protected.forget(folder, path.name) == 1, "what is damaged can be taken away by its file's name"
    assert len(protected.read(folder).entries) == 1


def test_a_file_under_anothers_name_refuses(folder: Path) -> None:
    (path,) = files(folder)
    path.rename(path.with_name(f"0123456789abcdef{protected.SUFFIX}"))
    with pytest.raises(InputError, match="nobody is swapped"):
        protected.read(folder)


def test_another_key_refuses(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = folder / vault.KEY_FILE
    own = key.read_bytes()
    key.write_bytes(own[::-1])
    with pytest.raises(InputError, match="nobody is swapped"):
        protected.read(folder)
    key.write_bytes(own[:7])
    with pytest.raises(InputError, match="damaged"):
        protected.read(folder)
    key.unlink()
    with pytest.raises(InputError, match="missing"):
        protected.read(folder)
    with pytest.raises(InputError, match="missing"):
        protected.add(folder, "Ben", person(2), NETWORK)
    assert not key.exists(), "no new key is made while there is a list of the old"
    key.write_bytes(own)
    assert protected.read(folder).names == ("Anna Example",)


def test_a_folder_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    (tmp_path / "protected").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be read"):
        protected.read(tmp_path)


def test_a_passphrase(tmp_path: Path) -> None:
    words, wrong = tmp_path / "words.txt", tmp_path / "wrong.txt"
    words.write_text("a quiet lake\n", encoding="utf-8")
    wrong.write_text("a loud lake\n", encoding="utf-8")
    protected.add(tmp_path, "Anna", person(1), NETWORK, words)
    assert protected.read(tmp_path, words).names == ("Anna",)
    with pytest.raises(InputError, match="--passphrase"):
        protected.read(tmp_path)
    for asked in (
        lambda: protected.read(tmp_path, wrong),
        lambda: protected.add(tmp_path, "Ben", person(2), NETWORK, wrong),
    ):
        with pytest.raises(InputError, match="passphrase is another one"):
            asked()
    wrong.write_text(" \n")
    with pytest.raises(InputError, match="empty"):
        protected.read(tmp_path, wrong)
    with pytest.raises(InputError, match="cannot be read"):
        protected.read(tmp_path, tmp_path / "not there")
    assert protected.forget(tmp_path, "anna", words) == 1


def test_a_list_without_passphrase_wants_none(folder: Path) -> None:
    words = folder / "words.txt"
    words.write_text("a quiet lake")
    with pytest.raises(InputError, match="leave --passphrase out"):
        protected.add(folder, "Ben", person(2), NETWORK, words)
    assert len(files(folder)) == 1


def test_nobody_slips_through_what_cannot_be_compared(folder: Path) -> None:
    known = protected.read(folder)
    with pytest.raises(InputError, match="other identity weights"):
        known.match(person(1), "cd" * 32)
    for vector in (np.zeros(128), np.full(128, np.nan), np.full(128, np.inf)):
        with pytest.raises(NoFaceError):
            known.match(vector, NETWORK)


def test_forgetting(folder: Path) -> None:
    protected.add(folder, "anna example", photo(person(1), 0.7), NETWORK)
    protected.add(folder, "Ben", person(2), NETWORK)
    assert protected.forget(folder, "Clara") == 0
    assert protected.forget(folder, " ANNA   example") == 2
    assert protected.read(folder).names == ("Ben",)
    (entry,) = protected.read(folder).entries
    assert protected.forget(folder, entry.id) == 1
    assert files(folder) == []
    with pytest.raises(InputError, match="needs a name"):
        protected.add(folder, "  ", person(1), NETWORK)


def test_strangers_are_not_taken_for_each_other(shared: Path) -> None:
    """The bar, over all of London and a eighth of the portraits; all of them: benchmarks/protected.py."""
    finder, embedder = analysis.Settings().finder(), IdentityEmbedder()
    london = []
    for path in sorted((shared / "data" / "london").glob("*.jpg")):
        pixels = picture.load(path)
        london.append(embedder.embed(pixels.rgb(), finder.find(pixels)[0].points[None])[0])
    vectors: Array = np.array(london)
    who = np.arange(len(vectors)) // 2  # neutral, smiling
    table, same = vectors @ vectors.T, who[:, None] == who[None]
    above = np.triu(np.ones_like(same), 1)
    studio = np.mean(table[above & ~same] >= protected.THRESHOLD)
    assert studio <= 1e-3
    assert studio == pytest.approx(protected.FALSE_MATCH_RATES["london"], abs=5e-4), (
        "the stated rate is the measured one"
    )
    assert np.mean(table[above & same] < protected.THRESHOLD) <= protected.FALSE_NON_MATCH_RATES["london"] + 0.02
    portraits = _portraits(shared, embedder)
    pairs = np.concatenate(
        [(vectors @ portraits.T).ravel(), (portraits @ portraits.T)[np.triu_indices(len(portraits), 1)]]
    )
    assert np.mean(pairs >= protected.THRESHOLD) <= 1e-3


def _portraits(shared: Path, embedder: IdentityEmbedder) -> Array:
    """Vectors of every eighth of the portraits."""
    import io
    import tarfile

    from PIL import Image

    folder = shared / "data" / "portraits"
    table = np.load(folder / "faces128_pd.labels.npz", allow_pickle=False)
    names, meshes, found = table["name"], table["landmarks478"], []
    with tarfile.open(folder / "faces128_pd.tar") as tar:
        for i in range(0, len(names), 8):
            member = tar.extractfile(f"{names[i]}.jpg")
            assert member is not None
            rgb = np.asarray(Image.open(io.BytesIO(member.read())).convert("RGB"))
            found.append(embedder.embed(rgb, meshes[i][None].astype(np.float64))[0])
    return np.array(found)
