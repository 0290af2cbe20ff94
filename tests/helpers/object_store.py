"""An object store of this machine, of the kind of S3, that fails some requests on purpose."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class Served:
    """A store that runs.

    Attributes:
        address: of its server.
        every: each so-manieth request fails, 0 for none of them.
        requests: how many there were.
        failed: how many of them failed.
    """

    address: str = ""
    every: int = 0
    requests: int = 0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fails(self):
        """Whether the request that comes now is to fail."""
        with self.lock:
            self.requests += 1
            failing = bool(self.every) and self.requests % self.every == 0
            self.failed += failing
        return failing

    @property
    def variables(self):
        """The variables by which a client finds it."""
        return {**VARIABLES, "AWS_ENDPOINT_URL": self.address}


@contextlib.contextmanager
def served(bucket="bench"):
    """Run a store with an empty bucket."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    inner, store = DomainDispatcherApplication(create_backend_app), Served()

    def answer(environment, start):
        if store.fails():
            # What was sent is read, or the connection breaks.
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            start("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        return inner(environment, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    store.address = f"http://127.0.0.1:{server.port}"
    before = {name: os.environ.get(name) for name in store.variables}
    os.environ.update(store.variables)
    try:
        import botocore.session

        botocore.session.Session().create_client("s3").create_bucket(Bucket=bucket)
        yield store
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        server.shutdown()
        thread.join()
