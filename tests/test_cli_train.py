"""From photos to a swap by the command line: extract, faceset, train; flags are frozen, mistakes are one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

import facesets
import portraits
from mien import per_person, picture, watch
from mien.cli import app
from mien.cli import faceset as faceset_commands
from mien.cli import train as train_commands
from mien.faceset.store import FaceSet
from mien.phases import Batch
from mien.types import Manifest

# As in test_cli.py, of the commands that stand below another.
FLAGS = {
    "faceset audit": "--out --track -o",
    "faceset browse": "--by --out -o",
    "faceset filter": "--best --drop --least --most --one-person --out --overwrite --person --unique -o",
    "faceset import": "--format --frames --out --overwrite --size --template -o",
    "faceset list": "",
    "faceset merge": "--out --overwrite -o",
    "faceset sort": "--by --out --overwrite -o",
    "faceset split": "--by --out --overwrite -o",
    "faceset turn": "--like --out --overwrite -o",
}
TINY = ("--set", "size=32", "--set", "width=8", "--set", "latent=16", "--batch", 2, "--threads", 1, "--log-every", 2)


def call(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def mien(*arguments: object, status: int = 0) -> str:
    """Its standard output."""
    result = call(*arguments)
    assert result.exit_code == status, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """The one line of a command that is refused."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.output.splitlines()
    return line.removeprefix("mien: ")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the face sets a and b."""
    folder = tmp_path_factory.mktemp("sets")
    facesets.make(folder / "a", 1)
    facesets.make(folder / "b", 17)
    return folder


@pytest.fixture
def people(sets: Path) -> tuple[object, ...]:
    return ("--person", f"anna={sets / 'a'}", "--person", f"ben={sets / 'b'}")


def test_flags_are_frozen() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    commands |= {f"faceset {name}": command for name, command in commands["faceset"].commands.items()}
    for name, flags in FLAGS.items():
        options = [p for p in commands[name].params if p.param_type_name == "option"]
        assert " ".join(sorted(flag for p in options for flag in p.opts)) == flags, name


def test_help_is_light() -> None:
    heavy = ("torch", "av", "cv2", "numpy", "pyarrow", "rich.live", "yaml")
    modules = ", ".join(module.__name__ for module in (train_commands, faceset_commands))
    code = f"import sys, {modules}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_photos_become_a_set(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in (1, 2):
        (photos / f"{number}.jpg").write_bytes(portraits.composite(number).read_bytes())
    out = tmp_path / "set"
    assert mien("extract", photos, "-o", out, "--size", 96) == f"{out}: 2 faces, dfl_whole_face 96 px\n"
    assert refused("extract", photos, "-o", out) == f"{out} exists: choose another name with -o, or pass --overwrite"
    assert refused("extract", tmp_path / "no", "-o", tmp_path / "x").startswith(f"{tmp_path / 'no'} does not exist")


def test_sets_are_listed_sorted_chosen_joined_and_parted(sets: Path, tmp_path: Path) -> None:
    a, b = sets / "a", sets / "b"
    assert mien("faceset", "list", a, b).startswith(f"{a}: 6 faces, dfl_whole_face 96 px")
    assert mien("faceset", "sort", a, "--by", "blur").split() == [f"{n:06d}" for n in (6, 5, 4, 3, 2, 1)]
    assert mien("faceset", "sort", a, "--by", "yaw", "-o", tmp_path / "by_yaw").endswith(
        "6 faces, dfl_whole_face 96 px\n"
    )
    yaws = FaceSet.open(tmp_path / "by_yaw").column("yaw").tolist()
    assert yaws == sorted(yaws)
    kept = tmp_path / "kept"
    mien("faceset", "filter", a, "-o", kept, "--least", "sharpness=1.15", "--drop", "000004,000001")
    assert FaceSet.open(kept).column("frame").tolist() == [2, 4, 5]
    mien("faceset", "merge", a, b, "-o", tmp_path / "both")
    assert (
        mien("faceset", "split", tmp_path / "both", "--by", "source", "-o", tmp_path / "part").count(": 6 faces") == 2
    )
    assert {p.name for p in tmp_path.glob("part_*")} == {"part_1", "part_17"}
    assert refused("faceset", "sort", a, "--by", "age").startswith("face sets are not sorted by 'age'")
    assert refused("faceset", "filter", a, "-o", tmp_path / "x", "--drop", "7").startswith(f"{a} has no face '7'")
    assert refused("faceset", "filter", a, "-o", tmp_path / "x", "--most", "yaw").startswith("--most wants NAME=NUMBER")
    assert refused("faceset", "filter", a, "-o", tmp_path / "x", "--least", "yaw=80").startswith("no face of")
    assert not (tmp_path / "x").exists()


def test_a_set_is_browsed_and_audited(sets: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    assert mien("faceset", "browse", sets / "a", "-o", page, "--by", "yaw") == f"{page}\n"
    assert "000006" in page.read_text()
    said = mien("faceset", "audit", sets / "a", sets / "b", "-o", tmp_path / "audit.json").splitlines()
    assert "6 pictures against 6 frames of b" in said[0]
    assert "shares" in json.loads((tmp_path / "audit.json").read_text())
    mien("faceset", "audit", sets / "a", sets / "b", "-o", tmp_path / "audit.html")
    assert "Against b" in (tmp_path / "audit.html").read_text()


def test_a_training_from_start_to_swap(sets: Path, people: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("train", "deepfakes", "-o", out, *people, *TINY, "--steps", 4, "--save-every", 2)
    said = mien(*command, "--preview-every", 2, "--tensorboard", "--timelapse").splitlines()
    assert said[-1] == f"next: mien swap {out / 'people' / 'anna'} TARGET -o OUT"
    assert said[-2].startswith(f"{out}: deepfakes of anna, ben, 4 steps, ")
    assert any(line.startswith("step 4 of 4  100.0 %") and "model/mae" in line for line in said)
    assert any("GiB of memory; " in line and "s a step" in line for line in said)
    assert {p.name for p in (out / "previews").iterdir()} == {"000002.jpg", "000004.jpg"}
    assert (out / "timelapse.mp4").stat().st_size > 1000
    assert _scalars(out / "tensorboard") == {"model/mae": [2, 4], "preview": [2, 4]}
    picture.save(tmp_path / "photo.png", picture.Picture(portraits.astronaut()), Manifest("test input"))
    swapped = tmp_path / "swapped.png"
    assert "1 faces swapped" in mien(
        "swap", out / "people" / "ben", tmp_path / "photo.png", "-o", swapped, "--consent", "nobody's face"
    )
    assert mien(*command).splitlines()[0] == "goes on from step 4"


def test_a_dry_run_writes_nothing(people: tuple[object, ...], tmp_path: Path) -> None:
    said = json.loads(
        mien("train", "df", "-o", tmp_path / "run", *people, "--dry-run", "--augment", "hsv=0.1", "--set", "lr=2e-4")
    )
    assert said["config"]["lr"] == 2e-4
    assert (said["system"], said["people"], said["augment"]["hsv"]) == ("df", ["anna", "ben"], 0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["deepfake"], "no system 'deepfake'; choose one of"),
        (["warp"], "the system 'warp' is not trained: choose one of"),
        (["deepfakes", "--person", "anna"], "--person wants NAME=SET"),
        (["deepfakes", "--batch", "0"], "--batch and --accumulate must be at least 1"),
        (["deepfakes", "--set", "size"], "--set wants NAME=VALUE, not 'size'"),
        (["deepfakes", "--person", "x=nowhere"], "nowhere is no face set"),
    ],
)
def test_a_mistake_is_one_line(people: tuple[object, ...], tmp_path: Path, arguments: list[str], said: str) -> None:
    assert refused("train", *arguments, *people, "-o", tmp_path / "run").startswith(said)
    assert not list(tmp_path.iterdir())


def test_three_faces_only(sets: Path, tmp_path: Path) -> None:
    few = facesets.make(tmp_path / "few", 17, faces=3)
    line = refused("train", "deepfakes", "-o", tmp_path / "run", "--person", f"a={sets / 'a'}", "--person", f"b={few}")
    assert line.startswith("b has 3 faces")


def test_stopped_by_hand_or_by_the_clock(
    people: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", "deepfakes", "-o", tmp_path / "run", *people, *TINY, "--save-every", 2)
    said = mien(*command, "--steps", 100_000, "--minutes", 0.02)
    assert re.search(r"^\d+ of 100000 steps are done and saved; the same command goes on$", said, re.MULTILINE)

    presses = iter([signal.SIGINT])

    def asked(*_: object) -> None:
        for number in presses:
            signal.raise_signal(number)

    before = max(int(path.stem[6:]) for path in (tmp_path / "run").glob("state-*"))
    monkeypatch.setattr(watch.Terminal, "logged", asked)
    said = mien(*command)
    (step,) = re.findall(r"^(\d+) of 100000 steps are done and saved", said, re.MULTILINE)
    assert 1 <= int(step) - before <= 3, "the step is finished and saved, and no more"
    assert per_person.read(tmp_path / "run").steps == int(step)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.Terminal, "logged", stopped)
    result = call(*command)
    assert result.exit_code == 130
    assert re.search(r"mien: stopped; the same command goes on from step \d+\n$", result.output)


def test_numbers_that_are_none(people: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.systems import deepfakes

    def nothing(net: torch.nn.Module, batch: Batch, moment: object) -> Mapping[str, torch.Tensor]:
        return {"mae": net["model"](batch[0].warped, 0).rgb.mean() * torch.nan}  # type: ignore[index]

    monkeypatch.setattr(deepfakes, "_losses", nothing)
    command = ("train", "deepfakes", "-o", tmp_path / "run", *people, *TINY, "--steps", 4, "--save-every", 2)
    result = call(*command)
    assert result.exit_code == 2
    assert "lower the learning rate" in result.output.splitlines()[-1]


def _scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of a scalar and of a picture that TensorBoard reads."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    found = {"model/mae": [event.step for event in events.Scalars("model/mae")]}
    return found | {"preview": [event.step for event in events.Images("preview")]}
