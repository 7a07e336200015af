"""A person of a model leaves as a file that draws the same pictures, or does not leave; .dfm files come in, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import dfms
import portraits
import tiny
from mien import analysis, export, per_person, systems
from mien.errors import InputError, MienError, NoFaceError, OutputError, SettingsError, TrainingError, WeightsError
from mien.faces import align
from mien.nets import dfm, engine, engines, tracing
from mien.phases import Drawn
from mien.picture import Picture
from mien.types import Array, Crop, CropSpec


@pytest.fixture(scope="module", autouse=True)
def traced() -> Iterator[None]:
    """Tracing takes seconds: each network is traced once."""
    trace, known = tracing.trace, {}

    def once(net: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
        key = (str(net), *outputs)
        if key not in known:
            known[key] = trace(net, example, outputs).SerializeToString()
        return onnx.load_from_string(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "trace", once)
        patch.setattr(engine, "chosen", lambda *asked: engine.DEFAULT)
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def packed(out: Path) -> export.Exported:
    return export.export(tiny.model("df"), out / "anna.dfm")


@pytest.fixture(scope="module")
def target() -> tuple[Picture, Array]:
    photo = Picture(portraits.astronaut())
    return photo, analysis.Settings().finder().find(photo)[0].points


def crop(target: tuple[Picture, Array], system: systems.AbstractSystem) -> Crop:
    return align.crop(target[0], align.face(target[1], 1.0), system.target_spec)


def test_onnx_draws_what_the_model_draws(out: Path) -> None:
    done = export.export(tiny.model("deepfakes"), out / "ben.onnx", person="ben")
    assert done.difference < 1e-5
    model = onnx.load(done.file)
    assert [entry.name for entry in model.graph.output] == ["rgb"]
    assert str(Path(export.__file__).parents[2]).encode() not in done.file.read_bytes()
    config = systems.module("deepfakes").Config(run=str(tiny.model("deepfakes")))
    cast = per_person.Cast(per_person.settled(config), systems.module("deepfakes").network)
    x = torch.rand(5, 3, 32, 32) * 2 - 1
    [rgb] = engines.open_in(engine.DEFAULT, done.file).run({"face": x.numpy()})
    np.testing.assert_allclose(rgb, cast.net(x, 1, swap=True).rgb, atol=1e-5)
    assert np.abs(rgb - cast.net(x, 0, swap=True).rgb.numpy()).max() > 1e-3, "the other one is somebody else"


def test_the_card_says_what_it_is(packed: export.Exported) -> None:
    card = json.loads(packed.card.read_text())
    assert packed.card.name == "anna.card.json"
    assert card["files"]["anna.dfm"]["size"] == packed.file.stat().st_size
    assert (card["person"], card["people"], card["system"], card["size"]) == ("anna", ["anna", "ben"], "df", 64)
    assert card["model"] == per_person.read(tiny.model("df")).sha256
    assert "what anna agreed to" in card["consent"]
    assert card["difference"] == packed.difference < 1e-3


def test_openvino_and_halved_weights(out: Path) -> None:
    whole, half = (
        export.export(tiny.model("deepfakes"), out / f"ben_{p}.xml", person="ben", precision=p)
        for p in ("fp32", "fp16")
    )
    assert whole.difference < 1e-4
    assert half.difference < 1e-2
    sizes = [done.file.with_suffix(".bin").stat().st_size for done in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    assert str(out) not in whole.file.read_text()
    done = export.export(tiny.model("deepfakes"), out / "half.onnx", person="ben", precision="fp16")
    assert done.file.stat().st_size < 0.6 * (out / "ben.onnx").stat().st_size
    assert not list(out.glob(".*")), "nothing is left over"


def test_a_file_that_differs_is_not_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MOST", {"fp32": 0.0})
    with pytest.raises(TrainingError, match="would differ from the model by"):
        export.export(tiny.model("deepfakes"), out / "other.onnx", person="ben")
    assert not list(out.glob("other*")) + list(out.glob(".*"))


@pytest.mark.parametrize(
    "name, asked, kind, said",
    [
        ("a.pt", {}, SettingsError, "ends in .onnx, .xml, .dfm"),
        ("a.onnx", {"format": "dfm"}, SettingsError, "ends in"),
        ("a.onnx", {"precision": "int8"}, SettingsError, "choose one of fp32, fp16"),
        ("a.onnx", {"person": "dora"}, SettingsError, "there are anna, ben"),
        ("none/a.onnx", {}, OutputError, "make it first"),
        ("there.onnx", {}, OutputError, "--overwrite"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path, name: str, asked: dict[str, str], kind: type[MienError], said: str
) -> None:
    (tmp_path / "there.onnx").touch()
    with pytest.raises(kind, match=said) as raised:
        export.export(tiny.model("deepfakes"), tmp_path / name, **asked)
    assert "\n" not in str(raised.value)


def test_only_a_model_is_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained model"):
        export.export(tmp_path, tmp_path / "a.onnx")


def test_a_dfm_is_as_deepfacelive_reads_it(packed: export.Exported) -> None:
    model = onnx.load(packed.file)
    assert (model.opset_import[0].version, model.ir_version) == (12, 7)
    network = engines.open_in(engine.DEFAULT, packed.file)
    assert network.inputs == {"in_face:0": (None, 64, 64, 3)}
    assert network.outputs == ("out_face_mask:0", "out_celeb_face:0", "out_celeb_face_mask:0")
    shapes = [answer.shape for answer in network.run({"in_face:0": np.zeros((2, 64, 64, 3), np.float32)})]
    assert shapes == [(2, 64, 64, 1), (2, 64, 64, 3), (2, 64, 64, 1)]


def test_there_and_back_it_is_the_same_face(packed: export.Exported, target: tuple[Picture, Array]) -> None:
    inside = systems.load("df", tiny.options("df"))
    outside = systems.load("dfm", {"file": str(packed.file), "mask": "drawn"})
    assert outside.target_spec == inside.target_spec
    shown = crop(target, inside)
    [before], [after] = (s.swap({"person": np.array(0)}, [shown]) for s in (inside, outside))
    assert np.abs(before.rgb - after.rgb).max() < 1e-3 * 255
    assert np.abs(before.alpha - after.alpha).max() < 1e-3


class _Maskless(nn.Module):
    def forward(self, x: Tensor, person: int, swap: bool = False) -> Drawn:
        return Drawn(-x)


def test_a_network_without_masks_gives_the_mean_outline() -> None:
    outline = export._outline("dfl_full", 64)
    bgr = torch.rand(2, 64, 64, 3)
    there, face, mask = dfm.Packed(_Maskless(), 0, None, outline)(bgr)
    torch.testing.assert_close(face, 1 - bgr)
    assert torch.equal(there, mask)
    assert mask.shape == (2, 64, 64, 1)
    assert mask[0, 32, 32] == 1
    assert mask[0, [0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert 0.3 < float(mask.mean()) < 0.8


def drawn(path: Path, points: Array, rgb: Array, **options: object) -> tuple[Array, Array]:
    system = systems.load("dfm", {"file": str(path), **options})
    face = align.face(points, 1.0)
    [one] = system.swap({"person": np.array(0)}, [Crop(rgb, np.eye(2, 3), points, system.target_spec, face)])
    return one.rgb, one.alpha


def test_a_foreign_file_is_read_in_its_own_order_of_colours(tmp_path: Path) -> None:
    path = dfms.make(tmp_path / "a.dfm")
    points = np.zeros((478, 3), np.float32)
    points[:468] = align.canonical() * 3 + [32, 32, 0]
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    face, product = drawn(path, points, rgb)
    np.testing.assert_allclose(face, (255.0 - rgb) * [1, 1, 0.8], atol=1e-3)  # blue was told apart
    there, mask, mesh = (drawn(path, points, rgb, mask=name)[1] for name in ("there", "drawn", "mesh"))
    np.testing.assert_allclose(product, np.minimum(there, mask), atol=1e-6)
    assert 0.2 < mesh.mean() < there.mean() < 0.7
    assert max(product[0].max(), product[:, 0].max()) == 0
    deep, _ = drawn(path, points, rgb.astype(np.uint16) * 257)
    np.testing.assert_allclose(deep, face, atol=0.01)


def test_how_much_of_the_likeness(tmp_path: Path) -> None:
    path, points = dfms.make(tmp_path / "a.dfm", morph=True), np.ones((478, 3), np.float32)
    rgb = np.full((64, 64, 3), 51, np.uint8)
    assert drawn(path, points, rgb, morph=0.0)[0][0, 0, 0] == pytest.approx(51, abs=1e-3)
    assert drawn(path, points, rgb, morph=1.0)[0][0, 0, 0] == pytest.approx(204, abs=1e-3)


def test_files_for_one_face_at_a_time(tmp_path: Path, target: tuple[Picture, Array]) -> None:
    system = systems.load("dfm", {"file": str(dfms.make(tmp_path / "a.dfm", batch=1)), "template": "dfl_full"})
    assert system.target_spec == CropSpec("dfl_full", 64)
    answers = system.swap({"person": np.array(0)}, [crop(target, system)] * 3)
    assert len(answers) == 3


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        systems.load("dfm", {"file": str(tmp_path / "none.dfm")})
    (tmp_path / "text.dfm").write_text("hello")
    with pytest.raises(WeightsError, match=r"anew|is no"):
        systems.load("dfm", {"file": str(tmp_path / "text.dfm")})
    names = ("face", *dfms.NAMES[1:])
    with pytest.raises(WeightsError, match=r"is no \.dfm file"):
        systems.load("dfm", {"file": str(dfms.make(tmp_path / "other.dfm", names=names))})
    system = systems.load("dfm")
    with pytest.raises(NoFaceError):
        system.enroll([])
    with pytest.raises(SettingsError, match="--set file=PATH"):
        system.swap({"person": np.array(0)}, [None])  # type: ignore[list-item]
    for options in ({"mask": "none"}, {"morph": 2}):
        with pytest.raises(SettingsError, match="not possible"):
            systems.load("dfm", options)


def _graph(node: onnx.NodeProto, constants: Mapping[str, Array]) -> onnx.ModelProto:
    axes = {"Unsqueeze": 4, "Reshape": 2, "Shape": 1}.get(node.op_type, 3)
    entry, kind = helper.make_tensor_value_info, TensorProto.INT64 if node.op_type == "Shape" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "one", [entry("x", TensorProto.FLOAT, ["n", 4, 6])], [entry("y", kind, [None] * axes)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


_AXIS = np.array([1])
NODES = {
    "mean": (helper.make_node("ReduceMean", ["x", "c"], ["y"], keepdims=1), {"c": _AXIS}),
    "unsqueeze": (helper.make_node("Unsqueeze", ["x", "c"], ["y"]), {"c": _AXIS}),
    "softmax": (helper.make_node("Softmax", ["x"], ["y"], axis=-1), {}),
    "reshape": (helper.make_node("Reshape", ["x", "c"], ["y"], allowzero=0), {"c": np.array([0, -1])}),
    "shape": (helper.make_node("Shape", ["x"], ["y"], start=0, end=1), {}),
    "resize": (
        helper.make_node("Resize", ["x", "", "c"], ["y"], mode="linear", antialias=0),
        {"c": np.array([1, 1, 2], np.float32)},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_older_words_say_the_same(name: str) -> None:
    import onnxruntime as ort

    node, constants = NODES[name]
    model = _graph(node, constants)
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)

    def answer() -> Array:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"x": x})[0])

    before = answer()
    tracing.age(model)
    assert model.opset_import[0].version == 12
    np.testing.assert_array_equal(answer(), before)


def test_words_that_were_not_there_yet() -> None:
    layer = helper.make_node("LayerNormalization", ["x", "c"], ["y"])
    with pytest.raises(SettingsError, match=r"opset 12 .*export it as onnx"):
        tracing.age(_graph(layer, {"c": np.ones(6, np.float32)}))
