// A server and the bot on loopback, and a member with a room.

import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Front } from "./front.mjs";

const PATIENCE = 60_000;
const NAME = "kanazawa.test";
export const BOT = `@dropbox:${NAME}`;

async function freePort() {
    return await new Promise((done) => {
        const server = createServer().listen(0, "127.0.0.1", () => {
            const { port } = server.address();
            server.close(() => done(port));
        });
    });
}

/** Asks again until there is an answer that is wanted. */
export async function until(what, attempt, patience = PATIENCE) {
    const end = Date.now() + patience;
    for (;;) {
        const found = await attempt().catch(() => undefined);
        if (found) return found;
        if (Date.now() > end) throw new Error(`in vain: ${what}`);
        await new Promise((again) => setTimeout(again, 50));
    }
}

export class Town {
    static async start(yakuba, dropbox) {
        const town = new Town();
        town.directory = mkdtempSync(join(tmpdir(), "dropbox-browser-"));
        const [port, own, page, behind] = [await freePort(), await freePort(), await freePort(), await freePort()];
        town.front = await Front.start(page, behind);
        town.base = `http://127.0.0.1:${port}`;
        const home = join(town.directory, "home");
        execFileSync(yakuba, ["init", home, "--server-name", NAME], { stdio: "ignore" });
        writeFileSync(join(town.directory, "dropbox.toml"), `
[homeserver]
url = "${town.base}"
server_name = "${NAME}"
[appservice]
registration = "registration.yaml"
url = "http://127.0.0.1:${own}"
[listener]
address = "127.0.0.1:${own}"
[store]
path = "dropbox/store.redb"
[bot]
place = "金沢市"
public_url = "http://127.0.0.1:${page}"
page_address = "127.0.0.1:${behind}"
files_path = "dropbox/files"
audit_path = "dropbox/audit.jsonl"
`);
        const config = join(town.directory, "dropbox.toml");
        execFileSync(dropbox, ["registration", "--config", config], { stdio: "ignore" });
        writeFileSync(join(home, "town.toml"), `
[[authorities]]
name = "${NAME}"
key_file = "keys/${NAME}.key"
client_url = "${town.base}"
registration = { mode = "open" }
application_services = ["../registration.yaml"]
[[listeners]]
address = "127.0.0.1:${port}"
serves = ["client"]
[media]
largest_upload = "3 GiB"
[log]
filter = "warn"
`);
        const output = { stdio: ["ignore", "inherit", "inherit"] };
        town.server = spawn(yakuba, ["serve", "--begin", "--config", join(home, "town.toml")], output);
        await until("the server", async () => (await town.ask("GET", "/_matrix/client/versions")).versions);
        town.bot = () => spawn(dropbox, ["serve", "--config", config], { ...output, env: { ...process.env, RUST_LOG: "warn" } });
        town.running = town.bot();
        await until("the bot", async () => (await fetch(`http://127.0.0.1:${own}/health`)).ok);
        town.health = `http://127.0.0.1:${own}/health`;
        await town.settle();
        return town;
    }

    async ask(method, path, body) {
        const headers = this.token ? { authorization: `Bearer ${this.token}` } : {};
        const answer = await fetch(this.base + path, { method, headers, body: body && JSON.stringify(body) });
        if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
        return await answer.json();
    }

    /** A member, and a room with the bot. */
    async settle() {
        const account = { username: "hanako", password: "correct horse 42", auth: { type: "m.login.dummy" } };
        this.token = (await this.ask("POST", "/_matrix/client/v3/register", account)).access_token;
        const made = await this.ask("POST", "/_matrix/client/v3/createRoom", { preset: "private_chat", invite: [BOT] });
        this.room = encodeURIComponent(made.room_id);
        const path = `/_matrix/client/v3/rooms/${this.room}/state/m.room.member/${encodeURIComponent(BOT)}`;
        await until("the bot comes in", async () => (await this.ask("GET", path)).membership === "join");
    }

    /** Messages of the room, newest first. */
    async messages() {
        return (await this.ask("GET", `/_matrix/client/v3/rooms/${this.room}/messages?dir=b&limit=100`)).chunk
            .filter((event) => event.type === "m.room.message").map((event) => event.content);
    }

    /** What the bot said last with these words, once it said them so often. */
    async said(words, { often = 1, patience = PATIENCE } = {}) {
        return await until(words, async () => {
            const found = (await this.messages()).filter((content) => content.body.includes(words));
            return found.length >= often && found[0];
        }, patience);
    }

    #number = 0;
    #links = 0;

    /** A link that a command makes. */
    async link(command) {
        this.#links += 1;
        await this.send(this.token, "m.room.message", { msgtype: "m.text", body: command });
        return (await this.said(`受取URL ${this.#links}番「`)).body.split("\n").find((line) => line.startsWith("http"));
    }

    /** The code that was told in the room of the bot and the member. */
    async code() {
        const found = await until("an invite", async () =>
            Object.keys((await this.ask("GET", "/_matrix/client/v3/sync?timeout=0")).rooms?.invite ?? {})[0]);
        await this.ask("POST", `/_matrix/client/v3/join/${encodeURIComponent(found)}`, {});
        const path = `/_matrix/client/v3/rooms/${encodeURIComponent(found)}/messages?dir=b&limit=50`;
        return await until("a code", async () => {
            const bodies = (await this.ask("GET", path)).chunk.map((event) => event.content.body ?? "");
            return bodies.map((body) => /合言葉：(\d{4} \d{4})/.exec(body)?.[1]).find(Boolean);
        });
    }

    async send(token, kind, content) {
        this.#number += 1;
        const path = `/_matrix/client/v3/rooms/${this.room}/send/${kind}/browser-${this.#number}`;
        const headers = { authorization: `Bearer ${token}` };
        const answer = await fetch(this.base + path, { method: "PUT", headers, body: JSON.stringify(content) });
        return (await answer.json()).event_id;
    }

    /** A link by which a file of the room is fetched, to which a second member agreed. */
    async handOver(name, bytes) {
        const headers = { authorization: `Bearer ${this.token}`, "content-type": "application/pdf" };
        const uploaded = await fetch(`${this.base}/_matrix/media/v3/upload`, { method: "POST", headers, body: bytes });
        const url = (await uploaded.json()).content_uri;
        const account = { username: "jiro", password: "correct horse 42", auth: { type: "m.login.dummy" } };
        const jiro = (await this.ask("POST", "/_matrix/client/v3/register", account)).access_token;
        await this.ask("POST", `/_matrix/client/v3/rooms/${this.room}/invite`, { user_id: `@jiro:${NAME}` });
        await fetch(`${this.base}/_matrix/client/v3/join/${this.room}`, {
            method: "POST", headers: { authorization: `Bearer ${jiro}` }, body: "{}",
        });
        const file = await this.send(this.token, "m.room.message", { msgtype: "m.file", body: name, url, info: { size: bytes.length } });
        await this.send(this.token, "m.room.message", {
            msgtype: "m.text", body: "!渡し 回数 1", "m.relates_to": { "m.in_reply_to": { event_id: file } },
        });
        await this.said("渡そうとしています");
        const path = `/_matrix/client/v3/rooms/${this.room}/messages?dir=b&limit=100`;
        const question = (await this.ask("GET", path)).chunk.find((event) => event.content.body?.includes("渡そうとしています"));
        await this.send(jiro, "m.reaction", {
            "m.relates_to": { rel_type: "m.annotation", event_id: question.event_id, key: "✅" },
        });
        return (await this.said("承認 @jiro")).body.split("\n").find((line) => line.startsWith("http"));
    }

    /** The hash of a file, which may be larger than memory. */
    async hashOf(uri) {
        const path = `/_matrix/client/v1/media/download/${uri.slice("mxc://".length)}`;
        const answer = await fetch(this.base + path, { headers: { authorization: `Bearer ${this.token}` } });
        const hash = createHash("sha256");
        for await (const part of answer.body) hash.update(part);
        return hash.digest("hex");
    }

    /** Files of the room by this name. */
    async files(name) {
        return (await this.messages()).filter((content) => content.url && content.body === name);
    }

    /** Kills the bot. */
    async kill() {
        const gone = new Promise((done) => this.running.once("exit", done));
        this.running.kill("SIGKILL");
        await gone;
    }

    /** Starts it again. */
    async again() {
        this.running = this.bot();
        await until("the bot again", async () => (await fetch(this.health)).ok);
    }

    async stop() {
        this.front.stop();
        for (const child of [this.running, this.server]) {
            if (!child || child.exitCode !== null || child.signalCode !== null) continue;
            const gone = new Promise((done) => child.once("exit", done));
            child.kill("SIGTERM");
            await gone;
        }
        rmSync(this.directory, { recursive: true, force: true });
    }
}
