"""What signing costs, whether every changed bit is found, and whether another implementation reads what was signed.

    python benchmarks/credentials.py [--reader DIR] [--flips 200] [--repeat 7]

For every format: milliseconds and bytes that a signature adds to a 1280 x 720 picture or a 10 s clip (best of the repeats),
whether the library that wrote it trusts it, whether a second run gives the same bytes, and how many of so many files with one
random bit changed are refused: of bits anywhere, and of bits in the manifest store. What the specification leaves unsigned in
there is its frame, labels of boxes and the padding of the signature; none of it says anything, and the sidecar's hash of the
whole file sees it. Anything unnoticed outside of the store is a failure.

--reader: a folder in which `npm install @trustnxt/c2pa-ts` was run: a reader of its own in TypeScript, asked about the whole
file and about files with one changed bit: in the middle, in the words of the manifest, in the claim. It opens jpeg, png and
avif itself, and mp4 and mov once their brands are added to its list; for webp and tiff, whose containers it doesn't know, it is
handed the manifest store and the bytes, and checks hashes and signature of those. gif cuts the store into blocks: not asked.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import av
import numpy as np
import skimage.data

from mien import picture, provenance, video
from mien.trust import credentials, keys
from mien.trust.credentials import Seal
from mien.types import Array, Consent, Manifest

PICTURES = (".jpg", ".png", ".webp", ".tiff", ".avif")
CLIPS = (".mp4", ".mov", ".gif")
MANIFEST = Manifest(
    "swap",
    {"target": "ab" * 32, "/0": "cd" * 32, "/1": "ef" * 32},
    {name: "12" * 32 for name in ("detector", "mesh", "eyes", "identity", "parsing", "expression")},
    {"system": "warp", "generative": False, "seed": 0},
    provenance.versions(),
    {"": Consent()},
)
READER = """
import * as fs from 'node:fs/promises';
import { BMFF, JPEG, PNG } from '@trustnxt/c2pa-ts/asset';
import { SuperBox } from '@trustnxt/c2pa-ts/jumbf';
import { ManifestStore, ValidationResult } from '@trustnxt/c2pa-ts/manifest';

class Plain {  // a container that the reader doesn't know: where the store lies, and bytes
  constructor(data) { this.data = data; this.mimeType = 'application/octet-stream'; }
  getDataLength() { return this.data.length; }
  async getDataRange(start = 0, length = this.data.length - start) { return this.data.subarray(start, start + length); }
  getManifestJUMBF() {
    const at = Buffer.from(this.data).indexOf('jumdc2pa') - 12;
    return at < 0 ? undefined : this.data.subarray(at, at + Buffer.from(this.data).readUInt32BE(at));
  }
}
// The boxes of a clip are those of a picture, but its list of brands holds pictures only.
for (const brand of ['isom', 'iso2', 'mp41', 'mp42', 'qt  ']) BMFF.canReadBrands.add(brand);
for (const path of process.argv.slice(2)) {
  const data = new Uint8Array(await fs.readFile(path));
  const kind = [JPEG, PNG, BMFF].find(kind => kind.canRead(data)) ?? Plain;
  let result, claim = null;
  try {
    const asset = new kind(data);
    const store = ManifestStore.read(SuperBox.fromBuffer(asset.getManifestJUMBF()));
    claim = store.getActiveManifest()?.claim?.claimGeneratorName ?? null;
    result = await store.validate(asset);
  } catch (error) { result = ValidationResult.fromError(error); }
  const codes = result.statusEntries.filter(e => !e.success).map(e => `${e.code} ${e.explanation ?? ''}`.trim());
  console.log(JSON.stringify({ path, kind: kind.name, valid: result.isValid, claim, codes }));
}
"""


def photo() -> Array:
    """1280 x 720 of a real photo."""
    whole = skimage.data.astronaut()
    tiled = np.hstack([whole, whole[:, ::-1], whole])
    return np.ascontiguousarray(np.vstack([tiled, tiled[::-1]])[:720, :1280])


def clip(path: Path, seconds: float = 10.0) -> Path:
    """A clip of the photo with a moving view, 640 x 480."""
    whole = photo()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for number in range(round(25 * seconds)):
            x, y = number % 300, number % 200
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(whole[y : y + 480, x : x + 640]), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def unsigned(folder: Path, suffix: str) -> bytes:
    """What mien writes without a seal."""
    out = folder / f"plain{suffix}"
    if suffix in PICTURES:
        picture.save(out, picture.Picture(photo()), MANIFEST)
        return out.read_bytes()
    plain = folder / "source.mp4"
    if not plain.exists():
        clip(plain)
    with video.Writer(out, video.probe(plain), MANIFEST, source=plain) as writer:
        for frame in video.read(plain, 0, 10 if suffix == ".gif" else None):
            writer.write(frame)
    return out.read_bytes()


def sign(path: Path, data: bytes, seal: Seal) -> float:
    """Sign as the writers do, pictures in memory and clips in place; returns the milliseconds."""
    source_type = provenance.source_type(MANIFEST)
    path.write_bytes(data)
    begun = perf_counter()
    if path.suffix in PICTURES:
        path.write_bytes(seal.sign(data, path.suffix, MANIFEST, source_type))
    else:
        seal.sign_file(path, path.suffix, MANIFEST, source_type)
    return 1000 * (perf_counter() - begun)


def unnoticed(path: Path, roots: list[str], flips: int, draw: random.Random) -> tuple[int, int]:
    """Of so many files with one bit changed, how many are believed: bit in the manifest store, bit elsewhere."""
    whole = path.read_bytes()
    start = whole.find(credentials.STORE) - 12
    store = range(start, start + int.from_bytes(whole[start : start + 4], "big"))
    changed = path.with_name(f"flip{path.suffix}")
    inside = outside = 0
    for number in range(2 * flips):
        place = draw.choice(store) if number % 2 else draw.randrange(len(whole))
        data = bytearray(whole)
        data[place] ^= 1 << draw.randrange(8)
        changed.write_bytes(data)
        found = credentials.read(changed, roots)
        if found is not None and found.state in ("trusted", "valid"):
            inside, outside = inside + (place in store), outside + (place not in store)
    return inside, outside


def ask(reader: Path, paths: list[Path]) -> list[dict[str, object]]:
    """What the second reader says of each file."""
    script = reader / "mien-credentials.mjs"
    script.write_text(READER)
    try:
        told = subprocess.run(
            ["node", script.name, *map(str, paths)], cwd=reader, capture_output=True, text=True, check=True, timeout=300
        )
    finally:
        script.unlink()
    return [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]


def main(reader: Path | None, flips: int, repeat: int) -> int:
    """Print a line a format; returns how many formats failed."""
    draw = random.Random(0)
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seal = Seal(keys.local(folder / "home"))
        roots = list(keys.known(folder / "home").values())
        signed: list[Path] = []
        print(
            f"format    +ms   +bytes  to        state  same again   believed of {flips} + {flips} changed: in store, elsewhere"
        )
        for suffix in PICTURES + CLIPS:
            data, out = unsigned(folder, suffix), folder / f"out{suffix}"
            milliseconds = min(sign(out, data, seal) for _ in range(repeat))
            first = out.read_bytes()
            sign(out, data, seal)
            found = credentials.read(out, roots)
            state = found.state if found else "none"
            inside, outside = unnoticed(out, roots, flips, draw)
            same = first == out.read_bytes()
            failed += state != "trusted" or not same or outside > 0
            print(
                f"{suffix:7s} {milliseconds:5.1f} {len(first) - len(data):8d}  {len(data):8d} {state:>8s} {same!s:>6s} "
                f"{inside:22d} {outside:5d}"
            )
            signed.append(out)
        if reader is not None:
            failed += second(reader, [path for path in signed if path.suffix != ".gif"])
    return failed


def second(reader: Path, paths: list[Path]) -> int:
    """Ask the second reader about whole and changed files; returns how many answers were wrong."""
    asked = [(path, True) for path in paths]
    for path in paths:
        whole = path.read_bytes()
        claim = whole.index(b"mien", whole.index(b"c2pa.claim.v2\0"))
        reworded = whole.index(b'"action": "swap"', whole.index(b"mien.manifest\0")) + 11
        for name, place in (("changed", len(whole) // 2), ("reworded", reworded), ("reclaimed", claim)):
            data = bytearray(whole)
            data[place] ^= 1
            asked.append((path.with_name(f"{name}{path.suffix}"), False))
            asked[-1][0].write_bytes(data)
    wrong = 0
    for (path, wanted), told in zip(asked, ask(reader, [path for path, _ in asked]), strict=True):
        wrong += told["valid"] is not wanted
        codes = "; ".join(str(code) for code in told["codes"]) if isinstance(told["codes"], list) else ""
        print(
            f"second reader: {path.name:15s} read as {told['kind']!s:6s} valid {told['valid']!s:5s} {told['claim']} {codes}"
        )
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", type=Path)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    raise SystemExit(main(arguments.reader, arguments.flips, arguments.repeat) > 0)
