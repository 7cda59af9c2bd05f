"""A bridge on mautrix answers in an encrypted room: keys, counts of keys and device lists come to it in transactions."""

import json
import logging
import pathlib
import re
import secrets
import sys

import aiohttp
from mautrix.client import Client
from mautrix.client.state_store import MemoryStateStore
from mautrix.crypto import MemoryCryptoStore, OlmMachine, StateStore
from mautrix.types import EventType, Filter, MessageType, RoomEventFilter, RoomFilter, TextMessageEventContent

from stage import NAME, Program, Server, Steps, free_port, until

BOT = f"@bot:{NAME}"

ENCRYPTION = {
    "allow": True,
    "default": True,
    "require": True,
    "appservice": True,
    "delete_keys": None,
    "verification_levels": {"receive": "unverified", "send": "unverified", "share": "cross-signed-tofu"},
    "allow_key_sharing": False,
    "rotation": {"disable_device_change_key_rotation": False},
}


# Its warnings that nobody is cross-signed here.
logging.getLogger("mau").setLevel(logging.CRITICAL)


class Rooms(MemoryStateStore, StateStore):
    """What the client of somebody remembers of rooms, for the library's encryption."""

    async def find_shared_rooms(self, user_id):
        return [room for room, members in self.members.items() if user_id in members]


class Device:
    """A device that encrypts, and keeps what it could decrypt."""

    def __init__(self, server, user_id):
        self.url, self.user_id, self.said = server.url, user_id, []

    async def login(self, password):
        store = MemoryCryptoStore(self.user_id, "pickle")
        self.client = Client(mxid=self.user_id, base_url=self.url, sync_store=store, state_store=Rooms())
        told = await self.client.login(identifier=self.user_id, password=password, device_id=secrets.token_hex(5))
        await store.put_device_id(told.device_id)
        self.client.crypto = OlmMachine(self.client, store, self.client.state_store)
        self.client.crypto.share_keys_min_trust = self.client.crypto.send_keys_min_trust
        await self.client.crypto.load()
        await self.client.crypto.share_keys()
        self.client.add_event_handler(EventType.ROOM_MESSAGE, self.hear)
        # All that is said while the server is away comes in one answer.
        self.client.start(Filter(room=RoomFilter(timeline=RoomEventFilter(limit=100))))
        return self

    async def hear(self, event):
        # What came unencrypted is no proof of anything.
        if event.get("mautrix", {}).get("was_encrypted") and event.sender != self.user_id:
            self.said.append(event.content.body)

    async def send(self, room, text):
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body=text)
        return await self.client.send_message_event(room, EventType.ROOM_MESSAGE, content)

    async def answered(self, *texts):
        wanted = [f"承りました: {text}" for text in texts]
        await until(f"answers to {texts}", lambda: all(text in self.said for text in wanted))
        assert [text for text in self.said if text in wanted] == wanted, f"each once and in order, not {self.said}"

    async def close(self):
        self.client.stop()
        await self.client.api.session.close()


def config(server, port, directory, *, msc4190):
    """The configuration of the bot; JSON is YAML."""
    return {
        "homeserver": {
            "address": server.url,
            "domain": NAME,
            "verify_ssl": True,
            "connection_limit": 10,
            "software": "standard",
            "status_endpoint": None,
            "message_send_checkpoint_endpoint": None,
        },
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "hostname": "127.0.0.1",
            "port": port,
            "max_body_size": 1,
            "database": f"sqlite:{directory}/bot.db",
            "database_opts": {},
            "id": "bot",
            "bot_username": "bot",
            "bot_displayname": "窓口 Bot",
            "bot_avatar": None,
            "ephemeral_events": True,
            "as_token": "",
            "hs_token": "",
        },
        "bridge": {
            "username_template": "bot_{userid}",
            "command_prefix": "!bot",
            "encryption": {**ENCRYPTION, "msc4190": msc4190},
        },
        "logging": {
            "version": 1,
            "formatters": {"plain": {"format": "[%(levelname)s@%(name)s] %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "loggers": {"mau": {"level": "DEBUG"}, "aiohttp": {"level": "INFO"}},
            "root": {"level": "DEBUG", "handlers": ["console"]},
        },
    }


async def person(server, name):
    """Registers somebody, and gives the id and the password."""
    password = secrets.token_hex(12)
    body = {"username": name, "password": password, "auth": {"type": "m.login.dummy"}, "inhibit_login": True}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{server.url}/_matrix/client/v3/register", json=body) as answer:
            told = await answer.json()
            assert answer.status == 200, told
            return told["user_id"], password


async def keys_left(server, token, device):
    """How many one-time keys the bot's device has at the server."""
    url, query = f"{server.url}/_matrix/client/v3/keys/upload", {"user_id": BOT, "device_id": device}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        async with session.post(url, params=query, json={}) as answer:
            told = await answer.json()
            assert answer.status == 200, told
            return told["one_time_key_counts"].get("signed_curve25519", 0)


async def way(program, directory, programs, *, msc4190=False):
    steps = Steps("mautrix with MSC4190" if msc4190 else "mautrix")
    port, server = free_port(), Server(program, directory)
    file, registration = directory / "bot.yaml", directory / "registration.yaml"
    file.write_text(json.dumps(config(server, port, directory, msc4190=msc4190)))
    bot_py = pathlib.Path(__file__).parent / "encrypted_bot.py"
    generate = Program(directory, "generate", sys.executable, bot_py, "-g", "-c", file, "-r", registration)
    programs.append(generate)
    await generate.start()
    assert await generate.process.wait() == 0, "the bridge writes its registration"
    # The library does not write this line; Synapse too tells a service of key counts and device lists only with it.
    registration.write_text(registration.read_text() + "org.matrix.msc3202: true\n")
    steps.done("its own registration")

    programs.append(server)
    await server.open(registration)
    bot = Program(directory, "bot", sys.executable, bot_py, "-c", file)
    programs.append(bot)
    await bot.start()
    await until("the bot has started", lambda: bot.says("Startup actions complete"))
    steps.done("the bot starts, is pinged, and has a device")

    user_id, password = await person(server, "hanako")
    phone = await Device(server, user_id).login(password)
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room = await phone.client.create_room(invitees=[BOT], initial_state=[encryption])

    async def joined():
        return BOT in await phone.client.get_joined_members(room)

    await until("the bot joins", joined)
    await until("the bot is told its key counts, and uploads keys", lambda: bot.says("Shared keys and saved account"))
    steps.done("the bot joins an encrypted room; told that it has no keys, it uploads them")

    await phone.send(room, "住民票の写し")
    await phone.answered("住民票の写し")
    steps.done("an encrypted question is answered encrypted")

    texts = [f"質問 {number}" for number in range(20)]
    for text in texts:
        await phone.send(room, text)
    await until("answers", lambda: all(f"承りました: {text}" in phone.said for text in texts))
    steps.done("20 more")

    desktop = await Device(server, user_id).login(password)
    await until("the bot is told of the new device", lambda: bot.says("device list change"))
    await desktop.send(room, "机から")
    await desktop.answered("机から")
    await phone.answered("机から")
    steps.done("a second device: the bot is told of it, and both devices read the answer")

    async def one_time_keys():
        query = {"one_time_keys": {BOT: {device: "signed_curve25519"}}}
        told = await phone.client.api.request("POST", "/_matrix/client/v3/keys/claim", query)
        keys = told["one_time_keys"][BOT][device]
        return next(iter(keys))

    uploads = bot.counts("Shared keys and saved account")
    devices = (await phone.client.query_keys([BOT])).device_keys[BOT]
    device = next(iter(devices))
    claimed = [await one_time_keys() for _ in range(80)]
    assert len(set(claimed)) == 80, "no key is given out twice"
    token = re.search("^as_token: (.+)$", registration.read_text(), re.MULTILINE)[1]

    async def settled():
        # It was told of the last claim, has uploaded what that asked for, and has saved it: killed before that, it
        # would have lost keys that the server gives out.
        left = await keys_left(server, token, device)
        saved = bot.counts("Shared keys and saved account")
        return left >= 50 and saved > uploads and bot.counts(" one-time keys\n") == saved

    await until("the bot uploads more", settled)
    steps.done("80 keys are claimed, and the bot, told how few are left, uploads more")

    # Killed and started again it keeps its device and its keys. Nothing encrypted waits for it then: it takes what comes
    # before it has read its keys, and forgets the keys in that.
    await bot.kill()
    await bot.start()
    await until("the bot has started again", lambda: bot.counts("Startup actions complete") == 2)
    await phone.send(room, "再起動の後")
    await phone.answered("再起動の後")
    steps.done("the bot is killed and started again, with its device, and answers")

    bot.pause()
    waiting = [f"留守 {number}" for number in range(20)]
    for text in waiting:
        await desktop.send(room, text)
    await server.kill()
    await server.start()
    bot.resume()
    await until("answers", lambda: all(f"承りました: {text}" in phone.said for text in waiting))
    answered = [text for text in phone.said if "留守" in text]
    assert sorted(set(answered)) == sorted(answered), f"each once, not {answered}"
    steps.done("20 encrypted messages while the bot stood still, and a SIGKILL of the server: each is answered once")
    await phone.close()
    await desktop.close()
    return server


async def with_devices(program, directory, programs):
    await way(program, directory, programs, msc4190=True)
