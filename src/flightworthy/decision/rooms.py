"""Where a pilot keeps its variable data, and the models that are kept there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits

from flightworthy.decision.fallback import CHAMPION, PREVIOUS
from flightworthy.decision.line import Line, check_fit
from flightworthy.governance.ledger import Block, Ledger
from flightworthy.governance.privacy.keys import PrivacyKeys
from flightworthy.governance.privacy.vault import Vault
from flightworthy.governance.secrets import Secrets
from flightworthy.ground import registry
from flightworthy.ground.errors import DataError
from flightworthy.integration.features.deltas import Deltas, Shelf
from flightworthy.integration.features.plan import compile_groups
from flightworthy.integration.features.shared import EntityStore, SharedState
from flightworthy.integration.features.snapshot import SnapshotFile, Snapshots
from flightworthy.integration.features.state import FeatureState
from flightworthy.manifest.pilot import Pilot
from flightworthy.model.artifact import ModelStore
from flightworthy.model.asked import LoadedModel

WRITER = "state:writer"  # under it a ledger keeps the number of its writer in a shared feature state


@dataclass(frozen=True)
class Rooms:
    """Where a pilot keeps its variable data."""

    ledger_url: str
    models: Path
    state: Path
    base: Path
    secrets_url: str
    shared_url: str = ""  # of the feature state, where several processes share it
    snapshots_url: str = ""

    @classmethod
    def of(cls, pilot: Pilot, base: Path) -> Rooms:
        """Resolve the manifest's URLs; relative ones start at ``base``."""
        adapters = pilot.manifest.adapters
        shared = "" if adapters.state.startswith("file:") else adapters.state
        return cls(adapters.ledger, base / adapters.models.removeprefix("file:///"),
                   base / ("state" if shared else adapters.state.removeprefix("file:///")), base, adapters.secrets, shared,
                   adapters.snapshots)

    def open_ledger(self, read_only: bool = False) -> Ledger:
        """The ledger behind its URL. Raises `AdapterError` or `LedgerError`."""
        opened: Ledger = registry.find("ledgers", self.ledger_url)(self.ledger_url, base=self.base,
                                                                   read_only=read_only)
        return opened

    @property
    def part(self) -> str:
        """The shard these rooms belong to, by the name of their folder; empty where there are no shards."""
        return self.base.name if self.base.name.startswith("shard-") else ""

    @property
    def parts(self) -> int:
        """How many shards there are, by that name; 1 where there are none."""
        return int(self.part.rpartition("-")[2]) if self.part else 1

    @property
    def expired(self) -> Path:
        """The feature state of all that expired."""
        return self.state / "expired.npz"

    def open_secrets(self) -> Secrets:
        """The secrets behind their URL. Raises `AdapterError`."""
        opened: Secrets = registry.find("secrets", self.secrets_url)(self.secrets_url, base=self.base)
        return opened

    def shared_states(self, ledger: Ledger) -> Callable[[Line], FeatureState] | None:
        """What makes the feature state of a line in a store that others share; None where it is this process's own. Raises
        `AdapterError`, `LedgerError`."""
        if not self.shared_url:
            return None
        store: EntityStore = registry.find("states", self.shared_url)(self.shared_url)
        number = _number(ledger)

        def made(line: Line) -> FeatureState:
            prefix = f"{store.prefix}:{line.pilot.name}:{line.pilot.recipe_digest[:16]}"
            return SharedState(line.plans, store, f"{prefix}:{number:x}", prefix, number)

        return made

    def snapshots(self, pilot: Pilot, ledger: Ledger) -> Snapshots:
        """Where the snapshots of a state go. Raises `AdapterError`, `LedgerError`."""
        if not self.snapshots_url:
            return SnapshotFile(self.state / "features.npz")
        shelf: Shelf = registry.find("shelves", self.snapshots_url)(self.snapshots_url, base=self.base)
        return Deltas(shelf, f"{pilot.name}/{_number(ledger):x}")

    def open_vault(self, pilot: Pilot, ledger: Ledger) -> Vault | None:
        """The keys of the people in a ledger; None where the manifest says nothing of people. Raises `AdapterError`."""
        return None if pilot.manifest.privacy is None else Vault(ledger.subjects, PrivacyKeys(self.open_secrets()))


def _number(ledger: Ledger) -> int:
    """What stands for a ledger where several keep something; made when first asked for."""
    if not (number := ledger.progress(WRITER)):
        ledger.commit(Block(progress={WRITER: (number := randbits(62) | 1)}))
    return number


def part_of(base: Path, number: int, parts: int) -> Path:
    """The folder of one of several parts, counted from 0: shards of a service, partitions of a topic. Of one alone: the base."""
    return base if parts == 1 else base / f"shard-{number + 1}-of-{parts}"


def turn_of(folder: Path) -> float:
    """When a part does what all parts do once in a while, as a fraction of that while (from 0 on): not when the others do.

    >>> turn_of(Path("var/shard-3-of-4")), turn_of(Path("var"))
    (0.5, 0.0)
    """
    number, of, parts = folder.name.removeprefix("shard-").partition("-of-")
    return (int(number) - 1) / int(parts) if of else 0.0


def check_split(pilot: Pilot, parts: int) -> None:
    """Events are split by one entity, so every group of features must be that entity's. Raises `DataError`."""
    others = sorted(plan.name for plan in compile_groups(pilot) if pilot.assigned_by not in plan.key)
    if parts > 1 and others:
        raise DataError(f"events are split by '{pilot.assigned_by}', but these groups of features see events of all parts",
                        where="features.groups", found=", ".join(others),
                        next_step="use one shard, or partition, or one entity for all groups")


def open_model(pilot: Pilot, folder: Path, name: str) -> LoadedModel:
    """A stored model that fits the pilot. Raises `ModelError`."""
    model = LoadedModel(ModelStore(folder).load(name), pilot.folder, pilot.manifest.adapters.runtime)
    check_fit(pilot, model)
    return model


def load_models(pilot: Pilot, folder: Path) -> dict[str, LoadedModel]:
    """The champion, and the previous one where there is one that fits. Raises `ModelError`."""
    store = ModelStore(folder)
    runtime = pilot.manifest.adapters.runtime
    models = {CHAMPION: LoadedModel(store.champion(), pilot.folder, runtime)}
    previous = store.previous()
    if previous is not None and previous.content["recipe_digest"] == pilot.recipe_digest and \
            tuple(previous.content["inputs"]) == pilot.inputs:
        models[PREVIOUS] = LoadedModel(previous, pilot.folder, runtime)
    return models
