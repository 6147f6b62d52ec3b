"""The command line. Commands import what they need when they run, so that help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flightworthy.cli.audit_commands import audit, witness
from flightworthy.cli.backfill import backfill
from flightworthy.cli.people_commands import person
from flightworthy.cli.rollout_commands import rollout
from flightworthy.cli.stream_commands import envoy, stream

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Takes an enterprise AI pilot to production with the evidence.")
quarantine = typer.Typer(no_args_is_help=True, help="Records that could not be decided: look, repair, retry, discard.")
model = typer.Typer(no_args_is_help=True, help="Versions of the model: list, make another one champion.")
app.add_typer(quarantine, name="quarantine")
app.add_typer(model, name="model")
key = typer.Typer(no_args_is_help=True, help="Who may call the service: make, list, revoke keys.")
app.add_typer(key, name="key")
ledger = typer.Typer(no_args_is_help=True, help="The store of decisions.")
app.add_typer(ledger, name="ledger")
app.add_typer(person, name="person")
app.add_typer(audit, name="audit")
app.add_typer(rollout, name="rollout")
app.add_typer(witness, name="witness")
app.command()(stream)
app.command()(envoy)
app.command()(backfill)

PilotArg = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
Var = Annotated[Path | None, typer.Option("--var", help="Folder for variable data (default: var/ in the pilot).")]
Data = Annotated[str, typer.Option("--data", help="File or URL with events: .ndjson, .csv, .parquet.")]
DataOrNone = Annotated[str | None, typer.Option("--data", help="File or URL with events: .ndjson, .csv, .parquet.")]
History = Annotated[str | None, typer.Option("--history", help="File with the past: remembered by the features, not decided.")]
Outcomes = Annotated[str | None, typer.Option("--outcomes", help="File with outcomes, when they are not in the data.")]
At = Annotated[str | None, typer.Option("--at", help="RFC 3339 instant (default: the newest event).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RecordId = Annotated[int, typer.Argument(help="Id from the list.")]
OneOrAll = Annotated[int | None, typer.Argument(help="Id; none: all that are held.")]
Repaired = Annotated[Path | None, typer.Option("--with", help="File with the repaired record.")]
Resume = Annotated[bool, typer.Option(help="Go on where these same files were left.")]
OwnData = Annotated[str | None, typer.Option("--data", help="Your own file with labels, instead of the simulator.")]
EventsUrl = Annotated[str, typer.Option("--events", help="Through this topic and a worker, such as kafka://host:9092/demo.")]
LedgerUrl = Annotated[str, typer.Option("--ledger", help="Instead of the embedded ledger, such as postgresql://…")]
StateUrl = Annotated[str, typer.Option("--state", help="Instead of the process's own feature state, such as redis://…")]
Out = Annotated[Path | None, typer.Option("--out", help="Where to write (default: out/demo/NAME).")]


@app.command()
def version() -> None:
    """Print the version."""
    from flightworthy import __version__

    typer.echo(__version__)


@app.command()
def new(folder: Annotated[Path, typer.Argument(help="Folder to make; its name becomes the pilot's.")]) -> None:
    """Make a pilot that runs: a manifest to edit, and a simulator for its data."""
    from flightworthy.cli import pilots

    pilots.new(folder)


@app.command()
def check(pilot: PilotArg) -> None:
    """Check a manifest: every mistake at once, with its place."""
    from flightworthy.cli import pilots

    pilots.check(pilot)


@app.command()
def explain(pilot: PilotArg) -> None:
    """Say in plain words what a pilot will do."""
    from flightworthy.cli import pilots

    pilots.explain(pilot)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a manifest, for editors."""
    from flightworthy.cli import pilots

    pilots.schema()


@app.command()
def train(pilot: PilotArg, data: Data, outcomes: Outcomes = None, var: Var = None, at: At = None,
          challenger: Annotated[bool, typer.Option("--challenger", help="For a rollout; the champion stays.")] = False) -> None:
    """Train the pilot's model on a history and make it champion."""
    from flightworthy.cli import run

    run.train(pilot, data, outcomes, var, at, not challenger)


@app.command()
def decide(pilot: PilotArg, data: DataOrNone = None, outcomes: Outcomes = None, history: History = None, var: Var = None,
           resume: Resume = True, watch: Annotated[bool, typer.Option(
               "--watch", help="After each batch act on the gates of a rollout.")] = False) -> None:
    """Decide a file of events, in order, with outcomes as they become known; everything goes to the ledger."""
    from flightworthy.cli import run

    run.decide(pilot, data, outcomes, history, var, resume, watch)


@app.command()
def value(pilot: PilotArg, var: Var = None, at: At = None, as_json: AsJson = False,
          monthly: Annotated[bool, typer.Option("--monthly", help="A line for each month, too.")] = False) -> None:
    """What the pilot earned: against the holdout, against the baseline, and what is still unknown."""
    from flightworthy.cli import value as does

    does.value(pilot, var, at, monthly, as_json)


@app.command()
def replay(pilot: PilotArg, var: Var = None, as_json: AsJson = False,
           model: Annotated[str, typer.Option("--model", help="Ask this one instead: the beginning of its digest.")] = "",
           since: Annotated[str | None, typer.Option("--since", help="RFC 3339 instant; with --model.")] = None,
           until: Annotated[str | None, typer.Option("--until", help="RFC 3339 instant; with --model.")] = None) -> None:
    """Recompute every decision of the ledger and report bits that differ (exit code 1 when there are any); or say what another
    model would have decided, and what that would have been worth."""
    from flightworthy.cli import run, whatif

    if model:
        whatif.what_if(pilot, var, as_json, model, (since, until))
    else:
        run.replay(pilot, var, as_json)


@app.command()
def demo(name: Annotated[str, typer.Argument(help="Built-in pilot, or the folder of one with a simulator.")] = "fraud",
         data: OwnData = None, out: Out = None, seed: Annotated[int, typer.Option(help="Seed of the simulator.")] = 7,
         events: EventsUrl = "", ledger: LedgerUrl = "", state: StateUrl = "") -> None:
    """The whole way: data, training, decisions, outcomes, value, replay, and a report to open in a browser."""
    from flightworthy.cli import demo as story
    from flightworthy.delivery.elsewhere import Elsewhere

    story.demo(name, data, out, seed, Elsewhere(events, ledger, state))


@app.command()
def serve(pilot: PilotArg, var: Var = None, host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
          port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
          shards: Annotated[int, typer.Option(help="Processes that decide, each its share of the entities.", min=1, max=64)] = 1,
          notice: Annotated[str, typer.Option(help="How long callers are still answered after SIGTERM.")] = "2s",
          certificate: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
          private_key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None) -> None:
    """Decide events over HTTP; every answer is durable before it leaves."""
    from flightworthy.cli import service

    service.serve(pilot, var, (host, port), (certificate, private_key), shards, notice)


@app.command("kill-switch")
def kill_switch(url: Annotated[str, typer.Argument(help="Address of the running service.")],
                on: Annotated[bool | None, typer.Option("--on/--off", help="Turn it; without either, only read it.")] = None,
                why: Annotated[str, typer.Option(help="Reason, for the ledger.")] = "") -> None:
    """Send everything to the baseline at once, or end that; audited. The key is read from FLIGHTWORTHY_KEY."""
    from flightworthy.cli import service

    service.kill_switch(url, on, why)


@app.command()
def reload(url: Annotated[str, typer.Argument(help="Address of the running service.")],
           why: Annotated[str, typer.Option(help="Reason, for the ledger.")]) -> None:
    """Read manifest and models again, without dropping a request; a version that does not hold is refused."""
    from flightworthy.cli import service

    service.reload(url, why)


@key.command("new")
def key_new(pilot: PilotArg, role: Annotated[list[str], typer.Option(help="decide, observe, operate, approve; repeatable.")],
            lasts: Annotated[str, typer.Option(help="Until it expires.")] = "90d",
            note: Annotated[str, typer.Option(help="Who it is for.")] = "", var: Var = None) -> None:
    """Make a key and print it, this once."""
    from flightworthy.cli import service

    service.key_new(pilot, var, role, lasts, note)


@key.command("list")
def key_list(pilot: PilotArg, var: Var = None) -> None:
    """Keys with their roles and ends, without their secrets."""
    from flightworthy.cli import service

    service.key_list(pilot, var)


@key.command("rotate")
def key_rotate(pilot: PilotArg, name: Annotated[str, typer.Argument(help="Id from the list.")],
               overlap: Annotated[str, typer.Option(help="How long the old one is still good.")] = "1h", var: Var = None) -> None:
    """Make a key that takes another one's place, and print it, this once."""
    from flightworthy.cli import service

    service.key_rotate(pilot, var, name, overlap)


@key.command("revoke")
def key_revoke(pilot: PilotArg, name: Annotated[str, typer.Argument(help="Id from the list.")], var: Var = None) -> None:
    """Make a key useless; a running service notices with its next request."""
    from flightworthy.cli import service

    service.key_revoke(pilot, var, name)


@quarantine.command("list")
def quarantine_list(pilot: PilotArg, var: Var = None, status: str = "held", limit: int = 20, after: int = 0) -> None:
    """Counts by reason, then records."""
    from flightworthy.cli import held

    held.listing(pilot, var, status, limit, after)


@quarantine.command("show")
def quarantine_show(pilot: PilotArg, record: RecordId, var: Var = None) -> None:
    """One record: reason, field, and its raw bytes."""
    from flightworthy.cli import held

    held.show(pilot, var, record)


@quarantine.command("retry")
def quarantine_retry(pilot: PilotArg, record: OneOrAll = None, repaired: Repaired = None, var: Var = None) -> None:
    """Decide held records again, after the contract or (with --with) the record was repaired."""
    from flightworthy.cli import held

    held.retry(pilot, var, record, repaired)


@quarantine.command("discard")
def quarantine_discard(pilot: PilotArg, record: RecordId, var: Var = None) -> None:
    """Settle a held record that shall never be decided; its bytes and its reason are kept."""
    from flightworthy.cli import held

    held.discard(pilot, var, record)


@ledger.command("move")
def ledger_move(pilot: PilotArg, url: Annotated[str, typer.Argument(help="Where to, such as postgresql://user@host/db?schema=x.")],
                var: Var = None) -> None:
    """Copy the ledger to another store, proofs intact; stop the pilot before, change adapters.ledger after."""
    from flightworthy.cli import ledger as does

    does.move(pilot, var, url)


@ledger.command("expire")
def ledger_expire(pilot: PilotArg, var: Var = None) -> None:
    """Let records go that are older than the manifest's retention; leaves and proofs stay. The pilot must rest."""
    from flightworthy.cli import ledger as does

    does.expire(pilot, var)


@ledger.command("rewrap")
def ledger_rewrap(pilot: PilotArg, var: Var = None) -> None:
    """Put all people's keys under a new wrapping key and destroy the old one: backups lose what was erased since. The pilot must
    rest."""
    from flightworthy.cli import ledger as does

    does.rewrap(pilot, var)


@model.command("list")
def model_list(pilot: PilotArg, var: Var = None) -> None:
    """Champions, newest first."""
    from flightworthy.cli import run

    run.models(pilot, var)


@model.command("rollback")
def model_rollback(pilot: PilotArg, var: Var = None) -> None:
    """Make the previous champion champion again."""
    from flightworthy.cli import run

    run.rollback(pilot, var)


def main() -> None:
    """Entry point: errors raised on purpose become one clear message and exit code 2."""
    from flightworthy.ground.errors import FlightworthyError

    try:
        app()
    except FlightworthyError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
