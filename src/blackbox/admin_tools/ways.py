"""matrix-synapse-admin, unchanged, against a real Yakuba: usage: ways.py YAKUBA"""

import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from urllib.parse import quote

import httpx
from synapse_admin import Management, Media, Room, User
from synapse_admin.base import SynapseException

# The tool takes the address at which it asks for the name of the server.
NAME = "localhost"
PASSWORD = "long enough words"
PATIENCE = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    """Waits until the condition gives something true, and gives that."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"in {PATIENCE} s never: {what}"
        time.sleep(0.05)


class Yakuba:
    """A server with one authority, and its commands."""

    def __init__(self, program, directory):
        self.program, self.directory = program, pathlib.Path(directory) / "yakuba"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = self.directory / "yakuba.toml"
        subprocess.run([program, "init", "--server-name", NAME, self.directory], check=True, stdout=subprocess.DEVNULL)
        admin = free_port()
        self.config.write_text(f"""
[[authorities]]
name = "{NAME}"
key_file = "keys/{NAME}.key"
[authorities.registration]
mode = "token"
[[listeners]]
address = "127.0.0.1:{self.port}"
serves = ["client", "admin_api"]
[[listeners]]
address = "127.0.0.1:{admin}"
serves = ["admin"]
[limits]
enabled = false
""")
        self.log = open(pathlib.Path(directory) / "yakuba.log", "wb")
        command = [program, "serve", "--begin", "--config", self.config]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until("the server answers", self.answers)

    def answers(self):
        assert self.process.poll() is None, pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]
        try:
            return httpx.get(f"{self.url}/_matrix/client/versions").status_code == 200
        except httpx.HTTPError:
            return False

    def user(self, verb, name, *more, stdin=None):
        command = [self.program, "user", verb, name, *more, "--config", self.config]
        return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, text=True).stdout

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=60)


class Person:
    """Somebody who has logged in."""

    def __init__(self, server, name, password=PASSWORD):
        self.server, self.id = server, f"@{name}:{NAME}"
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        told = httpx.post(f"{server.url}/_matrix/client/v3/login", json=body)
        assert told.status_code == 200, told.text
        self.token, self.device = told.json()["access_token"], told.json()["device_id"]

    def call(self, method, path, **more):
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.server.url}/_matrix{path}", headers=headers, **more)

    def must(self, method, path, **more):
        told = self.call(method, path, **more)
        assert told.status_code == 200, told.text
        return told.json()

    def room(self, name):
        # The tool adds the server to ids that do not name one, as those of newer versions.
        wishes = {"preset": "public_chat", "name": name, "room_version": "11"}
        return self.must("POST", "/client/v3/createRoom", json=wishes)["room_id"]

    def upload(self, text):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "text/plain"}
        told = httpx.post(f"{self.server.url}/_matrix/media/v3/upload", headers=headers, content=text.encode())
        assert told.status_code == 200, told.text
        return told.json()["content_uri"].rsplit("/", 1)[1]


def refused(errcode, ask):
    try:
        told = ask()
    except SynapseException as error:
        assert error.code == errcode, (error.code, error.msg)
        return
    raise AssertionError(f"not refused: {told}")


class Ways:
    """What an administrator does by the tool, step by step."""

    def __init__(self, server):
        self.server = server

    def administrator_by_command(self):
        self.server.user("create", "admin", "--password-file", "-", stdin=PASSWORD)
        self.admin = Person(self.server, "admin")
        of = (NAME, self.server.port, self.admin.token, "http://")
        self.users, self.rooms, self.media, self.server_ = User(*of), Room(*of), Media(*of), Management(*of)
        refused("M_FORBIDDEN", lambda: self.users.query(self.admin.id))
        self.server.user("admin", "admin", "--grant")
        assert self.users.query(self.admin.id)["admin"] is True

    def version(self):
        assert self.server_.version().server.startswith("Yakuba ")
        assert self.server_.background_updates_get() == (True, {})

    def users_made_and_changed(self):
        for name in ["hanako", "taro", "jiro"]:
            assert self.users.create(f"@{name}:{NAME}", password=PASSWORD, displayname=f"{name}さん")
        assert self.users.modify(f"@jiro:{NAME}", displayname="次郎")
        assert self.users.query(f"@jiro:{NAME}")["displayname"] == "次郎"
        listed = self.users.lists(limit=2)
        assert (len(listed), listed.total, listed.next) == (2, 4, "2"), (listed, listed.total, listed.next)
        assert [user["name"] for user in self.users.lists(name="次")] == [f"@jiro:{NAME}"]
        assert self.users.is_admin(f"@jiro:{NAME}") is False
        assert self.users.set_admin(f"@jiro:{NAME}", True)
        assert self.users.is_admin(f"@jiro:{NAME}") is True
        assert self.users.username_available("saburo") is True
        assert self.users.username_available("jiro") is False
        self.hanako, self.taro = Person(self.server, "hanako"), Person(self.server, "taro")
        assert self.users.active_sessions(self.hanako.id) is not None
        assert self.users.reset_password(f"@jiro:{NAME}", "another long word")
        Person(self.server, "jiro", "another long word")
        assert "m.push_rules" in self.users.data(self.hanako.id)["global"]
        assert self.users.pushers(self.hanako.id).total == 0

    def devices(self):
        devices = self.users.devices
        second, third = Person(self.server, "taro"), Person(self.server, "taro")
        assert {one["device_id"] for one in devices.lists(self.taro.id)} >= {second.device, third.device}
        assert devices.update(self.taro.id, second.device, "窓口")
        assert devices.show(self.taro.id, second.device)["display_name"] == "窓口"
        assert devices.delete(self.taro.id, second.device)
        assert devices.delete(self.taro.id, [third.device])
        assert len(devices.lists(self.taro.id)) == 1

    def tokens(self):
        tokens = self.users.registration_tokens
        assert tokens.create("sakura", uses_allowed=1)["token"] == "sakura"
        assert tokens.update("sakura", uses_allowed=2)["uses_allowed"] == 2
        assert tokens.query("sakura")["completed"] == 0
        body = {"username": "sakuya", "password": PASSWORD}
        first = httpx.post(f"{self.server.url}/_matrix/client/v3/register", json=body)
        auth = {"type": "m.login.registration_token", "token": "sakura", "session": first.json()["session"]}
        told = httpx.post(f"{self.server.url}/_matrix/client/v3/register", json={**body, "auth": auth})
        assert told.status_code == 200, told.text
        assert tokens.query("sakura")["completed"] == 1
        assert [one["token"] for one in tokens.lists(valid=True)] == ["sakura"]
        assert tokens.delete("sakura")
        refused("M_NOT_FOUND", lambda: tokens.query("sakura"))

    def rooms_seen(self):
        self.square = self.hanako.room("広場")
        assert [room["room_id"] for room in self.rooms.lists()] == [self.square]
        assert [room["name"] for room in self.rooms.lists(search="広")] == ["広場"]
        assert self.rooms.details(self.square)["joined_members"] == 1
        assert list(self.rooms.list_members(self.square)) == [self.hanako.id]
        assert any(event["type"] == "m.room.create" for event in self.rooms.get_state(self.square))
        assert self.rooms.forward_extremities_check(self.square).total == 1
        event = {"msgtype": "m.text", "body": "こんにちは"}
        path = f"/client/v3/rooms/{quote(self.square)}/send/m.room.message/1"
        said = self.hanako.must("PUT", path, json=event)["event_id"]
        assert self.rooms.event_context(self.square, said)["event"]["content"] == event

    def rooms_changed(self):
        assert self.users.join_room(self.taro.id, self.square)
        assert list(self.users.joined_room(self.taro.id)) == [self.square]
        assert self.rooms.set_admin(self.square, self.taro.id)
        assert self.rooms.block(self.square, True) is True
        assert self.rooms.block_status(self.square)
        assert self.admin.call("POST", f"/client/v3/join/{quote(self.square)}", json={}).status_code == 403
        assert self.rooms.block(self.square, False) is False
        order = self.rooms.delete_async(self.square)
        until("the room is gone", lambda: self.rooms.delete_status_id(order)["status"] == "complete")
        refused("M_NOT_FOUND", lambda: self.rooms.details(self.square))
        other = self.hanako.room("別の広場")
        # The older form answers when all is gone, for which the tool waits 5 s; whoever else has to be told of the room may take longer.
        path = f"{self.server.url}/_synapse/admin/v1/rooms/{quote(other)}"
        headers = {"Authorization": f"Bearer {self.admin.token}"}
        told = httpx.request("DELETE", path, headers=headers, json={}, timeout=PATIENCE)
        assert told.json()["kicked_users"] == [self.hanako.id], told.text

    def files(self):
        one, two, three = (self.hanako.upload(text) for text in ["一", "二二", "三三三"])
        room = self.hanako.room("写真")
        event = {"msgtype": "m.file", "body": "a", "url": f"mxc://{NAME}/{one}"}
        self.hanako.must("PUT", f"/client/v3/rooms/{quote(room)}/send/m.room.message/1", json=event)
        assert self.media.list_media(room).local == [f"mxc://{NAME}/{one}"]
        assert {file["media_id"] for file in self.users.list_media(self.hanako.id)} == {one, two, three}
        used = self.media.statistics()
        assert (used.total, used[0]["media_length"]) == (1, 3 + 6 + 9), list(used)

        def shown(file):
            return self.taro.call("GET", f"/client/v1/media/download/{NAME}/{file}").status_code

        assert self.media.quarantine_id(one, NAME)
        assert (shown(one), shown(two)) == (404, 200)
        assert self.media.quarantine_remove(one, NAME)
        assert shown(one) == 200
        assert self.media.protect_media(two)
        assert self.media.quarantine_user(self.hanako.id) == 2
        assert (shown(one), shown(two), shown(three)) == (404, 200, 404)
        assert self.media.unprotect_media(two)
        assert self.media.delete_local_media(one, NAME)
        # What is withheld, as the third is, may have to be looked at, and does not go with others.
        self.hanako.upload("四四四四")
        later = int(time.time() * 1000) + 60_000
        assert self.media.delete_local_media_by_condition(later, size_gt=8, server_name=NAME).total == 1
        assert set(self.media.delete_media_by_user(self.hanako.id)) == {two, three}
        assert self.media.purge_remote_media(1) == 0

    def told_and_closed(self):
        assert self.server_.announce(self.taro.id, "お知らせ").startswith("$")
        assert self.server_.federation_list().total == 0
        assert self.users.deactivate(self.taro.id)
        assert self.users.query(self.taro.id)["deactivated"] is True
        assert self.taro.call("GET", "/client/v3/account/whoami").status_code == 401

    def no_more(self):
        self.server.user("admin", "admin", "--revoke")
        refused("M_FORBIDDEN", lambda: self.users.query(self.admin.id))
        command = [self.server.program, "audit", "list", "--config", self.server.config]
        rows = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for word in ["account.grant_administration", "account.revoke_administration", "room.order_purge", "media.remove"]:
            assert word in rows, word


def main():
    went = True
    with tempfile.TemporaryDirectory() as directory:
        server = Yakuba(pathlib.Path(sys.argv[1]), directory)
        try:
            ways = Ways(server)
            for name in [name for name in vars(Ways) if not name.startswith("_")]:
                try:
                    getattr(ways, name)()
                    print(f"ok    {name.replace('_', ' ')}", flush=True)
                except Exception:  # whatever fails, the log is shown, and the status tells
                    traceback.print_exc()
                    print(f"FAIL  {name.replace('_', ' ')}", flush=True)
                    print(pathlib.Path(server.log.name).read_text(errors="replace")[-3000:], file=sys.stderr)
                    went = False
                    break
        finally:
            server.close()
    return 0 if went else 1


if __name__ == "__main__":
    sys.exit(main())
