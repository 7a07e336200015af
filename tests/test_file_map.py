"""The README ends in a map of every file; it must be the tree's.

The map is the fenced block under `## File map`. A line is a path, two or more spaces, and what the file is for. A path
that ends in `/` is a folder; deeper-indented lines below it are inside it, and without any it stands for all it holds.
`*` stands for any name.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^(?P<indent> *)(?P<path>\S+)(?:  +(?P<purpose>\S.*))?$")


def parse(block: str) -> tuple[list[str], list[str]]:
    """The patterns of the map, and the lines without a purpose."""
    folders: list[tuple[int, str]] = []
    patterns: list[str] = []
    bare: list[str] = []
    for line in block.splitlines():
        if not line.strip():
            continue
        match = LINE.match(line)
        assert match, f"not `path  purpose`: {line!r}"
        indent = len(match["indent"])
        while folders and folders[-1][0] >= indent:
            folders.pop()
        path = (folders[-1][1] if folders else "") + match["path"]
        if folders and patterns and patterns[-1] == folders[-1][1]:
            patterns.pop()  # the folder's own line: what is in it is listed
        patterns.append(path)
        if path.endswith("/"):
            folders.append((indent, path))
        if not match["purpose"]:
            bare.append(line.strip())
    return patterns, bare


def covers(pattern: str, file: str) -> bool:
    """Whether the pattern stands for the file; a `*` does not reach into folders."""
    if pattern.endswith("/"):
        depth = pattern.count("/")
        return fnmatch.fnmatchcase("/".join(file.split("/")[:depth]) + "/", pattern) and file.count("/") >= depth
    return file.count("/") == pattern.count("/") and fnmatch.fnmatchcase(file, pattern)


def _map() -> tuple[list[str], list[str]]:
    match = re.search(r"^## File map\n.*?^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert match, "README.md has no fenced block under `## File map`"
    return parse(match[1])


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of tracked files")
    return listed.stdout.splitlines()


def test_every_file_is_on_the_map() -> None:
    patterns, _ = _map()
    assert not [file for file in _tracked() if not any(covers(pattern, file) for pattern in patterns)]


def test_everything_on_the_map_is_there() -> None:
    patterns, bare = _map()
    files = _tracked()
    assert not [pattern for pattern in patterns if not any(covers(pattern, file) for file in files)]
    assert not bare, "lines that do not say what the file is for"


def test_the_map_is_read_rightly() -> None:
    block = "README.md  this\nsrc/a/  code\n  b.py  one\n  *.txt  texts\n  c/  all of it\ntests/  tests\nMakefile\n"
    patterns, bare = parse(block)
    assert patterns == ["README.md", "src/a/b.py", "src/a/*.txt", "src/a/c/", "tests/", "Makefile"]
    assert bare == ["Makefile"]
    assert covers("src/a/*.txt", "src/a/x.txt")
    assert not covers("src/a/*.txt", "src/a/c/x.txt")
    assert covers("tests/", "tests/deep/down.py")
    assert not covers("src/a/c/", "src/a/b.py")
