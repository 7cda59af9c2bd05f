"""What the ways stand on: a real Yakuba that is killed and started again, people, an IRC server, and other programs."""

import asyncio
import contextlib
import os
import pathlib
import secrets
import signal
import socket
import sys
import time

import aiohttp

PATIENCE = 60
"""So long is waited for something that must come, in seconds."""

NAME = "kanazawa.test"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def until(what, condition):
    """Waits until the condition gives something true, and gives that; it is asked anew after each moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"in {PATIENCE} s never: {what}")
        await asyncio.sleep(0.05)


class Program:
    """A program that runs beside the way; what it says is kept in a file."""

    def __init__(self, directory, name, *command):
        self.log = pathlib.Path(directory) / f"{name}.log"
        self.command, self.cwd, self.process = command, directory, None
        self.environment = {}

    async def start(self):
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *map(str, self.command), cwd=self.cwd, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
            )

    def says(self, text):
        """Whether it has said this; an error when it ended meanwhile."""
        return self.counts(text) > 0

    def counts(self, text):
        """How often it has said this; an error when it ended meanwhile."""
        if self.process.returncode is not None:
            raise AssertionError(f"{self.command[0]} has ended: {self.log.read_text(errors='replace')[-2000:]}")
        return self.log.read_text(errors="replace").count(text)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    async def kill(self):
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


class Server(Program):
    """A Yakuba with one authority, whose registrations are read at its start."""

    def __init__(self, program, directory):
        self.directory = pathlib.Path(directory) / "yakuba"
        self.program, self.port = program, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = self.directory / "yakuba.toml"
        super().__init__(directory, "yakuba", program, "serve", "--config", self.config)
        self.registrations = []

    async def open(self, *registrations):
        init = await asyncio.create_subprocess_exec(
            self.program, "init", "--server-name", NAME, self.directory, stdout=asyncio.subprocess.DEVNULL
        )
        assert await init.wait() == 0, "yakuba init"
        for file in registrations:
            os.chmod(file, 0o600)
        files = ", ".join(f'"{file}"' for file in registrations)
        self.config.write_text(f"""
[[authorities]]
name = "{NAME}"
key_file = "keys/{NAME}.key"
application_services = [{files}]
[authorities.registration]
mode = "open"
[[listeners]]
address = "127.0.0.1:{self.port}"
serves = ["client"]
[limits]
enabled = false
[log]
filter = "info"
""")
        self.command = (*self.command, "--begin")
        await self.start()
        self.command = self.command[:-1]

    async def start(self):
        await super().start()
        await until("the server answers", self.answers)

    async def answers(self):
        self.says("")
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{self.url}/_matrix/client/versions") as answer:
                    return answer.status == 200
        except aiohttp.ClientError:
            return False

    def refusals(self):
        """Requests of services that were answered with an error, as the log tells them."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if " WARN " in line or "panicked" in line]


class Refused(Exception):
    """An answer that is an error."""


class Person:
    """Somebody with a client that keeps what it was told."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.token = self.id = self.since = None
        self.invites, self.said, self.names = {}, {}, {}

    async def register(self):
        body = {"username": self.name, "password": secrets.token_hex(12), "auth": {"type": "m.login.dummy"}}
        told = await self.call("POST", "/register", body)
        self.token, self.id = told["access_token"], told["user_id"]
        return self

    async def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with aiohttp.ClientSession() as session:
            url = f"{self.server.url}/_matrix/client/v3{path}"
            async with session.request(method, url, json=body, headers=headers) as answer:
                told = await answer.json()
                if answer.status != 200:
                    raise Refused(f"{method} {path}: {answer.status} {told}")
                return told

    async def send(self, room, text, txn=None):
        txn = txn or secrets.token_hex(8)
        body = {"msgtype": "m.text", "body": text}
        return (await self.call("PUT", f"/rooms/{room}/send/m.room.message/{txn}", body))["event_id"]

    async def join(self, room):
        return (await self.call("POST", f"/join/{room.replace('#', '%23')}", {}))["room_id"]

    async def sync(self):
        since = f"&since={self.since}" if self.since else ""
        told = await self.call("GET", f"/sync?timeout=200{since}")
        self.since = told["next_batch"]
        rooms = told.get("rooms", {})
        for room, invited in rooms.get("invite", {}).items():
            state = invited["invite_state"]["events"]
            names = [event["content"].get("name") for event in state if event["type"] == "m.room.name"]
            self.invites[room] = names[0] if names else None
        for room, joined in rooms.get("join", {}).items():
            self.invites.pop(room, None)
            state = joined.get("state", {}).get("events", [])
            for event in state + joined.get("timeline", {}).get("events", []):
                if event["type"] == "m.room.name":
                    self.names[room] = event["content"].get("name")
                if event["type"] == "m.room.message":
                    self.said.setdefault(room, []).append((event["sender"], event["content"].get("body")))

    async def until(self, what, condition):
        async def look():
            await self.sync()
            return condition()

        return await until(f"{self.name} sees {what}", look)

    async def heard(self, room, text):
        """Waits until somebody else has said something with this text in it, and gives what was said."""
        def find():
            return [body for sender, body in self.said.get(room, []) if sender != self.id and text in (body or "")]

        return (await self.until(text, find))[-1]

    async def follow_invite(self, name):
        """Joins the room of this name that comes by an invite."""
        def find():
            return [room for room, of in self.invites.items() if name in (of or "")]

        room = (await self.until(f"an invite to {name}", find))[0]
        await self.join(room)
        return room


class Irc:
    """Somebody on IRC, who keeps what others said, and who came."""

    def __init__(self, port, nick):
        self.port, self.nick, self.said, self.here, self.came = port, nick, [], set(), []

    async def open(self, channel):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.task = asyncio.create_task(self.read())
        self.write(f"NICK {self.nick}")
        self.write(f"USER {self.nick} 0 * :{self.nick}")
        await until("IRC lets in", lambda: "001" in self.here)
        self.write(f"JOIN {channel}")
        await until("IRC lets into the channel", lambda: "366" in self.here)

    def write(self, line):
        self.writer.write(f"{line}\r\n".encode())

    def say(self, channel, text):
        self.write(f"PRIVMSG {channel} :{text}")

    async def read(self):
        while line := (await self.reader.readline()).decode(errors="replace").strip():
            words = line.split(" ", 3)
            if words[0] == "PING":
                self.write(f"PONG {words[1]}")
            elif len(words) > 1 and words[1] in ("001", "366"):
                self.here.add(words[1])
            elif len(words) > 2 and words[1] == "JOIN":
                self.came.append(words[0][1:].split("!")[0])
            elif len(words) > 3 and words[1] == "PRIVMSG":
                self.said.append((words[0][1:].split("!")[0], words[3][1:]))

    def texts(self):
        return [text for _, text in self.said]


async def irc_server(directory):
    """A real IRC server (ngircd), with its port."""
    port = free_port()
    config = pathlib.Path(directory) / "ngircd.conf"
    config.write_text(f"""
[Global]
Name = irc.test
Info = A server for a test
AdminEMail = nobody@irc.test
Listen = 127.0.0.1
Ports = {port}
[Limits]
MaxConnectionsIP = 0
[Options]
DNS = no
Ident = no
PAM = no
""")
    os.chmod(directory, 0o755)
    program = Program(directory, "ngircd", "ngircd", "--nodaemon", "--config", config)
    await program.start()
    await until("the IRC server listens", lambda: program.says("Now listening on"))
    return program, port


class Steps:
    """Tells each step with its time."""

    def __init__(self, way):
        self.way, self.begun = way, time.monotonic()

    def done(self, what):
        now = time.monotonic()
        print(f"ok    {self.way}: {what} ({now - self.begun:.1f} s)", flush=True)
        self.begun = now


def fail(way, error):
    print(f"FAIL  {way}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
