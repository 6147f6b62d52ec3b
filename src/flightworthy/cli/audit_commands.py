"""The commands under ``flightworthy audit``; they import what they need when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

audit = typer.Typer(no_args_is_help=True, help="What was decided, provably: verify, prove, check, what was live when.")
PilotArg = Annotated[Path, typer.Argument(help="Folder of the pilot, or its pilot.yaml.")]
Var = Annotated[Path | None, typer.Option("--var", help="Folder for variable data (default: var/ in the pilot).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="File that says which logs and witnesses to trust.")]


@audit.command()
def verify(pilot: PilotArg, var: Var = None, policy: PolicyFile = None,
           first: Annotated[int, typer.Option("--from", min=1, help="Number of the first entry to look at.")] = 1,
           kept: Annotated[list[Path], typer.Option(help="A checkpoint you put aside; repeatable.")] = [],  # noqa: B006
           as_json: AsJson = False) -> None:
    """Check every entry, the tree, all checkpoints and the index. Exit code 1 when anything is wrong."""
    from flightworthy.cli import audit as does

    does.verify(pilot, var, policy, first, kept, as_json)


@audit.command()
def prove(pilot: PilotArg, decision: Annotated[str, typer.Argument(help="The event's id, or the number of an entry.")],
          out: Annotated[Path | None, typer.Option(help="The file to write (default: ID.tlog-proof).")] = None,
          unseal: Annotated[bool, typer.Option("--unseal", help="Show what is sealed in it, for whoever may see it.")] = False,
          var: Var = None) -> None:
    """Write a file that proves one decision to anyone, and a certificate in words beside it."""
    from flightworthy.cli import audit as does

    does.prove(pilot, var, decision, out, unseal)


@audit.command()
def check(file: Annotated[Path, typer.Argument(help="A .tlog-proof file.")], policy: PolicyFile = None,
          key: Annotated[list[str], typer.Option(help="Key of a log to trust; repeatable.")] = []) -> None:  # noqa: B006
    """Check a proof offline: needs the file and the keys you trust, neither pilot nor service."""
    from flightworthy.cli import audit as does

    does.check(file, policy, key)


@audit.command()
def export(pilot: PilotArg, to: Annotated[str, typer.Argument(help="A new folder, hec+https://host:8088 or syslog+tls://host:6514.")],
           first: Annotated[int, typer.Option("--from", min=1, help="Number of the first entry; for folders.")] = 1,
           form: Annotated[str, typer.Option("--format", help="ndjson or parquet; for folders.")] = "ndjson",
           follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes; for receivers.")] = False,
           var: Var = None) -> None:
    """Send entries elsewhere, as stored: what is private stays sealed. A folder proves itself; a receiver gets each entry once or
    more, in order, and the next call goes on where it was."""
    from flightworthy.cli import export as does

    does.export(pilot, var, to, first, form, follow)


@audit.command("check-export")
def check_export(folder: Annotated[Path, typer.Argument(help="A folder made by export.")], policy: PolicyFile = None,
                 key: Annotated[list[str], typer.Option(help="Key of a log to trust; repeatable.")] = []) -> None:  # noqa: B006
    """Check a folder offline: every entry is there, unchanged, in order, under a signed checkpoint."""
    from flightworthy.cli import export as does

    does.check(folder, policy, key)


@audit.command()
def report(pilot: PilotArg, var: Var = None, policy: PolicyFile = None,
           since: Annotated[str | None, typer.Option(help="RFC 3339 instant (default: the beginning).")] = None,
           until: Annotated[str | None, typer.Option(help="RFC 3339 instant (default: now).")] = None,
           out: Annotated[Path | None, typer.Option(help="File to write (default: the terminal).")] = None) -> None:
    """Evidence per article: GDPR, HIPAA, AI Act; each line with what stays with the owner. The ledger is verified on the way."""
    from flightworthy.cli import compliance as does

    does.report(pilot, var, policy, since, until, out)


@audit.command()
def log(pilot: PilotArg, var: Var = None, as_json: AsJson = False) -> None:
    """What was live when: manifests, models, and everything that was done, by time."""
    from flightworthy.cli import audit as does

    does.log(pilot, var, as_json)


@audit.command()
def publish(pilot: PilotArg, folder: Annotated[Path, typer.Argument(help="Folder to write to.")], var: Var = None) -> None:
    """Write the log as static files (tlog-tiles) for any web server; again: only what is new."""
    from flightworthy.cli import audit as does

    does.publish(pilot, var, folder)


@audit.command()
def key(pilot: PilotArg, rotate: Annotated[bool, typer.Option("--rotate", help="Put a new key in front.")] = False,
        var: Var = None) -> None:
    """Print the public key of the log as a line of a policy."""
    from flightworthy.cli import audit as does

    does.key(pilot, var, rotate)


witness = typer.Typer(no_args_is_help=True, help="Watch over logs of others: sign that they only grow.")
Folder = Annotated[Path, typer.Argument(help="Folder for the witness's key and what it has seen.")]


@witness.command("key")
def witness_key(folder: Folder, name: Annotated[str, typer.Option(help="Name of a new witness, like a URL without scheme.")] = "",
                ) -> None:
    """Print the witness's public key as a line of a policy; make it where there is none."""
    from flightworthy.cli import witness as does

    does.key(folder, name)


@witness.command("serve")
def witness_serve(folder: Folder, policy: Annotated[Path, typer.Option(help="File with the keys of the logs it watches.")],
                  host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
                  port: Annotated[int, typer.Option(help="0: any that is free.")] = 8091) -> None:
    """Answer the logs (C2SP tlog-witness) until a signal."""
    from flightworthy.cli import witness as does

    does.serve(folder, policy, host, port)
