"""The rooms of the house: what may import what."""

import ast
from collections.abc import Iterator

import pytest

from vetrina.settings import REPOSITORY

ABOVE = {
    "vetrina": {"resources", "assets", "orchestration", "web", "dagster"},
    "resources": {"assets", "orchestration", "web"},
    "assets": {"orchestration", "web"},
    "web": {"resources", "assets", "orchestration", "dagster"},
}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("room", ABOVE)
def test_nothing_imports_upward(room: str) -> None:
    modules = sorted((REPOSITORY / room).rglob("*.py"))
    assert len(modules) > 3
    found = {
        (str(module.relative_to(REPOSITORY)), name)
        for module in modules
        for name in _imports(ast.parse(module.read_text()))
        if name.partition(".")[0] in ABOVE[room]
    }
    assert found == set()
