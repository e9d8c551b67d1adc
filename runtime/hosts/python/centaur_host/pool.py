"""`ctx._pool`: connections to `DATABASE_URL`, one pool for the process, made when somebody first asks for one."""

import asyncio
import os

from .errors import WorkflowError

TRIES = 5
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 2


class LazyPool:
    """An asyncpg pool that connects at its first use."""

    def __init__(self):
        self._made = None

    async def _ready(self):
        if self._made is None or (self._made.done() and self._made.exception() is not None):
            self._made = asyncio.ensure_future(connect())
        return await asyncio.shield(self._made)

    def acquire(self, **options):
        return Acquired(self, options)

    async def release(self, connection, **options):
        return await (await self._ready()).release(connection, **options)

    def __getattr__(self, method):
        if method.startswith("__"):
            raise AttributeError(method)

        async def call(*args, **options):
            return await getattr(await self._ready(), method)(*args, **options)

        return call


class Acquired:
    """A connection, for `async with` and for `await` alike."""

    def __init__(self, pool, options):
        self._pool = pool
        self._options = options
        self._connection = None

    def __await__(self):
        return self._take().__await__()

    async def _take(self):
        return await (await self._pool._ready()).acquire(**self._options)

    async def __aenter__(self):
        self._connection = await self._take()
        return self._connection

    async def __aexit__(self, *_error):
        await self._pool.release(self._connection)


async def connect():
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise WorkflowError("ctx._pool needs DATABASE_URL, which this host does not have", "NO_DATABASE")
    try:
        import asyncpg
    except ImportError:
        raise WorkflowError("ctx._pool needs the package asyncpg in the Python of this host", "NO_ASYNCPG") from None
    pause = FIRST_PAUSE
    for left in reversed(range(TRIES)):
        try:
            pool = await asyncpg.create_pool(url, min_size=0, max_size=5)
            # with no connection at all, a pool is made also where nobody listens
            await pool.release(await pool.acquire())
            return pool
        except (OSError, asyncpg.PostgresError):
            if left == 0:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


POOL = LazyPool()
