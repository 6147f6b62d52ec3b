"""The commands under ``flightworthy person``; they import what they need when they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

person = typer.Typer(no_args_is_help=True, help="What people may ask for: consent, erasure, what is kept; legal holds.")
Target = Annotated[str, typer.Argument(help="Folder of a pilot that rests, or the http:// address of its running service.")]
Names = Annotated[list[str], typer.Argument(help="As they stand in the events.")]
Why = Annotated[str, typer.Option(help="Reason, for the ledger.")]
Var = Annotated[Path | None, typer.Option("--var", help="Folder for variable data (default: var/ in the pilot).")]
NamesFrom = Annotated[Path | None, typer.Option("--from", help="File with a name on each line.")]


def _act(act: str, does: str) -> Callable[..., None]:
    def command(target: Target, why: Why, names: Names = [], names_from: NamesFrom = None, var: Var = None) -> None:  # noqa: B006
        from flightworthy.cli import people

        people.ask(target, act, names, names_from, why, var)

    command.__doc__ = does
    return command


for _name, _does in (("consent", "Note that people agree to be decided about, for the manifest's purpose."),
                     ("withdraw", "Note that people no longer agree."),
                     ("erase", "Destroy the keys of people: what is sealed about them can never be read again."),
                     ("hold", "Keep all records of people, whatever rule or wish says otherwise."),
                     ("release", "End a hold.")):
    person.command(_name)(_act(_name, _does))


@person.command("show")
def show(pilot: Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")],
         name: Annotated[str, typer.Argument(help="As it stands in the events.")], var: Var = None) -> None:
    """Print everything the ledger keeps about a person, opened, as lines of JSON."""
    from flightworthy.cli import people

    people.show(pilot, name, var)
