"""The commands under ``flightworthy rollout``; they import what they need when they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

rollout = typer.Typer(no_args_is_help=True, help="A challenger beside the champion: give it a growing share, promote or end it.")
Target = Annotated[str, typer.Argument(help="Folder of a pilot that rests, or the http:// address of its running service.")]
Why = Annotated[str, typer.Option(help="Reason, for the ledger.")]
Var = Annotated[Path | None, typer.Option("--var", help="Folder for variable data (default: var/ in the pilot).")]
PilotArg = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
ModelOption = Annotated[str, typer.Option("--model", help="The challenger: the beginning of its digest, see `model list`.")]


@rollout.command("start")
def start(target: Target, model: ModelOption, why: Why, var: Var = None) -> None:
    """Give the first share of traffic to a stored model."""
    from flightworthy.cli import rollout as does

    does.step(target, "start", why, var, model)


def _step(name: str, does: str) -> Callable[..., None]:
    def command(target: Target, why: Why, var: Var = None) -> None:
        from flightworthy.cli import rollout as module

        module.step(target, name, why, var)

    command.__doc__ = does
    return command


for _name, _does in (("advance", "Give the challenger the share of the next stage; who has it keeps it."),
                     ("hold", "Stay at this stage until it is resumed."),
                     ("resume", "End a hold."),
                     ("abort", "Send everybody back to the champion at once."),
                     ("promote", "After the last stage: make the challenger champion, and the champion the previous one.")):
    rollout.command(_name)(_step(_name, _does))


@rollout.command("approve")
def approve(target: Target, number: Annotated[int, typer.Argument(help="Of the rollout, see `rollout status`.")], why: Why,
            var: Var = None) -> None:
    """Approve of a rollout's promotion; of a service with a key of the role approve."""
    from flightworthy.cli import rollout as does

    does.approve(target, number, why, var)


@rollout.command("watch")
def watch(pilot: PilotArg, service: Annotated[str, typer.Option("--service", help="Address of the running service.")],
          every: Annotated[str, typer.Option(help="Time from one look to the next.")] = "1s", var: Var = None) -> None:
    """Roll back as soon as the challenger is worse, go on where the manifest lets it; ends with the rollout."""
    from flightworthy.cli import rollout as does

    does.watch(pilot, service, every, var)


@rollout.command("status")
def status(target: Target, var: Var = None) -> None:
    """Where the rollout stands, for each shard."""
    from flightworthy.cli import rollout as does

    does.status(target, var)


@rollout.command("simulate")
def simulate(pilot: PilotArg, tries: Annotated[int, typer.Option(min=10, max=10_000, help="Rollouts of each challenger.")] = 50,
             days: Annotated[int, typer.Option(min=1, max=3650, help="Days after which one is undecided.")] = 120,
             seed: Annotated[int, typer.Option(help="Of the draws.")] = 1, var: Var = None,
             as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Before starting one: how long it would take with this pilot's traffic, what it would catch, and what that would cost."""
    from flightworthy.cli import simulate as does

    does.simulate(pilot, tries, days, seed, var, as_json)


@rollout.command("history")
def history(pilot: PilotArg, var: Var = None,
            as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every step of every rollout, with who took it and why."""
    from flightworthy.cli import rollout as does

    does.history(pilot, var, as_json)
