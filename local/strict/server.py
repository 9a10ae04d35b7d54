"""moto over HTTP on a free port of 127.0.0.1, strict, empty, and surely ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from local.strict import strict


@contextmanager
def serve() -> Iterator[str]:
    """Gives the endpoint; moto's state begins empty and is dropped at the end."""
    strict()
    BackendDict.reset()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto, name = DomainDispatcherApplication(create_backend_app), uuid4().hex

    def answer(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] == "/who":
            start("200 OK", [])
            return [name.encode()]
        return moto(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.port}"
    try:
        with urlopen(f"{endpoint}/who", timeout=10) as page:
            if page.read().decode() != name:
                raise RuntimeError(f"another server answers on {endpoint}")
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        BackendDict.reset()
