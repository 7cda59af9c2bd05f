"""Checks a server's SCIM: usage: check.py YAKUBA [--all]"""

import hashlib
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import httpx2 as httpx
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

TOKEN = "a-token-of-more-than-thirty-two-letters"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def configuration(port):
    """One authority with one source, on its own data."""
    return f"""
[[authorities]]
name = "scim.test"
key_file = "keys/scim.test.key"
client_url = "http://127.0.0.1:{port}"

[[authorities.scim]]
name = "tester"
token_sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"
localpart = "{{userName}}"

[[listeners]]
address = "127.0.0.1:{port}"
serves = ["client"]

[log]
filter = "warn"
"""


def started(program, directory, port):
    subprocess.run([program, "init", directory, "--server-name", "scim.test"], check=True, stdout=subprocess.DEVNULL)
    config = pathlib.Path(directory, "yakuba.toml")
    config.write_text(configuration(port))
    server = subprocess.Popen([program, "serve", "--config", config])
    for _ in range(600):
        if server.poll() is not None:
            sys.exit("the server did not start")
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
            return server
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit("the server does not answer")


def main():
    program, tells_all = sys.argv[1], "--all" in sys.argv[2:]
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        server = started(program, directory, port)
        try:
            base = f"http://127.0.0.1:{port}/_yakuba/scim/v2"
            with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
                results = check_server(SyncSCIMClient(client))
        finally:
            server.terminate()
            server.wait()
    bad = [result for result in results if result.status in (Status.ERROR, Status.CRITICAL, Status.DEVIATION)]
    for result in results if tells_all else bad:
        about = f" {result.resource_type}" if result.resource_type else ""
        print(f"{result.status.name}{about} {result.title}: {result.reason}")
    if len(results) < 60:
        sys.exit(f"only {len(results)} checks were made: the server was not understood")
    print(f"{len(results)} checks, {len(bad)} fail")
    sys.exit(1 if bad else 0)


main()
