"""The bots beside a real Synapse: usage: ways.py DIRECTORY [BOT…]"""

import asyncio
import base64
import email
import email.message
import email.policy
import hashlib
import hmac
import json
import pathlib
import re
import secrets
import smtplib
import sys
import tempfile
import time
import traceback

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import SMTP
from yarl import URL

from stage import Person, Steps, fail, free_port, until
from synapse import beside

PICTURE = b"\x89PNG\r\n\x1a\n and so on"
SECRET = "a secret of twenty-four letters"
TOKEN = "token-of-twenty-four-letters"


def said(person, room, kind):
    """Contents of the room's messages of this kind, oldest first."""
    return [content for content in person.contents.get(room, []) if content.get("msgtype") == kind]


class Member(Person):
    """Somebody who keeps whole messages, can load what they show, and sends what is no text."""

    def __init__(self, server, name):
        super().__init__(server, name)
        self.contents = {}

    async def call(self, method, path, body=None):
        told = await super().call(method, path, body)
        if path.startswith("/sync"):
            for room, joined in told.get("rooms", {}).get("join", {}).items():
                for event in joined.get("timeline", {}).get("events", []):
                    if event["type"] == "m.room.message":
                        content = {**event["content"], "event_id": event["event_id"], "from": event["sender"]}
                        self.contents.setdefault(room, []).append(content)
        return told

    async def room(self, bot, **wishes):
        body = {"preset": "private_chat", "invite": [bot.id], **wishes}
        return (await self.call("POST", "/createRoom", body))["room_id"]

    async def emit(self, room, kind, content):
        return (await self.call("PUT", f"/rooms/{room}/send/{kind}/{secrets.token_hex(8)}", content))["event_id"]

    async def of_kind(self, room, kind, wanted=lambda content: True):
        def find():
            return [content for content in said(self, room, kind) if wanted(content)]

        return (await self.until(f"a message of kind {kind}", find))[-1]

    async def load(self, url):
        headers = {"Authorization": f"Bearer {self.token}"}
        at = f"{self.server.url}/_matrix/client/v1/media/download/{url.removeprefix('mxc://')}"
        async with aiohttp.ClientSession() as session, session.get(at, headers=headers) as answer:
            assert answer.status == 200, f"{at}: {answer.status}"
            return await answer.read()

    async def is_here(self, room, who):
        """Waits until somebody is in the room."""
        async def look():
            members = await self.call("GET", f"/rooms/{room}/joined_members")
            return who in members["joined"]

        await until(f"{who} is in the room", look)


async def memo(programs, directory, started):
    steps = Steps("memo")
    server, bot = await beside(directory, programs, started, "memo", 'keep = "90d"')
    hanako = await Member(server, "hanako").register()
    await hanako.room(bot, preset="trusted_private_chat", is_direct=True)
    room = await hanako.follow_invite("メモ帳")
    await hanako.heard(room, "あなただけのメモ帳")
    steps.done("who asks the bot gets a room of his own")
    await hanako.send(room, "橋の写真は後で")
    await bot.restart()
    await hanako.send(room, "一覧")
    assert "橋の写真は後で" in await hanako.heard(room, "メモ1件")
    steps.done("a memo is listed by a bot that was killed meanwhile")
    await hanako.send(room, "消す 全部")
    await hanako.heard(room, "1件のメモを消しました")
    history = await hanako.call("GET", f"/rooms/{room}/messages?dir=b&limit=50")
    assert "橋の写真" not in json.dumps(history["chunk"], ensure_ascii=False)
    steps.done("what is deleted is gone, with the list that showed it")


def signed(body):
    """The headers of Standard Webhooks for a body."""
    at, name = str(int(time.time())), f"msg_{secrets.token_hex(6)}"
    mac = hmac.new(SECRET.encode(), f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": f"v1,{base64.b64encode(mac).decode()}"}


async def hook(programs, directory, started):
    steps = Steps("hook")
    taken = []

    async def take(request):
        body = await request.read()
        name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        mac = hmac.new(SECRET.encode(), f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        taken.append(json.loads(body))
        return web.Response()

    target = web.Application()
    target.router.add_post("/taken", take)
    runner = web.AppRunner(target)
    await runner.setup()
    port, door = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()

    server, bot = await beside(directory, programs, started, "hook", "")
    hanako = await Member(server, "hanako").register()
    room = await hanako.room(bot)
    bot.settings = f"""
address = "127.0.0.1:{door}"
[[bot.incoming]]
name = "road"
token = "{TOKEN}"
secret = "{SECRET}"
room = "{room}"
form = "report"
[[bot.outgoing]]
name = "archive"
url = "http://127.0.0.1:{port}/taken"
secret = "{SECRET}"
rooms = ["{room}"]
allow = ["127.0.0.1/32"]
"""
    bot.write(server.url)
    await bot.restart()
    # Into a room that it was not told to go into it did not go.
    await hanako.call("POST", f"/rooms/{room}/invite", {"user_id": bot.id})
    await hanako.is_here(room, bot.id)
    steps.done("it goes into the room of its settings")

    photo = {"name": "現場.png", "data": base64.b64encode(PICTURE).decode()}
    place = {"latitude": 36.5611, "longitude": 136.6564, "address": "片町1丁目"}
    body = json.dumps({"id": "R-12", "title": "道路の陥没", "text": "直径30cmほど", "place": place, "photos": [photo]}).encode()
    headers = signed(body)
    async with aiohttp.ClientSession() as session:
        at = f"http://127.0.0.1:{door}/hook/{TOKEN}"
        for _ in range(2):
            async with session.post(at, data=body, headers=headers) as answer:
                assert answer.status == 200, answer.status
        async with session.post(at, data=body + b" ", headers=headers) as answer:
            assert answer.status == 401, answer.status
    image = await hanako.of_kind(room, "m.image")
    text = await hanako.of_kind(room, "m.text", lambda content: "道路の陥没" in content["body"])
    assert image["m.relates_to"]["event_id"] == text["event_id"]
    assert await hanako.load(image["url"]) == PICTURE
    assert len(said(hanako, room, "m.text")) == 1
    steps.done("a report is a thread with place and photo, once; one that was changed is refused")

    await hanako.send(room, "確認します")
    await until("the target is told", lambda: [one for one in taken if "確認します" in json.dumps(one, ensure_ascii=False)])
    steps.done("what is said in the room is told to the target, signed")
    await runner.cleanup()


async def dropbox(programs, directory, started):
    steps = Steps("dropbox")
    page = free_port()
    server, bot = await beside(directory, programs, started, "dropbox", f"""
place = "金沢市"
public_url = "http://127.0.0.1:{page}"
page_address = "127.0.0.1:{page}"
files_path = "files"
audit_path = "audit.jsonl"
""")
    hanako, taro = await Member(server, "hanako").register(), await Member(server, "taro").register()
    room = await hanako.room(bot)
    await hanako.is_here(room, bot.id)
    await hanako.send(room, "!受取 工事写真 期限 7日")
    link = re.search(rf"http://127\.0\.0\.1:{page}/r/\S+", await hanako.heard(room, "/r/"))[0]
    steps.done("a member gets a link to upload by")

    content = secrets.token_bytes(3_000_000)
    whole = b"\xff\xd8\xff\xe0" + content
    async with aiohttp.ClientSession() as session:
        name = base64.b64encode("現場.jpg".encode()).decode()
        who = base64.b64encode("能登 次郎".encode()).decode()
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(whole)), "Upload-Metadata": f"filename {name},name {who}"}
        async with session.post(f"{link}/files", headers=headers) as answer:
            assert answer.status == 201, (answer.status, await answer.text())
            at = str(answer.url.join(URL(answer.headers["Location"])))
        for begin in (0, 1_000_000):
            if begin:
                await bot.restart()
            part = whole[:1_000_000] if not begin else whole[begin:]
            headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(begin), "Content-Type": "application/offset+octet-stream"}
            async with session.patch(at, data=part, headers=headers) as answer:
                assert answer.status == 204, (answer.status, await answer.text())
        done = {"sha256": hashlib.sha256(whole).hexdigest()}
        async with session.post(f"{at}/done", json=done, headers={"Tus-Resumable": "1.0.0"}) as answer:
            assert answer.status in (200, 204), (answer.status, await answer.text())
    image = await hanako.of_kind(room, "m.image")
    assert await hanako.load(image["url"]) == whole
    steps.done("a file that was cut by a SIGKILL of the bot is in the room, whole")

    await hanako.call("POST", f"/rooms/{room}/invite", {"user_id": taro.id})
    await taro.join(room)
    await hanako.emit(room, "m.room.message", {
        "msgtype": "m.text", "body": "!渡し 期限 3日 回数 1",
        "m.relates_to": {"m.in_reply_to": {"event_id": image["event_id"]}},
    })
    asked = await hanako.of_kind(room, "m.text", lambda content: "✅" in content["body"])
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": asked["event_id"], "key": "✅"}}
    await hanako.emit(room, "m.reaction", reaction)
    await taro.emit(room, "m.reaction", reaction)
    link = re.search(rf"http://127\.0\.0\.1:{page}/h/\S+", await hanako.heard(room, "/h/"))[0]
    async with aiohttp.ClientSession() as session:
        async with session.get(link) as answer:
            assert answer.status == 200, answer.status
        async with session.post(f"{link}/file") as answer:
            assert answer.status == 200 and await answer.read() == whole
        async with session.post(f"{link}/file") as answer:
            assert answer.status != 200, answer.status
    steps.done("with a second member's consent it can be downloaded, once")


class Post:
    """The authority's mail server, as the bot meets it when mail goes out."""

    def __init__(self):
        self.got, self.port = [], free_port()

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 ok"


async def mailgate(programs, directory, started):
    steps = Steps("mailgate")
    door, post = free_port(), Post()
    taking = await asyncio.get_running_loop().create_server(lambda: SMTP(post), "127.0.0.1", post.port)
    server, bot = await beside(directory, programs, started, "mailgate", f"""
domain = "in.example.test"
address = "127.0.0.1:{door}"
protocol = "smtp"
delay = "0s"
[bot.smtp]
host = "127.0.0.1"
port = {post.port}
security = "none"
""")
    hanako = await Member(server, "hanako").register()
    room = await hanako.room(bot)
    await hanako.is_here(room, bot.id)
    await hanako.send(room, "!メール 開設 kouji")
    address = re.search(r"kouji-\S+@in\.example\.test", await hanako.heard(room, "開設しました"))[0]
    await hanako.send(room, "!メール 許可 example.co.jp")
    await hanako.heard(room, "example.co.jp")
    steps.done("a room gets its address")

    mail = email.message.EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Taro <taro@example.co.jp>", address, "現場の写真"
    mail["Message-ID"] = "<1@example.co.jp>"
    mail.set_content("写真です")
    mail.add_attachment(PICTURE, "image", "png", filename="現場.png")
    # What a mail server repeats has the same bytes; a boundary is drawn anew for each writing.
    mail.set_boundary("once")

    def hand_over():
        with smtplib.SMTP("127.0.0.1", door) as client:
            client.send_message(mail)

    await asyncio.to_thread(hand_over)
    await bot.restart()
    await asyncio.to_thread(hand_over)
    text = await hanako.of_kind(room, "m.text", lambda content: "写真です" in content["body"])
    image = await hanako.of_kind(room, "m.file")
    assert image["m.relates_to"]["event_id"] == text["event_id"] and image["body"] == "現場.png"
    assert await hanako.load(image["url"]) == PICTURE
    steps.done("a mail that came twice, with a SIGKILL of the bot between, is in the room once, with its file")

    await hanako.emit(room, "m.room.message", {
        "msgtype": "m.text", "body": "!返信 直します。",
        "m.relates_to": {"m.in_reply_to": {"event_id": text["event_id"]}},
    })
    await hanako.heard(room, "送りました")
    [(to, mail)] = post.got
    assert to == ["taro@example.co.jp"] and mail["In-Reply-To"] == "<1@example.co.jp>" and address in mail["From"]
    assert mail["Subject"] == "Re: 現場の写真" and mail.get_content().strip() == "直します。"
    shown = [content for content in said(hanako, room, "m.text") if "写真です" in content["body"]]
    assert len(shown) == 1 and len(said(hanako, room, "m.file")) == 1
    steps.done("an answer goes out once, in the thread of its mail")
    taking.close()


WAYS = {"memo": memo, "hook": hook, "dropbox": dropbox, "mailgate": mailgate}


async def go(name, programs):
    started = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            await WAYS[name](programs, pathlib.Path(directory), started)
            return True
        except Exception as error:  # whatever fails, the others are tried, and the status tells
            traceback.print_exc()
            fail(name, error)
            for of in started:
                print(f"--- {of.log.name}\n{of.log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            return False
        finally:
            for of in reversed(started):
                await of.kill()


async def main():
    programs, wanted = sys.argv[1], sys.argv[2:] or list(WAYS)
    went = [await go(name, programs) for name in wanted]
    return 0 if all(went) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
