"""heisenbridge carries what is said between rooms and a real IRC server."""

import sys

from stage import Irc, Person, Program, Server, Steps, free_port, irc_server, until

CHANNEL = "#kouji"


async def way(program, directory, programs):
    steps = Steps("heisenbridge")
    port = free_port()
    registration = directory / "heisenbridge.yaml"
    bridge_command = (sys.executable, "-m", "heisenbridge", "-c", registration)
    generate = Program(directory, "generate", *bridge_command, "--generate", "-l", "127.0.0.1", "-p", port)
    programs.append(generate)
    await generate.start()
    assert await generate.process.wait() == 0, "heisenbridge writes its registration"
    steps.done("its own registration")

    ircd, irc_port = await irc_server(directory)
    programs.append(ircd)
    server = Server(program, directory)
    programs.append(server)
    await server.open(registration)
    hanako = await Person(server, "hanako").register()
    bridge = Program(directory, "heisenbridge", *bridge_command, "-vv", "-o", hanako.id, "-l", "127.0.0.1", "-p", port, server.url)
    programs.append(bridge)
    await bridge.start()
    # It opens a room with its owner by itself.
    control = await hanako.follow_invite("")
    await hanako.heard(control, "Howdy")
    steps.done("the bridge starts, and greets its owner")

    for command, answer in [
        ("ADDNETWORK kanazawa", "added"),
        (f"ADDSERVER kanazawa 127.0.0.1 {irc_port}", "added"),
        ("OPEN kanazawa", "invited"),
    ]:
        await hanako.send(control, command)
        await hanako.heard(control, answer)
    network = await hanako.follow_invite("kanazawa")
    await hanako.send(network, "NICK hanako")
    await hanako.send(network, "CONNECT")
    await hanako.heard(network, "Welcome to")
    steps.done("a network is opened, and the bridge connects to the IRC server")

    taro = Irc(irc_port, "taro")
    await taro.open(CHANNEL)
    await hanako.send(network, f"JOIN {CHANNEL}")
    room = await hanako.follow_invite(CHANNEL)
    await hanako.send(room, "橋の点検を始めます")
    await until("taro hears hanako", lambda: "橋の点検を始めます" in taro.texts())
    taro.say(CHANNEL, "了解しました")
    await hanako.heard(room, "了解しました")
    steps.done("a channel's room, and a message each way")

    # The bridge does not answer for a while: what it was told may be told again, and is said once.
    bridge.pause()
    paused = [f"休止中 {number}" for number in range(20)]
    for text in paused:
        await hanako.send(room, text)
    bridge.resume()
    await until("all is said once and in order", lambda: [text for text in taro.texts() if text.startswith("休止中")][-20:] == paused)
    steps.done("20 messages while the bridge stood still: each once, in order")

    # The server is killed with messages that it has acknowledged.
    killed = [f"停電 {number}" for number in range(20)]
    for text in killed:
        await hanako.send(room, text)
    await server.kill()
    await server.start()
    await until("all is said", lambda: sum(text.startswith("停電") for text in taro.texts()) >= 20)
    taro.say(CHANNEL, "復旧しましたか")
    await hanako.heard(room, "復旧しましたか")
    await hanako.send(room, "復旧しました")
    await until("the last is said", lambda: "復旧しました" in taro.texts())
    heard = [text for text in taro.texts() if text.startswith(("休止中", "停電"))]
    assert heard == paused + killed, f"each once and in order, not {heard}"
    steps.done("20 messages and a SIGKILL of the server: each once, in order, and back again")

    # What waits for it then it takes before it is on IRC again, and tells that it was not said: nothing waits here.
    await bridge.kill()
    came = taro.came.count("hanako")
    await bridge.start()
    await until("the bridge brings hanako back", lambda: taro.came.count("hanako") > came)
    await hanako.send(room, "橋を架け直しました")
    await until("taro hears it", lambda: "橋を架け直しました" in taro.texts())
    taro.say(CHANNEL, "渡れます")
    await hanako.heard(room, "渡れます")
    steps.done("the bridge is killed and started again: it is back on IRC, and a message each way")
    return server
