// Sends files in chunks, goes on where it was cut, and compares hashes at the end. Without it the form sends small files whole.
"use strict";

const TEXTS = {
    ja: {
        waiting: "順番を待っています", sending: (share, left) => `送信中 ${share}%${left}`,
        comparing: "確認しています", again: (seconds) => `つながりません。${seconds}秒後に続きから送ります`,
        busy: (seconds) => `混み合っています。${seconds}秒後に続きから送ります`,
        done: (receipt) => `受け取りました（${receipt.received}）`, failed: "送れませんでした", cancel: "やめる", retry: "もう一度",
        cancelled: "やめました", left: (seconds) => `（あと約${span(seconds, "秒", "分", "時間")}）`,
        all: (count) => `${count}件すべて受け取りました。このページは閉じてかまいません。`,
        some: (count, failed) => `${count}件を受け取り、${failed}件は送れませんでした。`,
        resume: (names) => `途中のファイルがあります：${names}。同じファイルをもう一度選ぶと、続きから送ります。`,
        many: (most) => `送れるのはあと${most}件です。`, large: "ファイルの合計が、送れる残りの大きさを超えています。",
        empty: (name) => `「${name}」は空のファイル（0バイト）のため送れません。元のファイルを開いて中身をお確かめください。`,
        giveUp: (name) => `「${name}」をやめる`, givenUp: (name) => `「${name}」の送信をやめました。`,
        notGivenUp: (name) => `つながらないため、「${name}」をまだ取り消せません。あとでもう一度「やめる」を押してください。`,
        nameless: "お名前を入力してください（空白だけでは送れません）。", changed: "ファイルが途中で変わりました。もう一度選んでください。",
    },
    en: {
        waiting: "Waiting for its turn", sending: (share, left) => `Sending ${share}%${left}`,
        comparing: "Checking", again: (seconds) => `No connection. Going on in ${seconds} s`,
        busy: (seconds) => `It is busy there. Going on in ${seconds} s`,
        done: (receipt) => `Received (${receipt.received})`, failed: "Not sent", cancel: "Cancel", retry: "Try again",
        cancelled: "Cancelled", left: (seconds) => ` (about ${span(seconds, " s", " min", " h")} left)`,
        all: (count) => `All ${count} files were received. You may close this page.`,
        some: (count, failed) => `${count} files were received, ${failed} were not.`,
        resume: (names) => `Not finished yet: ${names}. Choose the same file again to go on where it stopped.`,
        many: (most) => `${most} more files can be sent.`, large: "The files are larger together than what can still be sent.",
        empty: (name) => `"${name}" is empty (0 bytes) and cannot be sent. Please open it and look whether it has its content.`,
        giveUp: (name) => `Give “${name}” up`, givenUp: (name) => `“${name}” is given up.`,
        notGivenUp: (name) => `No connection: “${name}” is not given up yet. Please try again later.`,
        nameless: "Please enter your name (not only blanks).", changed: "The file changed meanwhile. Please choose it again.",
    },
};

const CHUNK = 8 << 20, SMALLEST = 64 << 10, SLICE = 1 << 20, LONGEST_PAUSE = 30, AT_ONCE = 2, FIELDS = ["company", "name", "note"];

const form = document.getElementById("send");
const language = form.dataset.language;
const text = TEXTS[language];
const query = `?lang=${language}`;
const kept = `dropbox ${form.dataset.files}`;

function span(seconds, s, min, h) {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))}${s}`;
    return seconds < 5400 ? `${Math.round(seconds / 60)}${min}` : `${Math.round(seconds / 3600)}${h}`;
}

/** SHA-256 (FIPS 180-4) of what comes bit by bit: the browser's own wants a file whole in memory. */
class Sha256 {
    static K = Uint32Array.from((() => {
        // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
        const found = [];
        for (let n = 2; found.length < 64; n++) {
            let prime = true;
            for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
            if (prime) found.push(fraction(n, 3n));
        }
        return found;
    })());
    #h = Uint32Array.from([2, 3, 5, 7, 11, 13, 17, 19].map((n) => fraction(n, 2n)));
    #w = new Uint32Array(64);
    #rest = new Uint8Array(64);
    #held = 0;
    #length = 0;

    update(bytes) {
        this.#length += bytes.length;
        let at = 0;
        if (this.#held > 0) {
            at = Math.min(64 - this.#held, bytes.length);
            this.#rest.set(bytes.subarray(0, at), this.#held);
            this.#held += at;
            if (this.#held < 64) return;
            this.#block(this.#rest, 0);
            this.#held = 0;
        }
        for (; at + 64 <= bytes.length; at += 64) this.#block(bytes, at);
        this.#rest.set(bytes.subarray(at));
        this.#held = bytes.length - at;
    }

    hex() {
        const length = this.#length;
        const end = new Uint8Array(this.#held < 56 ? 64 - this.#held : 128 - this.#held);
        end[0] = 0x80;
        const view = new DataView(end.buffer);
        view.setUint32(end.length - 8, Math.floor(length / 0x20000000));
        view.setUint32(end.length - 4, (length * 8) >>> 0);
        this.update(end);
        return Array.from(this.#h, (word) => word.toString(16).padStart(8, "0")).join("");
    }

    #block(bytes, at) {
        const w = this.#w, k = Sha256.K, h = this.#h;
        for (let i = 0; i < 16; i++, at += 4) {
            w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
        }
        for (let i = 16; i < 64; i++) {
            const x = w[i - 15], y = w[i - 2];
            const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
            const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
            w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
        }
        let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], l = h[7];
        for (let i = 0; i < 64; i++) {
            const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
            const one = (l + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i]) | 0;
            const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
            const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
            l = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
        }
        h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += l;
    }
}

/** The first 32 bits of the fraction of a root, in whole numbers: no rounding can be wrong. */
function fraction(n, root) {
    const wanted = BigInt(n) << (32n * root);
    let low = 0n, high = 1n << 40n;
    while (low + 1n < high) {
        const middle = (low + high) >> 1n;
        if (middle ** root <= wanted) low = middle; else high = middle;
    }
    return Number(low & 0xffffffffn);
}

/** What stands under our key in a storage of the browser; a private window may keep nothing. */
const stored = (storage) => ({
    read() {
        try { return JSON.parse(storage().getItem(kept)); } catch { return null; }
    },
    write(value) {
        try {
            if (value === null) storage().removeItem(kept); else storage().setItem(kept, JSON.stringify(value));
        } catch {
            // Then nothing goes on after a reload.
        }
    },
});
const ofBrowser = stored(() => localStorage), ofTab = stored(() => sessionStorage);

/** Whether what is known of a file fits another. */
const same = (file) => (known) => known.name === file.name && known.size === file.size && known.modified === file.lastModified;
const facts = ({ name, size, lastModified }) => ({ name, size, modified: lastModified });

/** What was begun from this browser by this link. */
const memory = {
    all: () => ofBrowser.read() ?? [],
    write(all) { ofBrowser.write(all.length > 0 ? all : null); },
    find(file) { return this.all().find(same(file))?.url; },
    keep(file, url) { this.write([...this.all().filter((known) => !same(file)(known)), { url, ...facts(file) }]); },
    forget(file) { this.write(this.all().filter((known) => !same(file)(known))); },
    forgetAt(url) { this.write(this.all().filter((known) => known.url !== url)); },
};

/**
 * What was typed and what was received, until all is: phones that lack memory load the page anew, when a photo is taken say. It goes
 * with its tab, since what somebody says of himself is nobody else's.
 */
const draft = {
    received: ofTab.read()?.received ?? [],
    keep() {
        const said = Object.fromEntries(FIELDS.map((name) => [name, document.getElementById(name).value]));
        ofTab.write({ said, received: this.received });
    },
    receive(file, receipt) {
        this.received.push({ ...facts(file), receipt });
        this.keep();
    },
    has(file) { return this.received.some(same(file)); },
    end() {
        this.received = [];
        ofTab.write(null);
    },
    /** Shows it again. */
    show() {
        for (const [name, value] of Object.entries(ofTab.read()?.said ?? {})) {
            if (FIELDS.includes(name)) document.getElementById(name).value = value;
        }
        for (const { name, receipt } of this.received) receivedIn(addRow(name), receipt);
    },
};

class Refused extends Error {}

/** One request; its answer, or an error that says whether it is worth another try. */
function ask(method, url, headers, body, onProgress, signal) {
    return new Promise((done, fail) => {
        const request = new XMLHttpRequest();
        request.open(method, url + query);
        for (const [name, value] of Object.entries({ "Tus-Resumable": "1.0.0", ...headers })) request.setRequestHeader(name, value);
        if (onProgress) request.upload.onprogress = (event) => onProgress(event.loaded);
        signal?.addEventListener("abort", () => request.abort(), { once: true });
        request.onload = () => done(request);
        request.onerror = request.onabort = request.ontimeout = () => fail(new Error("no connection"));
        request.timeout = 300_000;
        request.send(body ?? null);
    });
}

/** Gives a file up, so that its place is free at once. The answer; none where that could not be asked for: it is remembered then. */
async function giveUp(url) {
    const answer = await ask("DELETE", url, {}).catch(() => null);
    if (!answer || answer.status >= 500 || answer.status === 429) return null;
    memory.forgetAt(url);
    return answer;
}

const base64 = (value) => btoa(String.fromCharCode(...new TextEncoder().encode(value)));
const sentence = (request) => {
    try { return JSON.parse(request.responseText).message ?? text.failed; } catch { return text.failed; }
};

/** Seconds that an answer asks to wait: so many, or until a date (RFC 9110 §10.2.3). */
function askedToWait(answer) {
    const said = answer?.getResponseHeader("Retry-After") ?? "";
    const seconds = /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
    return seconds > 0 ? Math.ceil(seconds) : 0;
}

/** Where a file is to be gone on with, if an answer says it. */
function offsetIn(answer) {
    const said = answer.getResponseHeader("Upload-Offset");
    return said === null ? null : Number(said);
}

/** A row of the list, for a file. */
function addRow(name) {
    const row = document.createElement("li");
    row.append(
        Object.assign(document.createElement("strong"), { textContent: name }),
        Object.assign(document.createElement("p"), { className: "state" }),
    );
    document.getElementById("list").append(row);
    return row;
}

/** Says in the row of a file that it was received, and by which hash. */
function receivedIn(row, receipt) {
    row.className = "done";
    row.querySelector(".state").textContent = text.done(receipt);
    const hash = Object.assign(document.createElement("p"), { className: "note" });
    hash.append(`${receipt.name} SHA-256 `, Object.assign(document.createElement("code"), { textContent: receipt.sha256 }));
    row.append(hash);
}

/**
 * How much is sent at a time. A proxy may take less, and may say so by hanging up; a line may not last for more. So it is half as much
 * after what came to nothing, and more again after what came through.
 */
class Pace {
    chunk = CHUNK;
    #most = CHUNK;
    #well = 0;
    #needed = 4;
    #inVain = 0;

    good() {
        this.#inVain = 0;
        this.#well += 1;
        if (this.#well % this.#needed === 0) this.chunk = Math.min(this.chunk * 2, this.#most);
    }

    /** Nobody takes a part of this length. */
    tooLarge(length) {
        this.chunk = Math.max(SMALLEST, length >> 1);
        this.#most = this.chunk;
    }

    /** Nothing of a part of this length arrived; seconds to wait. */
    inVain(length) {
        this.chunk = Math.max(SMALLEST, length >> 1);
        this.#well = 0;
        // More is tried the less often, the more often that was in vain.
        this.#needed *= 2;
        this.#inVain += 1;
        return Math.min(2 ** (this.#inVain - 1), LONGEST_PAUSE);
    }
}

class Item {
    constructor(file) {
        this.file = file;
        this.stop = new AbortController();
        this.row = addRow(file.name);
        this.bar = document.createElement("progress");
        this.bar.max = file.size;
        this.bar.value = 0;
        this.bar.setAttribute("aria-label", file.name);
        this.state = this.row.querySelector(".state");
        this.state.before(this.bar);
        this.button = document.createElement("button");
        this.button.type = "button";
        this.button.className = "second";
        this.button.textContent = text.cancel;
        this.button.onclick = () => this.cancel();
        this.row.append(this.button);
        this.say(text.waiting);
    }

    say(state) { this.state.textContent = state; }

    shown(bytes) {
        this.bar.value = bytes;
        const seconds = (performance.now() - this.began) / 1000, sent = bytes - this.from;
        const left = seconds > 3 && sent > 0 ? text.left((this.file.size - bytes) / (sent / seconds)) : "";
        this.say(text.sending(Math.floor((bytes / this.file.size) * 100), left));
    }

    async cancel() {
        this.cancelled = true;
        this.stop.abort();
        const answer = this.url ? await giveUp(this.url) : undefined;
        // It came whole before: its answer was what was lost.
        if (answer?.status === 409) this.end("done", sentence(answer));
        else this.end("failed", answer === null ? text.notGivenUp(this.file.name) : text.cancelled);
        showResume();
    }

    end(kind, state) {
        this.row.className = kind;
        this.say(state);
        this.button.remove();
    }

    async send() {
        this.began = performance.now();
        this.from = 0;
        try {
            const receipt = await this.#all();
            memory.forget(this.file);
            draft.receive(this.file, receipt);
            this.bar.value = this.file.size;
            this.button.remove();
            receivedIn(this.row, receipt);
            return true;
        } catch (error) {
            if (this.cancelled) return false;
            // What is refused has no place any more; what cannot be read on has one.
            if (error instanceof Refused || !this.url) memory.forget(this.file); else await giveUp(this.url);
            this.end("failed", error instanceof Refused ? error.message : text.changed);
            return false;
        }
    }

    /** Answers that may be better later are waited for, for ever; what is refused is refused. */
    async #patiently(attempt) {
        for (let wait = 1; ; wait = Math.min(wait * 2, LONGEST_PAUSE)) {
            let answer;
            try { answer = await attempt(); } catch (error) { if (error instanceof Refused) throw error; }
            if (this.cancelled) throw new Refused(text.cancelled);
            if (answer && answer.status < 500 && answer.status !== 429 && answer.status !== 408) return answer;
            await this.#rest(Math.max(wait, askedToWait(answer)), answer?.status === 429 ? text.busy : text.again);
        }
    }

    /** Waits, or until there is a network again. */
    async #rest(seconds, words) {
        this.say(words(seconds));
        const over = new AbortController();
        await new Promise((done) => {
            addEventListener("online", done, { signal: over.signal });
            setTimeout(done, seconds * 1000);
        });
        over.abort();
    }

    async #begin() {
        const known = memory.find(this.file);
        if (known) {
            const answer = await this.#patiently(() => ask("HEAD", known, {}));
            if (answer.status === 200) {
                this.url = known;
                return Number(answer.getResponseHeader("Upload-Offset"));
            }
            memory.forget(this.file);
        }
        const said = { filename: this.file.name };
        for (const name of FIELDS) said[name] = document.getElementById(name).value;
        const metadata = Object.entries(said).filter(([, value]) => value).map(([name, value]) => `${name} ${base64(value)}`);
        const answer = await this.#patiently(async () => {
            const made = await ask("POST", form.dataset.files, {
                "Upload-Length": String(this.file.size), "Upload-Metadata": metadata.join(","),
            });
            // Cancelled meanwhile: nobody else knows of its place.
            if (made.status === 201 && this.cancelled) {
                memory.keep(this.file, made.getResponseHeader("Location"));
                await giveUp(made.getResponseHeader("Location"));
            }
            return made;
        });
        if (answer.status !== 201) throw new Refused(sentence(answer));
        this.url = answer.getResponseHeader("Location");
        memory.keep(this.file, this.url);
        return 0;
    }

    async #all() {
        const { file } = this, hash = new Sha256(), pace = new Pace();
        let offset = await this.#begin(), hashed = 0, sha256 = null;
        this.from = offset;
        const read = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
        // Also over what an earlier visit sent: so it shows whether it is the same file.
        const hashUpTo = async (end) => {
            while (hashed < end) {
                const part = await read(hashed, Math.min(hashed + SLICE, end));
                hash.update(part);
                hashed += part.length;
            }
        };
        for (;;) {
            while (offset < file.size) {
                offset = await this.#sendOn(offset, await read(offset, Math.min(offset + pace.chunk, file.size)), pace);
                await hashUpTo(Math.min(offset, file.size));
            }
            this.say(text.comparing);
            await hashUpTo(file.size);
            sha256 ??= hash.hex();
            const answer = await this.#patiently(() => ask("POST", `${this.url}/done`, { "Content-Type": "application/json" },
                JSON.stringify({ sha256 })));
            if (answer.status === 200) return JSON.parse(answer.responseText);
            // It lacks something there after all.
            offset = answer.status === 409 ? offsetIn(answer) ?? file.size : file.size;
            if (offset >= file.size) throw new Refused(sentence(answer));
        }
    }

    /** Sends a part; where to go on. */
    async #sendOn(from, part, pace) {
        this.shown(from);
        const answer = await this.#patiently(() => this.#append(from, part));
        if (answer.status === 413 && part.length > SMALLEST) {
            pace.tooLarge(part.length);
            return from;
        }
        const offset = offsetIn(answer);
        if (![200, 204].includes(answer.status) || offset === null) throw new Refused(sentence(answer));
        if (offset > from) {
            pace.good();
        } else {
            await this.#rest(pace.inVain(part.length), text.again);
            if (this.cancelled) throw new Refused(text.cancelled);
        }
        return offset;
    }

    /** Appends a part. Where that broke off, or is for another place, what arrived is kept: the answer says how far it came. */
    async #append(from, part) {
        const headers = { "Upload-Offset": String(from), "Content-Type": "application/offset+octet-stream" };
        const sent = ask("PATCH", this.url, headers, part, (count) => this.shown(from + count), this.stop.signal);
        const answer = await sent.catch(() => null);
        if (this.cancelled) throw new Refused(text.cancelled);
        return answer && answer.status !== 409 ? answer : await ask("HEAD", this.url, {});
    }
}

const status = document.getElementById("status"), chooser = document.getElementById("files");
const go = document.getElementById("go"), resume = document.getElementById("resume");
let sending = false;

function showResume() {
    const begun = sending ? [] : memory.all(), names = begun.map((known) => `「${known.name}」`);
    resume.hidden = begun.length === 0;
    resume.replaceChildren();
    if (begun.length === 0) return;
    const note = document.createElement("p");
    note.textContent = text.resume(names.join(language === "ja" ? "、" : ", "));
    resume.append(note);
    for (const known of begun) {
        const button = Object.assign(document.createElement("button"), { type: "button", className: "second" });
        button.textContent = text.giveUp(known.name);
        button.onclick = () => giveUpBegun(known, button);
        resume.append(button);
    }
    // What was begun may be gone on with, though nothing new is taken.
    go.disabled = false;
}

/** Somebody does not want to go on with a file. */
async function giveUpBegun(known, button) {
    button.disabled = true;
    const answer = await giveUp(known.url);
    button.disabled = false;
    if (answer === null) { status.textContent = text.notGivenUp(known.name); return; }
    status.textContent = answer.status === 409 ? sentence(answer) : text.givenUp(known.name);
    await recount();
    showResume();
}

/** Looks anew how much may be sent, as the page says it. */
async function recount() {
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html"), fresh = page.getElementById("send");
    if (!fresh) return;
    Object.assign(form.dataset, { left: fresh.dataset.left, bytes: fresh.dataset.bytes });
    document.getElementById("left").textContent = page.getElementById("left").textContent;
    go.disabled = page.getElementById("go").disabled;
    if (!page.getElementById("full")) document.getElementById("full")?.remove();
}

/** Why these files cannot be sent, said before any byte is. */
function objection(files) {
    if (document.getElementById("name").value.trim() === "") return text.nameless;
    const fresh = files.filter((file) => !memory.find(file));
    const empty = files.find((file) => file.size === 0);
    if (empty) return text.empty(empty.name);
    if (fresh.length > Number(form.dataset.left)) return text.many(form.dataset.left);
    if (fresh.reduce((sum, file) => sum + file.size, 0) > Number(form.dataset.bytes)) return text.large;
    return null;
}

form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    // What came before the page was loaded anew, and is chosen once more, comes no second time.
    const chosen = [...chooser.files], files = chosen.filter((file) => !draft.has(file));
    status.textContent = objection(files) ?? "";
    if (status.textContent) return;
    draft.keep();
    sending = true;
    go.disabled = true;
    showResume();
    let lock = null;
    // A phone that goes dark stops sending.
    try { lock = await navigator.wakeLock?.request("screen"); } catch { /* it may say no */ }
    const items = files.map((file) => new Item(file)), waiting = [...items];
    let received = chosen.length - files.length;
    const lane = async () => {
        for (let item; (item = waiting.shift());) {
            if (item.cancelled) continue;
            if (await item.send()) {
                received += 1;
                form.dataset.left = String(Math.max(0, Number(form.dataset.left) - 1));
                form.dataset.bytes = String(Math.max(0, Number(form.dataset.bytes) - item.file.size));
            }
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    await lock?.release?.();
    sending = false;
    go.disabled = false;
    chooser.value = "";
    const isAll = received === chosen.length;
    status.textContent = isAll ? text.all(received) : text.some(received, chosen.length - received);
    if (isAll && memory.all().length === 0) draft.end();
    showResume();
});

addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
form.addEventListener("input", () => draft.keep());
draft.show();
showResume();
