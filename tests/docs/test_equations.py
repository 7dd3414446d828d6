"""docs/equations.md and the docstrings agree, both ways."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| Eq\. \((\d)\) \|[^|]*\| `([\w.]+)` \| `([^`]+)` \|", re.MULTILINE)
MARK = re.compile(r"``Paper: Eq\. \((\d)\)``")


def documented() -> set[tuple[str, str]]:
    return {(match[1], match[2]) for match in ROW.finditer((ROOT / "docs/equations.md").read_text())}


def marked() -> set[tuple[str, str]]:
    found = set()
    for file in (ROOT / "dynmm_core").rglob("*.py"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for number in MARK.findall(ast.get_docstring(node) or ""):
                    found.add((number, f"{module}.{node.name}"))
    return found


def test_every_row_names_a_docstring_and_every_docstring_has_a_row() -> None:
    assert documented() == marked()
    assert documented()


def test_every_named_test_exists() -> None:
    for match in ROW.finditer((ROOT / "docs/equations.md").read_text()):
        file, name = match[3].split("::")
        assert f"def {name}(" in (ROOT / file).read_text(), match[3]
