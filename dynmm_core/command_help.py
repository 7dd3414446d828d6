"""What commands that are imported when they run say of themselves, without importing them."""

import ast
from functools import cache
from pathlib import Path


def help_of(command: str) -> str:
    """Return what the docstring of ``module:function`` says above its parameters."""
    module, name = command.split(":")
    functions = (node for node in _parsed(module).body if isinstance(node, ast.FunctionDef))
    found = next(function for function in functions if function.name == name)
    return (ast.get_docstring(found) or "").partition("\n\nParameters\n")[0]


@cache
def _parsed(module: str) -> ast.Module:
    # Asking the import system where a module lies would import the package around it.
    return ast.parse(Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py").read_bytes())
