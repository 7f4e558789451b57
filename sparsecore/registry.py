"""One small registry per kind of part, so that a new part is found by tests and CLI just by existing."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sparsecore.errors import ConfigError, UnknownNameError

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])

__all__ = ["Entry", "Registry", "named_options"]


@dataclass(frozen=True)
class Entry:
    """What the registry knows about one part.

    Attributes
    ----------
    name : str
        Name used in configs and on the command line.
    factory : callable
        Class or function that builds the part.
    summary : str
        First line of its docstring.
    paper : str
        Where it was published.
    equation : str
        The formula, in one line.
    """

    name: str
    factory: Callable[..., Any]
    summary: str
    paper: str
    equation: str


class Registry(Generic[T]):
    """Name → part of one kind.

    Parameters
    ----------
    kind : str
        What the parts are, e.g. ``"predictor"``; used in error messages.

    Examples
    --------
    >>> schedules = Registry[object]("schedule")
    >>> @schedules.register("zero", paper="-", equation="0")
    ... class Zero:
    ...     '''Always zero.'''
    >>> schedules.names()
    ('zero',)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, *, paper: str, equation: str) -> Callable[[C], C]:
        """Return a decorator that adds a class or function under `name`.

        Raises
        ------
        ConfigError
            If the name is taken or the part has no docstring.
        """

        def add(factory: C) -> C:
            if name in self._entries:
                raise ConfigError(f"Expected a free {self.kind} name. Got {name!r}, which is taken. Choose another.")
            doc = (factory.__doc__ or "").strip()
            if not doc:
                raise ConfigError(f"Expected a docstring on {self.kind} {name!r}. Got none. Its first line is shown.")
            self._entries[name] = Entry(name, factory, doc.splitlines()[0], paper, equation)
            return factory

        return add

    def entry(self, name: str) -> Entry:
        """Return what is known about `name`; raises `UnknownNameError` with the nearest match."""
        if not isinstance(name, str) or name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def get(self, name: str, **options: Any) -> T:
        """Build the part called `name` with `options` (defaults elsewhere).

        Raises
        ------
        UnknownNameError
            If nothing of that name is registered.
        ConfigError
            If an option does not exist.
        """
        factory = self.entry(name).factory
        if dataclasses.is_dataclass(factory):
            known = {field.name for field in dataclasses.fields(factory) if field.init}
            for option in options:
                if option not in known:
                    have = ", ".join(sorted(known)) or "none"
                    raise ConfigError(f"Expected options of {self.kind} {name!r} among: {have}. Got {option!r}.")
        try:
            inspect.signature(factory).bind(**options)
        except TypeError as error:
            raise ConfigError(f"Expected options that {self.kind} {name!r} takes. Got others: {error}.") from None
        part: T = factory(**options)
        return part

    def build(self, text: str, **options: Any) -> T:
        """Build the part that a line of text names: ``name`` or ``name:option=value,option=value``.

        Values are read as Python literals where they are, else as text. `options` give way to those in the text.

        Raises
        ------
        UnknownNameError
            If nothing of that name is registered.
        ConfigError
            If an option does not exist or is not written as ``option=value``.

        Examples
        --------
        >>> parts = Registry[object]("part")
        >>> @parts.register("pair", paper="-", equation="-")
        ... @dataclass(frozen=True)
        ... class Pair:
        ...     '''Two numbers.'''
        ...     one: int = 1
        ...     two: str = "b"
        >>> parts.build("pair:one=3,two=c")
        Pair(one=3, two='c')
        """
        name, given = named_options(self.kind, text)
        return self.get(name, **{**options, **given})

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over entries in order of name."""
        return iter(self._entries[name] for name in self.names())

    def __contains__(self, name: object) -> bool:
        """Tell whether `name` is registered."""
        return name in self._entries


def named_options(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options in ``name:option=value,option=value``; see `Registry.build`.

    Examples
    --------
    >>> named_options("generator", "brf:r=0.25,degrees=uniform")
    ('brf', {'r': 0.25, 'degrees': 'uniform'})
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        option, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not option:
            raise ConfigError(f"Expected {kind} options as {name}:option=value,... Got {text!r}.")
        try:
            options[option] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            options[option] = value
    return name, options
