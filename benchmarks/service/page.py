"""The figures as tables, in the terminal and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = ("requests/s", "connections", "× echo", "× FastAPI", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/1000", "RSS MB", "errors")


def by_name(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every server of a result, ours first."""
    names = ("echo", "echo_asgi", "governed", "naive_governed")
    return {**{name: result[name] for name in names if name in result}, **result["peers"]}


def cells(figures: Mapping[str, Any], echo: float | None, fastapi: float | None) -> list[str]:
    """One row behind its name; latency at half of the server's own capacity."""
    if "failed" in figures:
        return [str(figures["failed"]).replace("\n", " ").replace("|", "/")[:80], *[""] * (len(COLUMNS) - 1)]
    rps = figures["rps"]
    errors = figures["errors"] + sum(figures[f"errors_at_{share}"] for share in (25, 50, 80))
    least = "≥ " if figures["wrk_cpu_share"] > 0.9 else ""
    return [f"{least}{rps:,.0f}", str(figures["connections"]),
            "" if echo is None else f"{rps / echo:.3f}", "" if fastapi is None else f"{rps / fastapi:.2f}",
            *(ms(figures[f"{q}_ms_at_50"]) for q in ("p50", "p99", "p999")),
            f"{figures['cpu_s_per_1000']:.3f}", f"{figures['rss_mb']:,.0f}", str(errors)]


def ms(value: float | None) -> str:
    """Milliseconds; nothing when nobody answered."""
    return "" if value is None else f"{value:.2f}"


def main_rows(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """The header and a row for each server."""
    servers = by_name(result)
    echo = next((servers[name]["rps"] for name in ("echo", "echo_asgi") if "rps" in servers.get(name, {})), None)
    fastapi = servers.get("fastapi", {}).get("rps")
    yield ["server", *COLUMNS]
    for name, figures in servers.items():
        yield [name, *cells(figures, echo, fastapi)]


def latency_rows(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Latency at every share of capacity, with what the generator says about itself."""
    yield ["server", "load", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "errors", "generator CPU", "its lag p99 ms",
           "others, cores"]
    for name, f in by_name(result).items():
        if "failed" in f:
            continue
        for s in (25, 50, 80):
            mark = " (the limit)" if f[f"generator_was_the_limit_at_{s}"] else ""
            yield [name, f"{s}%", f"{f[f'rps_at_{s}']:,.0f}", *(ms(f[f"{q}_ms_at_{s}"]) for q in ("p50", "p99", "p999")),
                   str(f[f"errors_at_{s}"]), f"{f[f'generator_cpu_share_at_{s}']:.0%}{mark}",
                   f"{f[f'generator_lag_p99_ms_at_{s}']:.3f}", f"{f[f'others_cores_at_{s}']:.2f}"]


def table(result: Mapping[str, Any]) -> str:
    """For the terminal."""
    rows = list(main_rows(result))
    widths = [max(len(row[i]) for row in rows if i == 0 or row[-1]) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        aligned = (c.ljust(w) if i == 0 or not row[-1] else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def markdown(rows: Iterator[list[str]]) -> str:
    """Rows as a Markdown table."""
    head, *rest = list(rows)
    line = "|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|"
    return "\n".join(["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rest)])


def versions(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Packages of each peer."""
    yield ["server", "packages"]
    for name, f in by_name(result).items():
        if f.get("versions"):
            yield [name, ", ".join(f"{package} {version}" for package, version in f["versions"].items())]


def page(result: Mapping[str, Any]) -> str:
    """The whole page from the JSON that a run wrote."""
    machine = result["machine"]
    return f"""# Benchmark of the service

`make bench-service` → `out/bench/service.json`. Made {result['date']} on {machine['cores']} cores ({machine['processor']}):
the server on one core, the load on the other, {result['seconds']:g} s for each measurement. All servers were
measured in turns, {result['rounds']} times; of each the round with its median rate is shown.

Everyone gets the same events of 31 fields as JSON over HTTP on loopback and asks the same LightGBM model (200 trees, 63
leaves). Before anything is measured, scores are compared with LightGBM's own. Peers run one worker, one model thread, and
their batching where they have it. `governed` is `flightworthy serve` with contract, idempotency, features, holdout, reasons and
a ledger that is durable before the answer; peers only score. `naive_governed` is FastAPI with one SQLite commit for each
request. `echo` and `echo_asgi` read the JSON and write it back. MLServer and Triton take the event in their own protocol (v2).

## Capacity and cost

64 or 256 connections in a closed loop, whichever a server does better with (wrk; ≥: wrk itself was at its limit). Latency at half
of each server's own capacity, in an open loop.

{markdown(main_rows(result))}

## Latency

Requests leave by a Poisson schedule, whether or not earlier ones were answered, and count from the moment they were due: there
is no coordinated omission. The generator's lag is how late it sent while a connection was free; others are processes that have
nothing to do with the benchmark.

{markdown(latency_rows(result))}

## Versions

{markdown(versions(result))}
"""
