"""A bridge on matrix-appservice-bridge makes the room that an alias asks for, and its ghosts speak in it."""

import asyncio
import pathlib

from stage import NAME, Person, Program, Server, Steps, free_port, until

ALIAS = "lines_hiroba"


class Lines:
    """Somebody on the network of lines."""

    def __init__(self, port):
        self.port, self.heard = port, []

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.task = asyncio.create_task(self.read())

    async def read(self):
        while line := (await self.reader.readline()).decode().rstrip("\n"):
            alias, sender, text = line.split("\t")
            self.heard.append((alias, sender, text))

    def say(self, nick, text):
        self.writer.write(f"{ALIAS}\t{nick}\t{text}\n".encode())

    def texts(self):
        return [text for _, _, text in self.heard]


async def way(program, directory, programs):
    steps = Steps("matrix-appservice-bridge")
    script, registration = pathlib.Path(__file__).parent / "lines_bridge.mjs", directory / "lines.yaml"
    port, lines_port = free_port(), free_port()
    generate = Program(directory, "generate", "node", script, "-r", "-u", f"http://127.0.0.1:{port}", "-f", registration)
    programs.append(generate)
    await generate.start()
    assert await generate.process.wait() == 0, "the bridge writes its registration"
    steps.done("its own registration")

    server = Server(program, directory)
    programs.append(server)
    await server.open(registration)
    bridge = Program(directory, "lines", "node", script, "-p", port, "-f", registration)
    bridge.environment = {"HOMESERVER": server.url, "DOMAIN": NAME, "LINES_PORT": str(lines_port)}
    programs.append(bridge)
    await bridge.start()
    await until("the bridge has started", lambda: bridge.says("the bridge is ready"))
    network = Lines(lines_port)
    await network.open()
    steps.done("the bridge starts")

    hanako = await Person(server, "hanako").register()
    room = await hanako.join(f"#{ALIAS}:{NAME}")
    await hanako.until("the room's name", lambda: hanako.names.get(room) == f"電文 {ALIAS}")
    steps.done("a room that nobody had made is joined by its alias")

    jiro = f"@lines_jiro:{NAME}"
    await hanako.call("POST", "/createRoom", {"is_direct": True, "invite": [jiro]})
    shown = await hanako.call("GET", f"/profile/{jiro}")
    assert shown["displayname"] == "lines_jiro (電文)", shown
    steps.done("a ghost that nobody had made is invited, and the bridge makes it and names it")

    await hanako.send(room, "こんにちは")
    told = await until("the network hears hanako", lambda: network.heard)
    assert told == [(ALIAS, hanako.id, "こんにちは")], told
    network.say("jiro", "こちらは電文")
    await hanako.heard(room, "こちらは電文")
    assert (jiro, "こちらは電文") in hanako.said[room], "the ghost says it"
    steps.done("a message each way, by a ghost")

    await bridge.kill()
    waiting = [f"留守 {number}" for number in range(20)]
    for text in waiting:
        await hanako.send(room, text)
    await server.kill()
    await server.start()
    await bridge.start()
    await until("the bridge listens again", lambda: bridge.counts("the bridge is ready") == 2)
    network = Lines(lines_port)
    await network.open()
    network.say("jiro", "戻りました")
    await hanako.heard(room, "戻りました")
    await hanako.send(room, "おかえりなさい")
    await until("the network hears the last", lambda: "おかえりなさい" in network.texts())
    assert network.texts() == [*waiting, "おかえりなさい"], f"each once and in order, not {network.texts()}"
    steps.done("20 messages while the bridge was killed, and a SIGKILL of the server: each once and in order")
    return server
