"""Parts of a user's own, read from files before a command runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from sparsecore.errors import ConfigError

__all__ = ["read_parts"]


def read_parts(path: Path) -> None:
    """Run a Python file that registers parts.

    Parameters
    ----------
    path : path
        A file such as those of [extending](../extending.md).

    Raises
    ------
    ConfigError
        If it is no Python file, or fails.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ConfigError(f"Expected a Python file that registers parts. Got {path}. Correct --parts.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where dataclasses and pickle look for it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's own file raises
        raise ConfigError(f"Expected {path} to register parts. Got {type(error).__name__}: {error}.") from error
