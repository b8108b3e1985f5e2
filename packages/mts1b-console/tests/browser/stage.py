"""A console whose bus is made up: what the pages show can be set, and slowed, and taken away.

Every answer is a shape of the contract, so that a page that works here gets nothing else from the real console. The
files and the headers are the package's own.

    python stage.py [PORT]     serves the desk at night, to look at while the pages are written
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import night
import scenery
from aiohttp import WSMsgType, web
from mts1b_console.bundle import PAGE, bundle
from mts1b_console.shapes.base import Failed, Problem, Shape
from mts1b_console.shapes.live import Frame, Opened, Welcome
from mts1b_console.shapes.person import ActDone
from mts1b_console.web.security import HEADERS
from told import opened

CSRF = "stage-csrf"


@dataclass
class Stage:
    """What is played: the state, what was asked, what was done."""

    state: night.Night = field(default_factory=night.Night)
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Actions that were asked for, previews left out."""
    done: dict[str, ActDone] = field(default_factory=dict[str, ActDone])
    """By request id: the same one twice is done once."""
    lost_answers: int = 0
    """So many answers to actions get lost on the way."""
    away: Problem | None = None
    """When set, nothing that is looked up is known."""
    signed_in: bool = True
    knows: asyncio.Event | None = None
    """When set, who is signed in is answered once this is."""
    per_second: int = 0
    """Events a second on the tail."""
    rows_a_frame: int = 50
    hostile: str | None = None
    """When set, text of events."""
    address: str = ""
    """Where it is played."""

    def begin(self) -> None:
        """Play from the beginning: what a test has set is gone."""
        for name, value in vars(Stage(address=self.address)).items():
            setattr(self, name, value)

    def application(self) -> web.Application:
        """The web application."""
        files = bundle()

        @web.middleware
        async def headers(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
            try:
                response: web.StreamResponse = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=error.reason)
            if not isinstance(response, web.WebSocketResponse):
                response.headers.update(HEADERS)
            return response

        async def static(request: web.Request) -> web.Response:
            found = bundle().get(request.match_info["name"])
            if found is None:
                raise web.HTTPNotFound
            return web.Response(body=found.content, headers={"Content-Type": found.type})

        async def page(_: web.Request) -> web.Response:
            return web.Response(body=files[PAGE].content, headers={"Content-Type": files[PAGE].type})

        app = web.Application(middlewares=[headers])
        app.add_routes(
            [
                web.get("/api/{what:.*}", self._get),
                web.post("/api/act/{noun}/{verb}", self._act),
                web.post("/api/deadletters/verdict", self._verdict),
                web.post("/login", self._login),
                web.get("/live", self._live),
                web.get("/static/{name}", static),
                web.get("/{page:.*}", page),
            ]
        )
        return app

    async def _get(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        if what == "me":
            if self.knows is not None:
                await self.knows.wait()
            return _shape(self.state.me(signed_in=self.signed_in, csrf=CSRF))
        if not self.signed_in:
            return _failed(401, "signed-out", "nobody is signed in", "sign in")
        found = self.state.answer(what, dict(request.query), self.hostile)
        if found is None:
            return _failed(404, "not-found", f"there is no {what}", "see /api/schema")
        if self.away is not None:
            found = night.unknown(found, self.away)
        return _shape(found)

    async def _login(self, request: web.Request) -> web.Response:
        self.signed_in = (await request.json()).get("token") == "good"
        return (
            web.json_response({})
            if self.signed_in
            else _failed(401, "refused", "the bus does not take this token", "mts1b login")
        )

    async def _verdict(self, request: web.Request) -> web.Response:
        return _shape(self.state.verdict((await request.json())["ids"]))

    async def _act(self, request: web.Request) -> web.Response:
        action = f"{request.match_info['noun']}/{request.match_info['verb']}"
        body = await request.json()
        if request.headers.get("X-CSRF") != CSRF:
            return _failed(403, "csrf", "the header X-CSRF is missing", "load the page again")
        if body.get("preview"):
            return _shape(self.state.preview(action, body))
        self.asked.append((action, body))
        if body.get("order"):
            return _shape(self.state.order(body))
        wanted = self.state.preview(action, body)
        if wanted.adds_risk and (body.get("typed") != wanted.typed or len(body.get("reason") or "") < 10):
            return _failed(409, "bad-request", "it is not confirmed", "type what is asked for")
        known = self.done.get(body["request_id"])
        done = known or self.state.act(action, body)
        self.done[body["request_id"]] = done
        if self.lost_answers > 0:
            self.lost_answers -= 1
            return _failed(503, "unanswered", "the responder has not answered", "the same request may be asked again")
        return _shape(done.model_copy(update={"again": known is not None}))

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        tails: dict[int, _Tail] = {}
        sending = asyncio.create_task(self._send_frames(socket, tails))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                word = json.loads(message.data)
                match word["op"]:
                    case "hello":
                        await socket.send_str(Welcome(at=scenery.at()).model_dump_json())
                    case "watch":
                        tails[word["id"]] = _Tail(
                            word["id"], word.get("subject", "mts.v1.>"), word.get("mode", "sample")
                        )
                    case "pause":
                        tails[word["id"]].paused = True
                    case "resume":
                        tails[word["id"]].paused = False
                    case "close":
                        tails.pop(word["id"], None)
                    case "open":
                        event = opened(self.hostile)
                        await socket.send_str(Opened(id=word["id"], row=word["row"], event=event).model_dump_json())
                    case _:
                        pass
        finally:
            sending.cancel()
        return socket

    async def _send_frames(self, socket: web.WebSocketResponse, tails: "dict[int, _Tail]") -> None:
        while True:
            await asyncio.sleep(0.1)
            for tail in list(tails.values()):
                frame = tail.frame(self.per_second, self.rows_a_frame, self.hostile)
                await socket.send_str(frame.model_dump_json())


@dataclass
class _Tail:
    id: int
    subject: str
    mode: str
    paused: bool = False
    n: int = 0
    shown: int = 0
    behind: int = 0

    def frame(self, per_second: int, most: int, hostile: str | None) -> Frame:
        came = per_second // 10
        self.n += came
        rows: list[tuple[int, int, str, str, int]] = []
        if self.paused:
            self.behind += came
        else:
            self.behind = 0
            step = max(1, came // most) if came else 1
            rows = [scenery.row(self.n - came + at, hostile) for at in range(0, came, step)][:most]
            self.shown += len(rows)
        return Frame(
            id=self.id,
            n=self.n,
            heard=self.n,
            per_s=float(per_second),
            shown=self.shown,
            one_in=max(1, came // most) if came else 1,
            refused=self.n // 5_000,
            dropped=0,
            fell=max(0, self.behind - 2_000),
            by=[("marketdata.quotes.{symbol}", per_second * 0.9), ("oms.orders.created", per_second * 0.1)],
            rows=rows,
            behind=self.behind,
            paused=self.paused,
        )


@asynccontextmanager
async def playing(stage: Stage, port: int = 0) -> AsyncGenerator[str, None]:
    """Serve a stage inside the block; its address."""
    runner = web.AppRunner(stage.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stage.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield stage.address
    finally:
        await runner.cleanup()


def _shape(shape: Shape) -> web.Response:
    return web.Response(body=shape.model_dump_json().encode(), content_type="application/json")


def _failed(status: int, code: str, message: str, todo: str) -> web.Response:
    document = Failed(error=Problem(code=code, message=message, what_to_do=todo))
    return web.Response(body=document.model_dump_json().encode(), status=status, content_type="application/json")


async def _main(port: int) -> None:
    stage = Stage(per_second=1_200)
    async with playing(stage, port) as address:
        print(address, flush=True)
        while True:
            await asyncio.sleep(1)
            stage.state.now = time.time()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 8099))
