"""Listen on one port of an emulator."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from .gateway import Gateway
    from .storage import Storage


class Listener:
    """Owns a listening socket and its connections, from `start` to `stop`."""

    def __init__(self, handler: Gateway | Storage) -> None:
        self._handler = handler
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen.

        Returns:
            The port, which the system chose if *port* is 0.

        Raises:
            OSError: The address or port cannot be had.
        """
        make_request = partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=0)
        server = web.Server(
            self._handler.handle,
            request_factory=make_request,
            handler_cancellation=True,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection and listen no more."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        # A connection just accepted gets its handler in the loop's next turns, and only with a
        # handler is it closed.
        for _ in range(5):
            await asyncio.sleep(0)
        await self._handler.stop()
        for connection in runner.server.connections if runner.server else ():
            connection.force_close()  # whoever is in the middle of a request is cut off
        await runner.cleanup()
