// A bridge on matrix-appservice-bridge to a network of lines: who connects to its port hears what is said in rooms as
// "ALIAS<tab>SENDER<tab>TEXT", and says "ALIAS<tab>NICK<tab>TEXT", which the ghost of that nick says in the room.
//
// usage: lines_bridge.mjs -r -u URL -f REGISTRATION    writes the registration
//        lines_bridge.mjs -p PORT -f REGISTRATION      (HOMESERVER, DOMAIN and LINES_PORT in the environment)

import net from "node:net";
import readline from "node:readline";

import appservice from "matrix-appservice-bridge";

const { AppServiceRegistration, Bridge, Cli, RemoteRoom } = appservice;

function generateRegistration(registration, done) {
  registration.setId(AppServiceRegistration.generateToken());
  registration.setHomeserverToken(AppServiceRegistration.generateToken());
  registration.setAppServiceToken(AppServiceRegistration.generateToken());
  registration.setSenderLocalpart("linesbot");
  registration.addRegexPattern("users", "@lines_.*", true);
  registration.addRegexPattern("aliases", "#lines_.*", true);
  done(registration);
}

async function run(port, _config, registration) {
  const listeners = new Set();
  const aliasOf = async (room) => {
    const [entry] = await bridge.getRoomStore().getEntriesByMatrixId(room);
    return entry?.remote?.getId();
  };
  const controller = {
    onUserQuery: (user) => ({ name: `${user.localpart} (電文)` }),
    onAliasQuery: (_alias, localpart) => ({
      creationOpts: { room_alias_name: localpart, name: `電文 ${localpart}`, preset: "public_chat" },
      remote: new RemoteRoom(localpart),
    }),
    onEvent: async (request) => {
      const event = request.getData();
      if (event.type !== "m.room.message") return;
      const alias = await aliasOf(event.room_id);
      for (const socket of listeners) socket.write(`${alias}\t${event.sender}\t${event.content.body}\n`);
    },
  };
  const bridge = new Bridge({
    homeserverUrl: process.env.HOMESERVER,
    domain: process.env.DOMAIN,
    registration,
    controller,
    // In order, also where a step of one event takes longer than that of the next.
    queue: { type: "single", perRequest: false },
  });

  const say = async (line) => {
    const [alias, nick, text] = line.split("\t");
    const [entry] = await bridge.getRoomStore().getEntriesByRemoteId(alias);
    const intent = bridge.getIntent(`@lines_${nick}:${process.env.DOMAIN}`);
    await intent.sendText(entry.matrix.getId(), text);
  };
  const remote = net.createServer((socket) => {
    listeners.add(socket);
    socket.on("close", () => listeners.delete(socket)).on("error", () => {});
    readline.createInterface({ input: socket }).on("line", (line) => {
      say(line).catch((error) => console.error("not said:", line, error));
    });
  });
  await bridge.run(port, undefined, "127.0.0.1");
  remote.listen(Number(process.env.LINES_PORT), "127.0.0.1", () => console.log("the bridge is ready"));
}

new Cli({ generateRegistration, run }).run();
