"""The house has floors: a module imports from lower floors only, and the imports are what counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/mien"
LADDER = (
    "types errors",
    "geometry image weights provenance lists raster trust parallel phases",
    "nets compose video picture chunks losses augment",
    "faces cast train",
    "per_person pack",
    "sae oneshot",
    "systems",
    "analysis rendering",
    "clip evaluate guard faceset",
    "choice data",
    "jobs preview pairs",
    "watch",
    "runs",
    "export",
    "demo doctor inspect verify compare",
    "cli",
)
FLOORS = {unit: floor for floor, units in enumerate(LADDER) for unit in units.split()}


def _modules() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every module with its name below `mien`, say ("faces", "align"); a package is its folder's name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield path, parts[:-1] if parts[-1] == "__init__" else parts


def _imports(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """What is imported of ours, anywhere in the module, as names below `mien`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute, so that they can be read"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.split(".")[0] == "mien")


def _breach(importer: tuple[str, ...], imported: tuple[str, ...]) -> str | None:
    """What is wrong with this import, if anything."""
    mine, theirs = importer[0], imported[0]
    if theirs.startswith("__"):
        return None  # mien.__version__
    sibling = len(importer) > 1 and len(imported) > 1 and importer[1] != imported[1]
    if mine == theirs == "systems" and sibling and (PACKAGE / "systems" / f"{imported[1]}.py").exists():
        return "a system imports another system"
    if mine != theirs and FLOORS[theirs] >= FLOORS[mine]:
        return f"floor {FLOORS[mine]} imports from floor {FLOORS[theirs]}"
    return None


def test_every_module_is_on_the_ladder() -> None:
    assert {name[0] for _, name in _modules() if name} <= set(FLOORS)


def test_imports_go_down() -> None:
    breaches = [
        f"{'.'.join(importer)} -> {'.'.join(imported)}: {breach}"
        for path, importer in _modules()
        if importer  # the package itself stands on the roof and exports lazily
        for imported in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if (breach := _breach(importer, imported))
    ]
    assert not breaches, "\n".join(breaches)


def test_a_breach_is_found() -> None:
    source = "def f():\n    from mien.rendering import x\nimport mien.types\nfrom mien import compose\nimport torch\n"
    assert list(_imports(ast.parse(source))) == [("types",), ("compose",), ("rendering", "x")]
    assert _breach(("faces", "align"), ("rendering", "x"))
    assert _breach(("image",), ("geometry",)), "sideways"
    assert _breach(("systems", "library"), ("systems", "warp"))
    assert not _breach(("systems", "warp"), ("systems", "AbstractSystem"))
    assert not _breach(("faces", "align"), ("faces", "topology"))
    assert not _breach(("cli",), ("errors", "MienError"))
