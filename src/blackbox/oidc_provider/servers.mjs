// Starts an identity provider and a server of one authority whose users sign in there.

import { spawn, spawnSync } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

// It warns of its own settings for trying out, which are what is wanted here.
console.warn = () => {};
console.info = () => {};
const { default: Provider } = await import("oidc-provider");

/** Where browsers reach the server, by way of a proxy that speaks TLS: here, the browser of these steps itself. */
export const HOME = "https://kanazawa.test";
const SECRET = "s&cret of yakuba";

/** What the provider knows of its users; steps change it. */
export const people = {
    hanako: { preferred_username: "hanako", name: "山田 花子", email: "hanako@example.jp", email_verified: true },
    taro: { preferred_username: "taro", name: "太郎", email: "taro@example.jp", email_verified: true },
    nameless: { name: "名無し" },
};

export async function freePort() {
    const server = createServer();
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address();
    await new Promise((done) => server.close(done));
    return port;
}

/** A new signing key. */
export function signingKey() {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

/**
 * An identity provider; it can be stopped, and started again with other keys. It tells the server at this port that somebody has
 * signed out: in which login, or else who.
 */
export async function startProvider(portOfServer) {
    const port = await freePort();
    const issuer = `http://127.0.0.1:${port}`;
    let listening;
    const state = { namesLogins: true, told: [], askedForKeys: 0 };
    let key = signingKey();
    const start = async ({ newKeys = false } = {}) => {
        if (newKeys) key = signingKey();
        const provider = new Provider(issuer, {
            clients: [{
                client_id: "yakuba", client_secret: SECRET, redirect_uris: [`${HOME}/_yakuba/upstream/callback`],
                grant_types: ["authorization_code"], response_types: ["code"],
                backchannel_logout_uri: `http://127.0.0.1:${portOfServer}/_yakuba/upstream/sign-out`,
                backchannel_logout_session_required: state.namesLogins,
            }],
            features: { backchannelLogout: { enabled: true } },
            jwks: { keys: [key] },
            cookies: { keys: ["of the provider"] },
            claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email", "email_verified"] },
            findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
            pkce: { required: () => true, methods: ["S256"] },
        });
        provider.use(async (context, next) => {
            if (context.path === "/jwks") state.askedForKeys += 1;
            await next();
        });
        provider.on("backchannel.success", () => state.told.push("taken"));
        provider.on("backchannel.error", (_, error) => state.told.push(error.message));
        provider.on("server_error", (_, error) => console.error("provider:", error.message));
        listening = await new Promise((done) => {
            const server = provider.listen(port, "127.0.0.1", () => done(server));
        });
    };
    const stop = async () => {
        listening.closeAllConnections();
        await new Promise((done) => listening.close(done));
    };
    await start();
    return { issuer, start, stop, state };
}

/** The server. */
export async function startYakuba(program, issuer, port) {
    const directory = mkdtempSync(join(tmpdir(), "yakuba-upstream-"));
    const place = join(directory, "place");
    mkdirSync(place);
    const init = spawnSync(program, ["init", "--server-name", "kanazawa.test", place], { encoding: "utf8" });
    if (init.status !== 0) throw new Error(init.stderr);
    writeFileSync(join(place, "upstream.secret"), `${SECRET}\n`, { mode: 0o600 });
    writeFileSync(join(place, "yakuba.toml"), `
[[authorities]]
name = "kanazawa.test"
key_file = "keys/kanazawa.test.key"
client_url = "${HOME}"
[authorities.registration]
mode = "open"
[authorities.upstream]
issuer = "${issuer}"
client_id = "yakuba"
client_secret_file = "upstream.secret"
makes_accounts = true
label_ja = "職員認証"
label_en = "Staff sign-in"
[[listeners]]
address = "127.0.0.1:${port}"
serves = ["client"]
[[listeners]]
address = "127.0.0.1:${await freePort()}"
serves = ["admin"]
`, { mode: 0o600 });
    const server = spawn(program, ["serve", "--config", join(place, "yakuba.toml")], { stdio: ["ignore", "ignore", "pipe"] });
    let told = "";
    server.stderr.on("data", (text) => { told = (told + text).slice(-8000); });
    const ended = new Promise((done) => server.once("exit", done));
    let isOver = false;
    ended.then(() => { isOver = true; });
    const base = `http://127.0.0.1:${port}`;
    for (;;) {
        if (isOver) throw new Error(`the server did not start: ${told}`);
        const answer = await fetch(`${base}/_matrix/client/versions`).catch(() => null);
        if (answer?.ok) break;
        await new Promise((done) => setTimeout(done, 50));
    }
    const stop = async () => {
        server.kill("SIGTERM");
        await ended;
        rmSync(directory, { recursive: true, force: true });
    };
    /** Does what an operator asks for, with the running server. */
    const command = (...words) => {
        const done = spawnSync(program, [...words, "--config", join(place, "yakuba.toml")], { encoding: "utf8" });
        if (done.status !== 0) throw new Error(`${words.join(" ")}: ${done.stderr}`);
    };
    /** The rows of the audit log. */
    const audit = () => {
        const done = spawnSync(program, ["audit", "list", "--json", "--config", join(place, "yakuba.toml")], { encoding: "utf8" });
        if (done.status !== 0) throw new Error(done.stderr);
        return done.stdout;
    };
    return { base, stop, command, audit, log: () => told };
}
