"""From face sets to a model that a swap takes, going on where it was, and one clear line for what can't be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import facesets
from mien import analysis, data, per_person, picture, runs, systems, train
from mien.errors import InputError, MienError, OutputError, SettingsError, TrainingError
from mien.faces import align
from mien.faceset.store import FaceSet
from mien.runs import model

TINY = {"size": 32, "width": 8, "latent": 16}
SETTINGS = train.Settings(steps=4, batch=2, log_every=2, save_every=2, threads=1)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    folder = tmp_path_factory.mktemp("sets")
    return {"anna": (facesets.make(folder / "a", 1),), "ben": (facesets.make(folder / "b", 17),)}


def run(sets: Mapping[str, tuple[Path, ...]], folder: Path, **changes: Any) -> runs.Run:
    values = {"system": "deepfakes", "people": sets, "folder": folder, "options": TINY, "settings": SETTINGS}
    return runs.Run(**(values | changes))


@pytest.fixture(scope="module")
def trained(sets: dict[str, tuple[Path, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "anna_ben"
    assert runs.load(run(sets, folder)).start()
    return folder


def test_a_run_leaves_a_model(trained: Path) -> None:
    made = per_person.read(trained)
    assert (made.system, made.people, made.steps) == ("deepfakes", ("anna", "ben"), 4)
    assert made.config == {"size": 32, "template": "dfl_full", "width": 8, "latent": 16, "lr": 5e-5}
    told = json.loads((trained / "model.json").read_text())
    assert told["precision"] == "bfloat16"
    assert told["data"]["anna"]["faces"] == 6
    assert told["command"].startswith("mien train deepfakes -o anna_ben --person anna=a --person ben=b --set size=32")
    assert str(trained.parent) not in (trained / "model.json").read_text() + (trained / "run.json").read_text()


def test_a_swap_draws_the_person_of_the_reference_pictures(trained: Path) -> None:
    system = systems.load("deepfakes", {"run": str(trained)})
    finder = analysis.Settings().finder()
    for number, name in enumerate(("anna", "ben")):
        photos = sorted((trained / "people" / name).iterdir())
        assert [photo.name for photo in photos] == ["1.png", "2.png", "3.png", "4.png", "5.png"]
        pixels = [picture.load(photo) for photo in photos]
        faces = [finder.find(shown)[0] for shown in pixels]
        assert abs(faces[0].pose.yaw) < 12, "the first one looks straight ahead"
        who = system.enroll([align.crop(p, f, system.source_spec) for p, f in zip(pixels, faces, strict=True)])
        assert int(who["person"]) == number
    target = align.crop(pixels[0], faces[0], system.target_spec)
    assert system.swap(who, [target])[0].rgb.shape == (32, 32, 3)


def test_the_model_has_the_averaged_weights(sets: dict[str, tuple[Path, ...]], trained: Path) -> None:
    loaded = runs.load(run(sets, trained))
    net, step = train.latest(loaded.net, trained)
    assert step == 4
    saved = load_file(trained / "model.safetensors")
    for name, value in net["model"].state_dict().items():
        assert torch.equal(saved[name], value.to(torch.bfloat16)), name


def test_bfloat16_only_where_it_cannot_be_seen(
    sets: dict[str, tuple[Path, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = runs.load(run(sets, tmp_path / "run"))
    net = loaded.net["model"].eval()
    mean, rare = model.changed(net, loaded.faces)
    assert 0 < mean < rare < model.RARE_CHANGE
    monkeypatch.setattr(model, "MEAN_CHANGE", mean / 2)
    model.write(tmp_path, net, "deepfakes", TINY, loaded.people, 1, loaded.faces, {})
    assert json.loads((tmp_path / "model.json").read_text())["precision"] == "float32"
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[n], p) for n, p in net.state_dict().items())


def test_stopped_and_taken_up_it_ends_with_the_same_weights(
    sets: dict[str, tuple[Path, ...]], trained: Path, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    class Killer:
        def logged(self, step: int, row: Mapping[str, float]) -> None:
            if step == 4:
                raise Killed

        def saved(self, step: int, net: object) -> None: ...
        def note(self, text: str) -> None: ...

    again = run(sets, tmp_path / "again")
    with pytest.raises(Killed):
        runs.load(again).start([Killer()])
    assert per_person.read(tmp_path / "again").steps == 2, "what was saved can be used"
    assert runs.load(again).start()
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "again"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_model_that_is_missing_is_written_again(
    sets: dict[str, tuple[Path, ...]], trained: Path, tmp_path: Path
) -> None:
    again = tmp_path / "anna_ben"
    shutil.copytree(trained, again)
    (again / "model.json").unlink()
    assert runs.load(run(sets, again)).start()
    assert (again / "model.json").read_bytes() == (trained / "model.json").read_bytes()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"options": TINY | {"latent": 24}}, "another config .latent 16, now 24."),
        ({"system": "df", "options": {}}, "another system .deepfakes, now df."),
    ],
)
def test_another_run_in_the_folder_is_left_alone(
    sets: dict[str, tuple[Path, ...]], trained: Path, changes: dict[str, Any], said: str
) -> None:
    before = (trained / "run.json").read_bytes()
    with pytest.raises(TrainingError, match=said):
        runs.load(run(sets, trained, **changes))
    assert (trained / "run.json").read_bytes() == before


def test_other_people_in_the_folder(sets: dict[str, tuple[Path, ...]], trained: Path) -> None:
    with pytest.raises(TrainingError, match=r"another people .anna, ben, now anna, carl.:"):
        runs.load(run({"anna": sets["anna"], "carl": sets["ben"]}, trained))


def test_what_changed_is_told(sets: dict[str, tuple[Path, ...]], trained: Path) -> None:
    assert runs.load(run(sets, trained)).notes == []
    notes = runs.load(run(sets, trained, augment={"rotation": 5.0})).notes
    assert notes == ["augment changed since it began: rotation 10.0, now 5.0"]


def test_a_foreign_folder_is_left_alone(sets: dict[str, tuple[Path, ...]], tmp_path: Path) -> None:
    (tmp_path / "state-000004.safetensors").write_bytes(b"of something else")
    with pytest.raises(TrainingError, match="something else"):
        runs.load(run(sets, tmp_path))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        runs.load(run(sets, tmp_path))


def test_one_line_for_what_cannot_be(sets: dict[str, tuple[Path, ...]], tmp_path: Path) -> None:
    few = {"anna": sets["anna"], "ben": (facesets.make(tmp_path / "few", 17, faces=3),)}
    for made, error, said in (
        (run(few, tmp_path / "run"), TrainingError, "ben has 3 faces"),
        (run(sets, tmp_path / "run", system="warp"), SettingsError, "'warp' is not trained: choose one of"),
        (run(sets, tmp_path / "run", options={"depth": 3}), SettingsError, "no option 'depth'"),
        (run(sets, tmp_path / "run", options={"size": 33}), SettingsError, "size = 33"),
        (run(sets, tmp_path / "run", options={"lr": "fast"}), SettingsError, "lr = 'fast' .* a value like 5e-05"),
        (run(sets, tmp_path / "run", options={"size": True}), SettingsError, "size = True .* a value like 64"),
        (run(sets, tmp_path / "run", augment={"hsv": "x"}), SettingsError, "hsv = 'x' .* a value like 0.0"),
        (run(sets, tmp_path / "run", options={"person": "anna"}), SettingsError, "options of a swap"),
        (run(sets, tmp_path / "run", augment={"spin": 1}), SettingsError, "no option 'spin'"),
        (run(sets, tmp_path / "run", augment={"grid": "x"}), SettingsError, "no warp is called 'x'"),
        (run({"anna": sets["anna"]}, tmp_path / "run"), SettingsError, "two people"),
        (run({"a/b": sets["anna"], "c": sets["ben"]}, tmp_path / "run"), SettingsError, "no name for a person"),
        (run(sets, tmp_path / "run", freeze=("encoder",)), SettingsError, "--warm-start"),
        (run(sets, tmp_path / "run", warm="nothing"), InputError, "nothing does not exist"),
        (run(sets | {"ben": (tmp_path / "no",)}, tmp_path / "run"), InputError, "no is no face set"),
        (run(sets, tmp_path / "no" / "run"), OutputError, "does not exist"),
        (run(sets, sets["anna"][0] / "set.json"), OutputError, "is a file"),
    ):
        with pytest.raises(error, match=said) as caught:
            runs.load(made).start()
        assert isinstance(caught.value, MienError)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run" / "run.json").exists()


def test_faces_of_somebody_else_are_named(
    sets: dict[str, tuple[Path, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "STRANGER", 0.6)  # averaged faces are more alike than people
    mixed = facesets.make(tmp_path / "mixed", 1, faces=8, stranger=17)
    loaded = runs.load(run(sets | {"anna": (mixed,)}, tmp_path / "run"))
    _ = loaded.galleries
    (note,) = loaded.notes
    assert note.startswith("1 of anna's 8 faces seem to be somebody else's")
    assert "000008" in note
    pure, mean = model.known("anna", [FaceSet.open(sets["anna"][0])]), loaded.people[0]
    assert float(pure.vector @ mean.vector) > 0.98, "a stranger doesn't move the mean"
    assert np.isclose(np.linalg.norm(mean.vector), 1)


def test_one_person_under_two_names(sets: dict[str, tuple[Path, ...]], tmp_path: Path) -> None:
    twice = facesets.make(tmp_path / "twice", 1)
    notes = runs.load(run({"anna": sets["anna"], "ann": (twice,)}, tmp_path / "run")).notes
    assert notes == ["anna and ann look like one person (1.00): are these the right sets?"]


def test_a_warm_start_takes_what_fits(sets: dict[str, tuple[Path, ...]], trained: Path, tmp_path: Path) -> None:
    fresh = run(sets, tmp_path / "run", options=TINY | {"latent": 24})
    warm = dataclasses.replace(fresh, warm=str(trained))
    cold, net, old = (
        runs.load(fresh).net["model"],
        runs.load(warm).net["model"],
        load_file(trained / "model.safetensors"),
    )
    for name, value in net.state_dict().items():
        fits = old[name].shape == value.shape
        assert torch.equal(value, old[name].float() if fits else cold.state_dict()[name]), name
    loaded = runs.load(warm)
    _ = loaded.net
    said = "tensors taken from anna_ben: encoder, inters.neck, decoders.d0, decoders.d1; new: inters.neck"
    assert loaded.notes[-1].endswith(said)
    with pytest.raises(TrainingError, match="nothing of"):
        runs.load(run(sets, tmp_path / "run", system="df", options={"size": 64}, warm=str(trained))).net  # noqa: B018


def test_a_person_is_added_to_a_frozen_encoder(
    sets: dict[str, tuple[Path, ...]], trained: Path, tmp_path: Path
) -> None:
    people = {"carl": (facesets.make(tmp_path / "carl", 12),)}
    adopted = run(people, tmp_path / "run", warm=str(trained), freeze=("encoder",))
    assert runs.load(adopted).start()
    old, new = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "run"))
    moved = {name.split(".")[0] for name, value in new.items() if not torch.equal(value, old[name])}
    assert moved == {"inters", "decoders"}
    assert per_person.read(tmp_path / "run").people == ("carl",)
    with pytest.raises(SettingsError, match="no part of the network is called 'tail'"):
        runs.load(run(people, tmp_path / "other", warm=str(trained), freeze=("tail",))).start()


def test_a_full_disk_is_one_line(
    sets: dict[str, tuple[Path, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    loaded = runs.load(run(sets, tmp_path / "run"))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"cannot be written .No space left on device"):
        loaded.start()
