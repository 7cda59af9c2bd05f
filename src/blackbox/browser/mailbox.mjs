// An SMTP server that takes mails over TLS from whoever has the password, and shows them.

import { readFileSync } from "node:fs";
import { SMTPServer } from "smtp-server";

const PATIENCE = 30_000;

export class Mailbox {
    constructor({ user, password }) {
        Object.assign(this, { user, password, mails: [], refused: [], waiting: [] });
    }

    /** Listens; the certificate is for `localhost`. */
    async listen(port, tls) {
        this.server = new SMTPServer({
            key: readFileSync(tls.key),
            cert: readFileSync(tls.certificate),
            // Nobody logs in, and no mail is taken, before STARTTLS.
            allowInsecureAuth: false,
            authOptional: false,
            hideSTARTTLS: false,
            onAuth: (auth, session, done) => {
                const may = session.secure && auth.username === this.user && auth.password === this.password;
                if (!may) this.refused.push(auth.username);
                done(may ? null : new Error("wrong name or password"), may ? { user: auth.username } : undefined);
            },
            onData: (stream, session, done) => {
                const parts = [];
                stream.on("data", (part) => parts.push(part));
                stream.on("end", () => {
                    const raw = Buffer.concat(parts).toString("utf8");
                    const [to] = session.envelope.rcptTo;
                    this.mails.push({ to: to.address, from: session.envelope.mailFrom.address, secure: session.secure, raw, text: textOf(raw) });
                    this.waiting.splice(0).forEach((look) => look());
                    done();
                });
            },
        });
        await new Promise((done) => this.server.listen(port, "127.0.0.1", done));
    }

    async close() {
        await new Promise((done) => this.server.close(done));
    }

    /** Takes out the next mail to an address. */
    async next(address) {
        const end = Date.now() + PATIENCE;
        for (;;) {
            const at = this.mails.findIndex((mail) => mail.to === address);
            if (at >= 0) return this.mails.splice(at, 1)[0];
            if (Date.now() > end) throw new Error(`no mail to ${address}`);
            await new Promise((done) => { this.waiting.push(done); setTimeout(done, 500); });
        }
    }
}

/** The text of a mail of one part, with its encoding undone. */
function textOf(raw) {
    const [head, ...rest] = raw.split("\r\n\r\n");
    const body = rest.join("\r\n\r\n");
    const encoding = /^content-transfer-encoding: *(\S+)/im.exec(head)?.[1].toLowerCase();
    if (encoding === "base64") return Buffer.from(body, "base64").toString("utf8");
    if (encoding !== "quoted-printable") return body;
    const bytes = body.replace(/=\r\n/g, "").replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    return Buffer.from(bytes, "latin1").toString("utf8");
}

/** Link and word of a mail that asks to confirm something. */
export function asks(mail) {
    const link = /https:\/\/\S+&word=\S+/.exec(mail.text)[0];
    return { link, word: /&word=(\S+)/.exec(link)[1] };
}
