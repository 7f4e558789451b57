"""Options of ``train`` that replace parts of a method's rule, as the plain values that a run is built from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sparsecore.errors import ConfigError

__all__ = [
    "Amount",
    "DensitySchedule",
    "EarlyStop",
    "Fresh",
    "GrowthSelection",
    "Percolate",
    "Prune",
    "Redistribution",
    "RemovalSelection",
    "Temperature",
    "rule_changes",
]


def _part(names: str, help_text: str) -> Any:
    return typer.Option(names, help=help_text, show_default=False, rich_help_panel="Parts in place of the method's own")


_SCHEDULE = "NAME:START:END or NAME:START:END:SHARE of the run"
RemovalSelection = Annotated[str | None, _part("--removal-selection", "Selection of the links that stay: top or soft.")]
GrowthSelection = Annotated[
    str | None, _part("--growth-selection", "Selection of new links: top, top:subrank=spcorr, soft.")
]
Temperature = Annotated[
    str | None, _part("--temperature", f"Temperature of soft removal: a number, or {_SCHEDULE}, as odds:0.5:0.9.")
]
DensitySchedule = Annotated[
    str | None,
    _part("--density-schedule", "Schedule from --density-start to --density: NAME or NAME:SHARE, as cubic:0.75."),
]
Prune = Annotated[str | None, _part("--prune", "Removal by which a falling density prunes.")]
Fresh = Annotated[str | None, _part("--fresh", "Value of new links: zero, swi or history.")]
EarlyStop = Annotated[
    str | None, _part("--early-stop", "Overlap of removed and new links that freezes a layer, or never.")
]
Percolate = Annotated[
    bool | None, _part("--percolate/--no-percolate", "Remove the links of inactive neurons before regrowth.")
]
Amount = Annotated[str | None, _part("--amount", "How many links go: fraction, threshold, unimportant, outranked.")]
Redistribution = Annotated[str | None, _part("--redistribution", "Which layers get new links: survivors or momentum.")]


def rule_changes(
    *,
    density_start: float,
    density: float,
    temperature: str | None,
    density_schedule: str | None,
    early_stop: str | None,
    **parts: str | bool | None,
) -> dict[str, Any]:
    """Return the fields of the rule that the user has chosen.

    Parameters
    ----------
    density_start, density : float
        Ends of a density schedule.
    temperature, density_schedule, early_stop : str, optional
        As typed.
    **parts
        Fields that are taken as they are; ``None`` leaves the method's own.

    Raises
    ------
    ConfigError
        If something is not written as it should be.
    """
    changes: dict[str, Any] = {name: value for name, value in parts.items() if value is not None}
    if temperature is not None:
        name, *numbers = temperature.split(":")
        if numbers:
            ends = [_number("temperature", text, temperature) for text in numbers]
            if len(ends) not in (2, 3):
                raise ConfigError(f"Expected temperature as a number or {_SCHEDULE}. Got {temperature!r}.")
            changes["temperature"] = [name, *ends]
        else:
            changes["temperature"] = _number("temperature", name, temperature)
    if density_schedule is not None:
        name, *share = density_schedule.split(":")
        shares = [_number("density-schedule", text, density_schedule) for text in share[:1]]
        changes["density"] = [name, density_start, density, *shares]
    if early_stop is not None:
        changes["early_stop"] = None if early_stop == "never" else _number("early-stop", early_stop, early_stop)
    return changes


def _number(option: str, text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"Expected numbers in --{option}. Got {whole!r}.") from None
