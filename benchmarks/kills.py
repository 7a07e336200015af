"""Kill a chunked job again and again: whatever is resumed must end in the bytes of an undisturbed run.

    python benchmarks/kills.py --source PHOTO [--kills 100] CLIP

SIGKILL after a random share of an undisturbed run's time, the same job started again, until it ends by itself; then the
output is compared and all of it is removed and begun anew, until that many kills have been dealt.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from mien import analysis
from mien.provenance import sha256

CHUNK = 8
PROGRAM = f"""
import sys
from pathlib import Path
from mien.jobs import Job
photo, clip, record, out = map(Path, sys.argv[1:])
Job(target=clip, out=out, source=(photo,), analysis=record, overwrite=True, chunk={CHUNK}).run()
"""


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """The job in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])


def main(photo: Path, clip: Path, kills: int, seed: int) -> int:
    """Deal the kills; returns how many finished outputs differed."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = folder / "record.parquet"
        analysis.run(clip, record)
        whole = folder / "whole.mp4"
        begun = perf_counter()
        assert start([*map(str, (photo, clip, record, whole))]).wait() == 0
        seconds, wanted = perf_counter() - begun, sha256(whole)
        dealt = finished = wrong = 0
        out = folder / "out.mp4"
        while dealt < kills:
            job = start([*map(str, (photo, clip, record, out))])
            try:
                status = job.wait(timeout=draw.uniform(0.15, 1.1) * seconds)
                assert status == 0, f"a resumed job ended with status {status}"
                finished, wrong = finished + 1, wrong + (sha256(out) != wanted)
                out.unlink()
            except subprocess.TimeoutExpired:
                job.send_signal(signal.SIGKILL)
                job.wait()
                dealt += 1
                if out.exists():  # killed after the last step, while the process was on its way out
                    finished, wrong = finished + 1, wrong + (sha256(out) != wanted)
                    out.unlink()
        job = start([*map(str, (photo, clip, record, out))])
        assert job.wait() == 0
        finished, wrong = finished + 1, wrong + (sha256(out) != wanted)
        left = sorted(
            p.name for p in folder.iterdir() if p.name.startswith("out") and p.suffix in (".part", ".mien", ".signed")
        )
        print(f"{dealt} kills, {finished} finished outputs, {wrong} differed; left behind: {left or 'nothing'}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.source, arguments.clip, arguments.kills, arguments.seed) > 0)
