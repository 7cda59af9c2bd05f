// A server of two authorities over TLS on loopback, and asking it as clients do.
//
// kanazawa.test: whoever likes registers, who accepts the terms and confirms an address by mail.
// wajima.test: whoever has the token registers.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const AUTHORITIES = ["kanazawa.test", "wajima.test"];
export const TOKEN = "sakura";
const PATIENCE = 60_000;

/** A port that nobody listens on. */
export async function freePort() {
    return await new Promise((done) => {
        const server = createServer().listen(0, "127.0.0.1", () => {
            const { port } = server.address();
            server.close(() => done(port));
        });
    });
}

/** A certificate authority of this run and a certificate of it for all names; their files. */
function certify(directory) {
    const openssl = (...words) => execFileSync("openssl", words, { cwd: directory, stdio: "ignore" });
    writeFileSync(join(directory, "openssl.cnf"), [
        "[req]", "distinguished_name = dn", "prompt = no", "[dn]", "CN = Yakuba test",
        "[ca]", "basicConstraints = critical,CA:TRUE",
        "[leaf]", "basicConstraints = critical,CA:FALSE",
        `subjectAltName = ${["localhost", "app.test", ...AUTHORITIES].map((name) => `DNS:${name}`).join(",")}`, "",
    ].join("\n"));
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "openssl.cnf", "-days", "2"];
    openssl("req", "-x509", ...key, "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem");
    openssl("req", "-x509", ...key, "-extensions", "leaf", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-keyout", "leaf.key", "-out", "leaf.pem");
    const file = (name) => join(directory, name);
    return { ca: file("ca.pem"), key: file("leaf.key"), certificate: file("leaf.pem") };
}

export class Server {
    /** Makes the files of a server that listens on these ports, for mails by way of this port with this name and password. */
    static make(port, adminPort, mail) {
        const server = new Server();
        Object.assign(server, { port, adminPort });
        server.directory = mkdtempSync(join(tmpdir(), "yakuba-browser-"));
        mkdirSync(join(server.directory, "keys"), { recursive: true });
        server.tls = certify(server.directory);
        writeFileSync(join(server.directory, "keys", "smtp.password"), mail.password, { mode: 0o600 });
        server.mail = mail;
        return server;
    }

    #settings() {
        const authority = (name, registration) => `
[[authorities]]
name = "${name}"
key_file = "keys/${name}.key"
client_url = "https://${name}:${this.port}"
sign_in_page = true
tls = { certificate = "${this.tls.certificate}", key = "${this.tls.key}" }
registration = ${registration}
`;
        return `${authority("kanazawa.test", '{ mode = "open" }')}
[authorities.mail]
host = "localhost"
security = "starttls"
port = ${this.mail.port}
user = "${this.mail.user}"
password_file = "keys/smtp.password"
ca_file = "${this.tls.ca}"
from = "noreply@kanazawa.test"
from_name = "金沢市"
at_registration = "required"
[[authorities.terms]]
id = "terms_of_use"
version = "1.0"
texts = { ja = { name = "利用規約", url = "https://www.kanazawa.test/terms" }, en = { name = "Terms of use", url = "https://www.kanazawa.test/terms.en" } }
${authority("wajima.test", `{ mode = "token", tokens = ["${TOKEN}"] }`)}
[[listeners]]
address = "127.0.0.1:${this.port}"
serves = ["client", "console"]
tls = true
[[listeners]]
address = "127.0.0.1:${this.adminPort}"
serves = ["admin"]
[log]
filter = "warn"
`;
    }

    async start(program) {
        this.program = program;
        const home = join(this.directory, "home");
        for (const name of AUTHORITIES) {
            const made = join(this.directory, `init-${name}`);
            execFileSync(program, ["init", made, "--server-name", name], { stdio: "ignore" });
            writeFileSync(join(this.directory, "keys", `${name}.key`), readFileSync(join(made, "keys", `${name}.key`)), { mode: 0o600 });
        }
        mkdirSync(home);
        const config = join(this.directory, "yakuba.toml");
        writeFileSync(config, this.#settings());
        this.process = spawn(program, ["serve", "--begin", "--config", config], { stdio: ["ignore", "inherit", "inherit"] });
        this.ended = new Promise((done) => this.process.once("exit", done));
        const end = Date.now() + PATIENCE;
        for (;;) {
            try {
                if ((await this.ask(AUTHORITIES[0], "GET", "/_matrix/client/versions")).status === 200) return;
            } catch {
                // Not yet.
            }
            if (this.process.exitCode !== null || Date.now() > end) throw new Error("the server does not start");
            await new Promise((again) => setTimeout(again, 50));
        }
    }

    /** What a command of the program says to the running server. */
    command(...words) {
        const config = ["--config", join(this.directory, "yakuba.toml")];
        return execFileSync(this.program, [...words, ...config], { encoding: "utf8", env: { ...process.env, LANG: "ja_JP.UTF-8" } });
    }

    /** Makes an account with this password. */
    account(authority, name, password) {
        const file = join(this.directory, "password");
        writeFileSync(file, password, { mode: 0o600 });
        this.command("user", "create", name, "--server-name", authority, "--password-file", file);
    }

    async stop() {
        this.process?.kill("SIGTERM");
        await this.ended;
        rmSync(this.directory, { recursive: true, force: true });
    }

    url(authority) {
        return `https://${authority}:${this.port}`;
    }

    /** Asks as a client does; a body that is a string is a form. */
    async ask(authority, method, path, body, token) {
        const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
        const headers = { host: `${authority}:${this.port}` };
        // Node.js tells no length by itself where a method usually has no body.
        if (text !== undefined) headers["content-length"] = Buffer.byteLength(text);
        if (body !== undefined) headers["content-type"] = typeof body === "string" ? "application/x-www-form-urlencoded" : "application/json";
        if (token) headers.authorization = `Bearer ${token}`;
        return await new Promise((done, failed) => {
            const asked = request({
                host: "127.0.0.1", port: this.port, servername: authority, method, path, headers, ca: readFileSync(this.tls.ca),
            }, (answer) => {
                let got = "";
                answer.setEncoding("utf8").on("data", (part) => { got += part; }).on("end", () => {
                    let json = null;
                    try { json = JSON.parse(got); } catch { /* a page */ }
                    done({ status: answer.statusCode, body: json, text: got });
                });
            });
            asked.on("error", failed);
            asked.end(text);
        });
    }
}
