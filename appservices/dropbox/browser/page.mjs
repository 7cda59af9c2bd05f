// The ways through the page of drop links.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { Town } from "./town.mjs";
import { troubles } from "./troubles.mjs";

const [yakuba, dropbox, pictures, size] = process.argv.slice(2);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const say = (line) => process.stdout.write(`${line}\n`);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
mkdirSync(pictures, { recursive: true });

const town = await Town.start(yakuba, dropbox);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let failed = false;

/** A browser of somebody outside; what its page complains of, or asks elsewhere for, fails the step. */
async function visitor(wishes = {}) {
    const context = await browser.newContext({ locale: "ja-JP", viewport: { width: 390, height: 844 }, ...wishes });
    const page = await context.newPage();
    page.complaints = [];
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    page.on("console", (message) => {
        if (message.type() === "error" && !/status of (4|5)|ERR_INTERNET|ERR_CONNECTION|ERR_EMPTY|ERR_NETWORK|favicon/.test(message.text())) {
            page.complaints.push(message.text());
        }
    });
    return page;
}

/** Takes a picture, and looks for what people cannot read, reach or hear. */
async function look(page, name) {
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.ok(!wide, `${name} is wider than the screen`);
    // Through the debugger: the page's own policy lets nothing else run.
    const found = await page.evaluate(`(() => { ${AXE}; return axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa"] }); })()`);
    assert.deepEqual(found.violations.map((each) => `${each.id}: ${each.nodes[0].html}`), [], name);
    assert.deepEqual(page.complaints, [], name);
}

async function step(name, way) {
    try {
        await way();
        say(`ok    ${name}`);
    } catch (error) {
        failed = true;
        say(`WRONG ${name}: ${error.stack}`);
    }
}

/** A picture of so many bytes, as far as its beginning tells, on the disk, since it may be larger than memory; its hash. */
function write(path, bytes) {
    const file = openSync(path, "w"), hash = createHash("sha256");
    let part = Buffer.from([0xff, 0xd8, 0xff, 0xe0]);
    for (let left = bytes; left > 0; left -= part.length, part = randomBytes(Math.min(left, 1 << 20))) {
        hash.update(part);
        writeSync(file, part);
    }
    closeSync(file);
    return hash.digest("hex");
}

const bytes = Number(size), file = join(town.directory, "工事写真.jpg"), hash = write(file, bytes);
// Hashes are computed here, in the page, in the bot and in the server.
const patience = 60_000 + bytes / 1_000;

// D1
await step("a file that is cut in the middle goes on after a reload, and comes into the room whole", async () => {
    const link = await town.link("!受取 工事写真 期限 7日 件数 5 上限 4GB 種類 画像,PDF");
    const page = await visitor();
    await page.goto(link);
    await look(page, "1-page");
    const wire = await page.context().newCDPSession(page);
    const slow = { offline: false, latency: 5, downloadThroughput: -1, uploadThroughput: bytes / 16 };
    await wire.send("Network.enable");
    await wire.send("Network.emulateNetworkConditions", slow);
    await page.fill("#company", "能登建設株式会社");
    await page.fill("#name", "能登 次郎");
    await page.setInputFiles("#files", file);
    await page.click("#go");
    const cut = Math.floor(bytes * 0.6);
    await page.waitForFunction((cut) => document.querySelector("progress")?.value > cut, cut, { timeout: patience });
    await look(page, "2-sending");
    // The process at the other end is killed: so the line is cut as well.
    await town.kill();
    await page.waitForFunction(() => document.querySelector(".state").textContent.includes("続きから"));
    await look(page, "3-cut");
    await town.again();
    await wire.send("Network.emulateNetworkConditions", { ...slow, uploadThroughput: -1 });
    page.once("dialog", (dialog) => dialog.accept());
    await page.reload();
    const note = await page.textContent("#resume");
    assert.match(note, /工事写真\.jpg/);
    await look(page, "4-reloaded");
    const offsets = [];
    page.on("request", (request) => {
        if (request.method() === "PATCH") offsets.push(Number(request.headers()["upload-offset"]));
    });
    await page.setInputFiles("#files", file);
    await page.click("#go");
    await page.waitForSelector("li.done", { timeout: patience });
    await look(page, "5-received");
    assert.ok(offsets[0] >= cut - (8 << 20), `it went on from ${offsets[0]}`);
    assert.ok((await page.textContent("li.done")).includes(hash), "the hash of the page's own is the file's");
    const notice = await town.said("に届きました", { patience });
    assert.ok(notice.body.includes("能登建設株式会社 能登 次郎") && notice.body.includes(hash), notice.body);
    const [event] = await town.files("工事写真.jpg");
    assert.equal(await town.hashOf(event.url), hash);
    assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
    await page.context().close();
});

await step("a file that broke off is given up by a button, and its place is free at once", async () => {
    const link = await town.link("!受取 契約書 件数 1 上限 4GB");
    const page = await visitor();
    await page.goto(link);
    const wire = await page.context().newCDPSession(page);
    await wire.send("Network.enable");
    await wire.send("Network.emulateNetworkConditions", { offline: false, latency: 5, downloadThroughput: -1, uploadThroughput: bytes / 48 });
    await page.fill("#name", "能登 次郎");
    await page.setInputFiles("#files", file);
    await page.click("#go");
    await page.waitForFunction(() => document.querySelector("progress")?.value > 500_000);
    page.once("dialog", (dialog) => dialog.accept());
    await page.reload();
    await page.waitForSelector("#resume button");
    assert.match(await page.textContent("#left"), /^0件/);
    await look(page, "12-broken-off");
    await page.click("#resume button");
    await page.waitForFunction(() => document.querySelector("#status").textContent.includes("やめました"));
    await page.waitForSelector("#resume", { state: "hidden" });
    assert.match(await page.textContent("#left"), /^1件/);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    await look(page, "13-given-up");
    await page.context().close();
});

await step("several files at once, one of a kind that is not taken, one cancelled", async () => {
    const link = await town.link("!受取 図面と写真 種類 画像,PDF");
    const page = await visitor({ viewport: { width: 1280, height: 900 } });
    await page.goto(link);
    await page.fill("#name", "次郎");
    await page.setInputFiles("#files", [
        { name: "a.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n%%EOF\n") },
        { name: "写真.jpg", mimeType: "image/jpeg", buffer: Buffer.from("MZ no picture at all") },
        { name: "b.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.4\n%%EOF\n") },
    ]);
    await page.click("#go");
    await page.waitForFunction(() => document.querySelector("#status").textContent.includes("2件を受け取り"));
    assert.equal(await page.locator("li.done").count(), 2);
    assert.match(await page.textContent("li.failed"), /種類/);
    await look(page, "6-several");
    await town.said("b.pdf（");
    await page.context().close();
});

await step("a code is asked for, and nothing is shown before it", async () => {
    const link = await town.link("!受取 人事の書類 合言葉");
    const code = await town.code();
    const page = await visitor();
    await page.goto(link);
    assert.ok(!(await page.content()).includes("人事"));
    await look(page, "7-code");
    await page.fill("#code", "0000 0000");
    await page.click("button");
    assert.match(await page.textContent(".problem"), /あと9回/);
    await page.fill("#code", code);
    await page.click("button");
    assert.equal(await page.textContent("h1"), "人事の書類");
    await page.context().close();
});

await step("without a script a form sends small files", async () => {
    const link = await town.link("!受取 届出書");
    const page = await visitor({ javaScriptEnabled: false });
    await page.goto(link);
    await page.screenshot({ path: join(pictures, "8-without-script.png"), fullPage: true });
    await page.fill("#name", "三郎");
    await page.setInputFiles("#files", { name: "届出.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n") });
    await page.click("#go");
    assert.equal(await page.textContent("h1"), "受け取りました");
    await page.screenshot({ path: join(pictures, "9-form-received.png"), fullPage: true });
    await town.said("届出.pdf（");
    await page.context().close();
});

await step("in English, and in the dark", async () => {
    const link = await town.link("!受取 Plans");
    const page = await visitor({ locale: "en-GB", colorScheme: "dark" });
    await page.goto(link);
    assert.equal(await page.getAttribute("html", "lang"), "en");
    await look(page, "10-english-dark");
    await page.click("header a");
    assert.equal(await page.getAttribute("html", "lang"), "ja");
    await page.context().close();
});

await step("a file of the room is fetched by its button, once, and looking at it uses nothing up", async () => {
    const bytes = Buffer.from("%PDF-1.7\n%%EOF\n");
    const link = await town.handOver("回答書.pdf", bytes);
    const page = await visitor();
    await page.goto(link);
    await page.reload();
    await look(page, "11-handed-over");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("button")]);
    assert.equal(download.suggestedFilename(), "回答書.pdf");
    assert.equal(sha256(readFileSync(await download.path())), sha256(bytes));
    assert.equal((await page.goto(link)).status(), 410);
    await page.context().close();
});

await troubles({ town, visitor, look, step, write });

await browser.close();
await town.stop();
process.exitCode = failed ? 1 : 0;
