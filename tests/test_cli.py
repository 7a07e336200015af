"""The command line that users' scripts rely on: its flags are frozen, it is light, and it tells what it did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

import portraits
from mien import cli, picture, provenance, systems, weights
from mien.faces.record import Record
from mien.types import Manifest

# A flag may be added here with its command. Changing or removing one breaks somebody's script.
FLAGS = {
    "analyse": "--detector --every --landmarks --out -o",
    "anonymise": "--analysis --certificate --detector --dry-run --every --key --label --landmarks --no-mark --no-sign --out "
    "--overwrite --profile --quality --seed --set --system -o",
    "compare": "--out --samples --source --target -o",
    "demo": "--out -o",
    "doctor": "",
    "export": "--format --out --overwrite --person --precision -o",
    "extract": "--detector --every --format --landmarks --margin --min-face --out --overwrite --person --sharpest --size "
    "--template --track -o",
    "faceset": "",
    "inspect": "",
    "person": "",
    "reenact": "--analysis --certificate --consent --detector --dry-run --every --key --label --landmarks --no-mark --no-sign "
    "--out --overwrite --profile --quality --set --system -o",
    "score": "--detector --every --landmarks --out --samples --source --target -o",
    "swap": "--analysis --blend --cast --certificate --codec --colour --consent --contrast --degrade --detector --dry-run "
    "--erode --every --face-scale --feather --hardware --key --label --landmarks --light --mask --motion --no-mark "
    "--no-occlusion --no-sign --out --overwrite --passphrase --preset --profile --quality --report --seed --set --sharpen "
    "--system --threshold -o",
    "systems": "",
    "train": "--accumulate --augment --batch --device --dry-run --freeze --log-every --minutes --out --person --precision "
    "--preview-every --save-every --seed --set --steps --tensorboard --threads --timelapse --uniform-yaw --warm-start -o",
    "verify": "--folder",
    "weights": "--fetch",
}
HEAVY = ("torch", "av", "cv2", "numpy", "numba", "scipy", "onnxruntime", "PIL", "pyarrow", "yaml")


def mien(*arguments: object, status: int = 0) -> str:
    """Run a command in this process; its standard output."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "photo.png"
    picture.save(path, picture.Picture(portraits.astronaut()), Manifest("test input"))
    return path


@pytest.fixture(scope="module")
def swapped(photo: Path) -> Path:
    out = photo.with_name("swapped.png")
    said = mien("swap", portraits.composite(7), photo, "-o", out, "--consent", "nobody's face", "--profile")
    assert said.splitlines()[-1] == f"{out}: 1 faces swapped in 1 frames"
    assert "system" in said, "the table of --profile"
    return out


def test_flags_are_frozen() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    flags = {
        name: " ".join(sorted(f for p in command.params if p.param_type_name == "option" for f in p.opts))
        for name, command in commands.items()
    }
    assert flags == FLAGS


@pytest.mark.parametrize("arguments", [["--help"], ["swap", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = f"import sys; sys.argv[1:] = {arguments!r}\ntry:\n    from mien import cli; cli.main()\n"
    code += f"finally:\n    print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]
    assert "SOURCE" in done.stdout or "swap" in done.stdout


def test_every_command_says_what_it_is_for() -> None:
    said = mien("--help")
    for name in FLAGS:
        assert name in said
        assert len(mien(name, "--help")) > 100


def test_no_arguments_show_the_help() -> None:
    result = CliRunner().invoke(cli.app, [])
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_systems_are_listed() -> None:
    said = mien("systems").splitlines()
    assert [line.split()[0] for line in said] == systems.names()
    assert all(len(line) > 30 for line in said)


@pytest.mark.parametrize("action", [[], ["list"], ["verify"]])
def test_weights_are_listed_with_their_cards(action: list[str]) -> None:
    said = mien("weights", *action)
    for name, card in weights.cards().items():
        for word in (f"{name}: ", card.sha256, card.licence, card.data, card.source):
            assert word in said
    assert "shipped with the package: " in said.splitlines()[-1]


def test_weights_can_do_no_more() -> None:
    assert "list or verify" in CliRunner().invoke(cli.app, ["weights", "eat"]).output


def test_doctor_names_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIEN_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = mien("doctor")
    assert "made at first use" in said or "signs as" in said
    for word in ("cores", "GiB", "encoders: libx264", "hardware encoders", "MIEN_WEIGHTS (not set)", "mesh: here"):
        assert word in said
    assert "face_landmarker: not here" in said


def test_dry_run_prints_the_settings_and_writes_nothing(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    said = yaml.safe_load(
        mien("swap", portraits.composite(7), photo, "-o", out, "--dry-run", "--set", "eyes=source", "--light", "0.2")
    )
    assert said["settings"]["options"] == {"eyes": "source"}
    assert said["settings"]["compose"]["light"] == 0.2
    assert said["inputs"]["target"] == provenance.sha256(photo)
    assert not list(tmp_path.iterdir())


def test_inspect_shows_the_manifest_of_a_swapped_file(swapped: Path) -> None:
    said = mien("inspect", swapped)
    assert "picture 512 x 512, 8 bit, PNG" in said
    assert "consent: source: nobody's face" in said
    assert "system: mien_s" in said
    assert "/0: sha256" in said


def test_inspect_tells_what_a_face_does(photo: Path, tmp_path: Path) -> None:
    line = next(line for line in mien("inspect", photo).splitlines() if line.startswith("face 1: "))
    assert "mouthSmile" in line, "the astronaut smiles"
    picture.save(tmp_path / "grey.png", picture.Picture(np.full((64, 64, 3), 128, np.uint8)), Manifest("test input"))
    assert "no face found" in mien("inspect", tmp_path / "grey.png")


def test_inspect_a_file_that_mien_did_not_make(tmp_path: Path, moving: Path) -> None:
    said = mien("inspect", moving)
    assert f"video {portraits.SIDE} x {portraits.SIDE}, h264 yuv420p (8 bit), 25.000 frames/s" in said
    assert f"{portraits.FRAMES} frames" in said
    assert said.splitlines()[-1] == "mien left no manifest in it"


def test_analyse_draws_who_is_who(moving: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.faces.parquet"
    said = mien("analyse", moving, "-o", out).splitlines()
    assert said[0].startswith(f"T1: frames 0-{portraits.FRAMES - 1}, {portraits.FRAMES} with a face, about ")
    assert said[-2:] == [str(out), str(tmp_path / "a.tracks.jpg")]
    assert Record(out).tracks[0].name == "T1"
    assert picture.load(tmp_path / "a.tracks.jpg").width > 500
    assert mien("inspect", out).splitlines()[0] == "analysis of a clip: 1 tracks, cuts at none"


def test_a_clip_by_its_cast(moving: Path, analysed: Path, tmp_path: Path) -> None:
    cast = tmp_path / "cast.yaml"
    cast.write_text(f"T1: {portraits.composite(3)}\n")
    said = mien("swap", moving, "--cast", cast, "-o", tmp_path / "out.mkv", "--preset", "ultrafast")
    assert f"{portraits.FRAMES} faces swapped in {portraits.FRAMES} frames" in said
    said = mien("swap", moving, "--cast", "none", "-o", tmp_path / "null.mkv", "--preset", "ultrafast")
    assert f"0 faces swapped in {portraits.FRAMES} frames" in said


def test_anonymise(photo: Path, tmp_path: Path) -> None:
    mien("anonymise", photo, "-o", tmp_path / "out.png", "--seed", "3")
    inside = provenance.read(tmp_path / "out.png")
    assert inside is not None
    assert inside.action == "anonymise"
    assert inside.settings["options"] == {"seed": 3}


def test_an_error_is_one_line_and_status_2(photo: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["swap", "no.jpg", str(photo), "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 2
    assert result.stderr.startswith("mien: no.jpg does not exist")
    assert len(result.output.splitlines()) == 1


def test_stopped_by_hand(monkeypatch: pytest.MonkeyPatch, photo: Path, tmp_path: Path) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.jobs.Job.run", stopped)
    result = CliRunner().invoke(cli.app, ["swap", str(photo), str(photo), "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr
