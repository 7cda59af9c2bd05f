"""A real Synapse beside which bots run, and a bot's program with the files that it needs."""

import asyncio
import contextlib
import os
import pathlib
import sys

import aiohttp

from stage import NAME, Program, free_port, until


class Synapse(Program):
    """A Synapse on SQLite with registrations that are read at its start, and with its usual rate limits."""

    def __init__(self, directory, *registrations):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = pathlib.Path(directory) / "synapse"
        self.directory.mkdir()
        self.config = self.directory / "homeserver.yaml"
        files = ", ".join(str(file) for file in registrations)
        self.config.write_text(f"""
server_name: {NAME}
listeners: [{{port: {self.port}, type: http, bind_addresses: [127.0.0.1], resources: [{{names: [client]}}]}}]
database: {{name: sqlite3, args: {{database: {self.directory}/homeserver.db}}}}
log_config: {self.directory}/log.yaml
media_store_path: {self.directory}/media
signing_key_path: {self.directory}/signing.key
trusted_key_servers: []
report_stats: false
enable_registration: true
enable_registration_without_verification: true
registration_shared_secret: x
macaroon_secret_key: x
form_secret: x
app_service_config_files: [{files}]
""")
        log = "version: 1\nhandlers: {console: {class: logging.StreamHandler}}\nroot: {level: WARNING, handlers: [console]}\n"
        (self.directory / "log.yaml").write_text(log)
        self.module = [sys.executable, "-m", "synapse.app.homeserver", "--config-path", self.config]
        super().__init__(directory, "synapse.out", *self.module)

    async def open(self):
        made = await asyncio.create_subprocess_exec(
            *map(str, self.module), "--generate-keys", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        assert await made.wait() == 0, "Synapse makes its keys"
        await self.start()
        await until("Synapse answers", self.answers)

    async def answers(self):
        self.says("")
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/_matrix/client/versions") as answer:
                return answer.status == 200
        return False


class Bot(Program):
    """A bot's program, with its registration written by itself."""

    def __init__(self, directory, programs, name):
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.name, self.port = name, free_port()
        self.program = pathlib.Path(programs) / f"yakuba-{name}"
        self.config = self.directory / "bot.toml"
        self.registration = self.directory / "registration.yaml"
        self.id = f"@{name}:{NAME}"
        super().__init__(self.directory, name, self.program, "serve", "--config", self.config)
        self.environment = {"RUST_LOG": "info"}

    async def register(self, settings):
        """Writes the configuration and has the registration made. Where the homeserver is says `reach`."""
        self.settings = settings
        self.write("http://127.0.0.1:1")
        made = await asyncio.create_subprocess_exec(
            self.program, "registration", "--config", self.config, stdout=asyncio.subprocess.DEVNULL
        )
        assert await made.wait() == 0, f"{self.name} writes its registration"
        os.chmod(self.registration, 0o600)

    def write(self, url):
        self.config.write_text(f"""
[homeserver]
url = "{url}"
server_name = "{NAME}"
[appservice]
registration = "registration.yaml"
url = "http://127.0.0.1:{self.port}"
[listener]
address = "127.0.0.1:{self.port}"
[store]
path = "{self.name}.redb"
[bot]
{self.settings}
""")

    async def begin(self):
        await self.start()
        await until(f"{self.name} answers", self.healthy)

    async def healthy(self):
        self.says("")
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/health") as answer:
                return answer.status == 200
        return False

    async def restart(self):
        """Killed, and started again over what is on its disk."""
        await self.kill()
        await self.begin()


async def beside(directory, programs, started, name, settings):
    """A Synapse with a bot that has these settings; both run."""
    bot = Bot(directory, programs, name)
    await bot.register(settings)
    server = Synapse(directory, bot.registration)
    started += [bot, server]
    await server.open()
    bot.write(server.url)
    await bot.begin()
    return server, bot
