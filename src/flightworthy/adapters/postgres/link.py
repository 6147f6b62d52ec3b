"""A line to PostgreSQL that is taken up again when it breaks: a thread with an event loop, one connection that writes and a pool
of those that read."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

import asyncpg

from flightworthy.ground.errors import LedgerError

PATIENCE = 5.0  # seconds in which a server that went away may come back before anyone hears of it
_TIMEOUT = 10.0  # seconds for one statement
LONG = 30 * 86_400.0  # seconds for what may take as long as it takes
_HUNG = 5  # seconds in which whoever has the turn, or is within a transaction, says nothing: then the server lets go of its line
_READERS = 4
_AGAIN = 0.05  # seconds between tries
_CLEAR = 5.0  # seconds for what was ended to clear away
T = TypeVar("T")
BROKEN = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
          asyncpg.exceptions.OperatorInterventionError)
_PASSING = (asyncpg.exceptions.InsufficientResourcesError, asyncpg.exceptions.TransactionRollbackError)


class Link:
    """Thread-safe. Every method raises `LedgerError`."""

    def __init__(self, address: str, schema: str, where: str) -> None:
        self.where, self.schema = where, schema
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgresql", daemon=True)
        self._thread.start()
        self._writer: asyncpg.Connection[Any] | None = None
        self._pool: asyncpg.Pool[Any] | None = None
        self._writing = threading.RLock()
        self._asking, self._closed = threading.Lock(), False
        self._turns = self._hung = 0
        self._turn_key = int.from_bytes(blake2b(f"turn {schema}".encode(), digest_size=8).digest(), "big", signed=True)

    # -- reading ------------------------------------------------------------------------------------------------
    def rows(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query, tried again while the server is away."""
        return self._patiently(lambda _: self._rows(query, values))

    def value(self, query: str, *values: Any) -> Any:
        """The first value of the first row; None without one."""
        found = self.rows(query, *values)
        return found[0][0] if found else None

    async def _rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._address, min_size=0, max_size=_READERS, command_timeout=_TIMEOUT, timeout=PATIENCE,
                server_settings=self._settings, reset=_nothing_to_reset)
        found: list[Any] = await self._pool.fetch(query, *values)
        return found

    # -- writing ------------------------------------------------------------------------------------------------
    def write(self, act: Callable[[asyncpg.Connection[Any], bool], Awaitable[T]]) -> T:
        """Let an act have the writing connection, again while the server is away: ``again`` says that an earlier try may have
        been made durable without a word."""
        async def once(again: bool) -> T:
            return await act(await self._connected(), again)

        with self._writing:
            return self._patiently(once)

    @contextmanager
    def turn(self, patience: float) -> Iterator[None]:
        """Be the only one that writes; waits so many seconds for others (infinity: as long as it takes, and keep it so).
        Held across a broken line, unless another was faster. The server ends the line of whoever has a turn and says nothing: a
        process that hangs, or a machine that is gone, would keep everybody else waiting."""
        with self._writing:
            if not self._turns:
                self._hung = 0 if math.isinf(patience) else _HUNG
                self._patiently(lambda _: self._take_turn(patience))
            self._turns += 1
        try:
            yield
        finally:
            with self._writing:
                self._turns -= 1
                if not self._turns:
                    self._run(self._leave_turn)

    async def _take_turn(self, patience: float) -> None:
        waits = 0 if math.isinf(patience) else max(1, int(1000 * patience))  # milliseconds; 0: for ever
        await (await self._connected()).execute(
            f"SET lock_timeout = {waits}; SELECT pg_advisory_lock({self._turn_key}); SET lock_timeout = 0; {self._patience}",
            timeout=LONG)

    @property
    def _patience(self) -> str:
        return f"SET idle_session_timeout = {1000 * self._hung}"

    async def _leave_turn(self) -> None:
        if self._writer is not None and not self._writer.is_closed():  # a closed one holds nothing any more
            try:
                await self._writer.execute(f"SELECT pg_advisory_unlock({self._turn_key}); SET idle_session_timeout = 0")
            except (*BROKEN, asyncpg.PostgresError):  # what was written is written; with the line the lock goes too
                self._writer.terminate()

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._writer is None or self._writer.is_closed():
            self._writer = None
            made = await asyncpg.connect(self._address, command_timeout=_TIMEOUT, timeout=PATIENCE,
                                         server_settings=self._settings)
            try:
                await self._fit(made)
            except BaseException:
                made.terminate()
                raise
            self._writer = made
        return self._writer

    async def _fit(self, made: asyncpg.Connection[Any]) -> None:
        """Raises where a commit would not be durable, or no longer be this writer's."""
        if await made.fetchval("SHOW fsync") != "on":
            raise LedgerError("this server does not flush to the disk: nothing would be durable", where=self.where,
                              found="fsync=off", expected="fsync=on", next_step="set fsync=on and start the server again")
        if await made.fetchval("SHOW synchronous_commit") == "off":
            await made.execute("SET synchronous_commit TO on")
        if self._turns:
            if not await made.fetchval(f"SELECT pg_try_advisory_lock({self._turn_key})"):
                raise LedgerError("another writer took over while the server was away", where=self.where,
                                  next_step="stop one of the two, or start this one again")
            await made.execute(self._patience)

    @property
    def _settings(self) -> dict[str, str]:
        return {"search_path": f'"{self.schema}"', "application_name": "flightworthy", "timezone": "UTC",
                "idle_in_transaction_session_timeout": str(1000 * _HUNG),
                # A machine that is gone is missed after half a minute; without, after two hours, by a usual system's settings.
                "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4",
                "jit": "off",  # compiling a statement takes longer than any of ours runs
                "enable_seqscan": "off"}  # all of ours have an index; a young table without statistics is thought to be small

    # -- both ---------------------------------------------------------------------------------------------------
    def _patiently(self, act: Callable[[bool], Awaitable[T]]) -> T:
        end, again = time.monotonic() + PATIENCE, False
        while True:
            try:
                return self._run(partial(act, again))
            except BROKEN as error:
                if time.monotonic() > end:
                    raise self._said(error) from error
                again = True
                time.sleep(_AGAIN)
            except asyncpg.PostgresError as error:
                raise self._said(error) from error

    def _run(self, act: Callable[[], Awaitable[T]]) -> T:
        async def go() -> T:
            return await act()

        with self._asking:
            if self._closed:
                raise self._over()
            answer = asyncio.run_coroutine_threadsafe(go(), self._loop)
        try:
            return answer.result()
        except CancelledError:
            raise self._over() from None

    def _over(self) -> LedgerError:
        return LedgerError("the ledger was closed", where=self.where, next_step="open it again")

    def _said(self, error: Exception) -> LedgerError:
        """The server's words in ours. Addresses are not among them: they may hold a password."""
        if isinstance(error, asyncpg.UniqueViolationError):
            return LedgerError(f"a decision for this event id exists already ({error})", where=self.where,
                               next_step="recover: the ledger already holds the answer")
        if isinstance(error, asyncpg.LockNotAvailableError):
            return LedgerError("another process writes here and did not let go in time", where=self.where, retryable=True,
                               next_step="ask the running service, or end it")
        may_pass = isinstance(error, (*BROKEN, *_PASSING))
        return LedgerError(f"PostgreSQL: {str(error) or type(error).__name__}", where=self.where, retryable=may_pass,
                           next_step="see whether the server runs and has space" if may_pass else "")

    def close(self) -> None:
        """End the connections and the thread. Who is still asking hears a `LedgerError`."""
        async def end() -> None:
            for held in (self._writer, self._pool):
                if held is not None:
                    held.terminate()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait([*others, asyncio.ensure_future(asyncio.sleep(0))], timeout=_CLEAR)  # what was ended clears away

        with self._asking:
            if self._closed:
                return
            self._closed = True
            ended = asyncio.run_coroutine_threadsafe(end(), self._loop)
        ended.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _nothing_to_reset(_: asyncpg.Connection[Any]) -> None:
    """Readers leave nothing behind; to ask the server would cost a round trip each time."""
