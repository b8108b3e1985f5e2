"""An HTTP server on this machine, for what the monitor tells the world outside."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request:
    """One request, as it came."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.path = handler.path
        self.method = handler.command
        self.headers = handler.headers
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()


class Outside:
    """Somebody on the internet: takes every request, or refuses it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = Request(self)
                if outside.status == 200:
                    outside.requests.append(request)
                self.send_response(outside.status)
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - as http.server calls it

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
