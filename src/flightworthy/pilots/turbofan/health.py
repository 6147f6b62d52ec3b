"""How the weights of the health index in pilot.yaml were fitted, and the manifest's long lists written.

The index is one weighted sum of sensors that rises as an engine wears. Its weights come from a ridge regression on
training engines only: within each engine, the sensors' deviation from that engine's own mean against the deviation of
its remaining life (capped at 125), so that differences between engines at birth do not count.
The weights in pilot.yaml saw every training engine: figures on training engines held back from the model are optimistic.

Usage: python -m flightworthy.pilots.turbofan.health READINGS.parquet > features.yaml
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

SENSORS = tuple(f"s{i}" for i in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21))
WINDOWS = (5, 10, 20, 30, 50, 100, 400)
RIDGE, CAP = 100.0, 125.0
Floats = NDArray[np.float64]


def weights(unit: NDArray[np.int64], sensors: Floats, rul: Floats) -> Floats:
    """Weight of each sensor (rows, sensors) → (sensors,), in the sensor's own unit; absolute z-weights sum to 1."""
    z = (sensors - sensors.mean(0)) / sensors.std(0)
    x, y = _within(unit, z), _within(unit, np.minimum(rul, CAP)[:, None])[:, 0]
    fitted = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    scaled: Floats = -fitted / np.abs(fitted).sum() / sensors.std(0)
    return scaled


def _within(unit: NDArray[np.int64], values: Floats) -> Floats:
    _, member = np.unique(unit, return_inverse=True)
    count = np.bincount(member)
    means = np.stack([np.bincount(member, column) / count for column in values.T], axis=1)
    return values - means[member]


def features(weight: Floats) -> str:
    """The manifest's derived features, as YAML."""
    lines = ["  derived:"]
    for w in WINDOWS:
        terms = " + ".join(f"{b:.6g} * engine.{s}_{w}e" for s, b in zip(SENSORS, weight, strict=True))
        lines.append(f"    health_{w}: {terms.replace('+ -', '- ')}")
    for name, recent, short, long in (("old_10", "health_5", 10, 400), ("old_30", "health_10", 30, 400),
                                      ("slope_50", "health_20", 20, 50), ("slope_100", "health_50", 50, 100)):
        lines.append(f"    {name}: {recent} - {_older(f'health_{short}', f'health_{long}', short, long)}")
    lines += ["    trend_50: health_10 - health_50", "    trend_all: health_10 - health_400"]
    for s in SENSORS:
        older = _older(f"engine.{s}_50e", f"engine.{s}_400e", 50, 400)
        lines += [f"    {s}_since_new: engine.{s}_10e - {older}", f"    {s}_trend: engine.{s}_10e - engine.{s}_50e"]
    return "\n".join(lines)


def _older(short_mean: str, long_mean: str, short: int, long: int) -> str:
    """Mean over the long window without the short one; the short one's where there is nothing older."""
    n, m = f"engine.n_{long}e", f"engine.n_{short}e"
    return f"(({long_mean} * {n} - {short_mean} * {m}) / ({n} - {m}) if {n} > {m} else {short_mean})"


if __name__ == "__main__":
    import duckdb

    names = ", ".join(SENSORS)
    table = duckdb.execute(f"SELECT unit, rul, {names} FROM read_parquet(?)", [sys.argv[1]]).fetchnumpy()  # noqa: S608 - fixed names
    found = weights(np.asarray(table["unit"]), np.stack([np.asarray(table[s], float) for s in SENSORS], 1),
                    np.asarray(table["rul"], float))
    sys.stdout.write(features(found) + "\n")
