"""DeepFaceLive's files: one person's network as ONNX, pictures as OpenCV holds them.

`in_face:0` (N x R x R x 3, BGR in [0, 1]), and in some `morph_value:0` (one number: how much of the likeness), give
`out_face_mask:0` (where the face is that stands there), `out_celeb_face:0` and `out_celeb_face_mask:0` (the drawn one, and
where it is). Masks are N x R x R x 1 in [0, 1]. Source: DeepFaceLab's export, opset 12; DeepFaceLive reads the inputs by name
and the outputs by their order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from mien.errors import InputError, WeightsError

FACE, MORPH = "in_face:0", "morph_value:0"
OUTPUTS = ("out_face_mask:0", "out_celeb_face:0", "out_celeb_face_mask:0")
KEY = "mien"
"""Under this name a file that mien wrote says what crop it reads and who drew its masks."""


class Packed(nn.Module):
    """A network that draws people, in the layout of such a file: (N x R x R x 3) -> mask there, face, mask.

    person: who is drawn; there: whose own mask tells where the face is that stands there (None: the drawn person's);
    outline: 1 x R x R x 1, the mask of a network that draws none.
    """

    outline: Tensor | None

    def __init__(self, net: nn.Module, person: int, there: int | None, outline: Tensor | None) -> None:
        super().__init__()
        self.net, self.person, self.there = net, person, there
        self.register_buffer("outline", outline)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = face.flip(3).permute(0, 3, 1, 2) * 2 - 1
        drawn = self.net(x, self.person, swap=True)
        bgr = (drawn.rgb / 2 + 0.5).permute(0, 2, 3, 1).flip(3)
        if drawn.mask is None:
            assert self.outline is not None, "a network without masks needs an outline"
            mask = self.outline.expand(face.shape[0], -1, -1, -1)  # `len` would hold for one number of faces
            return mask, bgr, mask
        mask = drawn.mask.permute(0, 2, 3, 1)
        if self.there is None:
            return mask, bgr, mask
        return self.net(x, self.there).mask.permute(0, 2, 3, 1), bgr, mask


@dataclass(frozen=True)
class Layout:
    """size: R in pixels; batch: how many faces at once, None for any; face, morph: names of the inputs ("" for none);
    template, masks: what the file says of itself, "" where it doesn't. masks: "outline" where no network drew them.
    """

    size: int
    batch: int | None
    face: str
    morph: str
    template: str = ""
    masks: str = ""


def tell(model: onnx.ModelProto, template: str, masks: str) -> None:
    """Write into a file what `Layout` reads out of it."""
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps({"template": template, "masks": masks})


def read(path: Path) -> Layout:
    """What a file reads and says. Raises InputError where there is none, WeightsError where it is of another kind."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a .dfm file, as DeepFaceLab or `mien export` writes it")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise WeightsError(f"{path} cannot be read: get the .dfm file anew") from error
    inputs = {entry.name: [d.dim_value for d in entry.type.tensor_type.shape.dim] for entry in model.graph.input}
    weights = {tensor.name for tensor in model.graph.initializer}  # older writers list them as inputs, too
    names = [name for name in inputs if name not in weights]
    kinds = [name.split(":")[0] for name in names]
    shape = inputs[names[0]] if names else []
    right = kinds in (["in_face"], ["in_face", "morph_value"]) and len(model.graph.output) == 3 and len(shape) == 4
    if not right or shape[3] != 3 or shape[1] != shape[2] or not shape[1]:
        raise WeightsError(
            f"{path} is no .dfm file: that reads `in_face` (N x R x R x 3) and gives a face and two masks"
        )
    told = _told(model)
    return Layout(
        shape[1], shape[0] or None, names[0], "".join(names[1:]), told.get("template", ""), told.get("masks", "")
    )


def _told(model: onnx.ModelProto) -> dict[str, str]:
    text = next((entry.value for entry in model.metadata_props if entry.key == KEY), "{}")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
