// What goes wrong on the way: lines that break, proxies that take less, phones that load the page anew.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Hears of each request of the page's script that the front sees: what it was, when, and what became of it. */
function watch(front, judge) {
    const seen = [];
    front.trouble = (request, response) => {
        if (!request.url.includes("/files")) return false;
        const one = { method: request.method, length: Number(request.headers["content-length"] ?? 0), at: performance.now() };
        seen.push(one);
        one.trouble = one.method === "PATCH" ? judge(one, request, response) : undefined;
        return one.trouble !== undefined;
    };
    return seen;
}

/** Answers as a proxy does, of its own, once the body came: before, a browser may take it for a line that broke. */
function refuse(request, response, status, headers = {}) {
    const answer = () => {
        response.writeHead(status, { "content-type": "text/html", connection: "close", ...headers });
        response.end("<html><body><h1>of the proxy</h1></body></html>");
    };
    if (request.complete) answer(); else request.on("end", answer).resume();
}

export async function troubles({ town, visitor, look, step: plainStep, write }) {
    const { front } = town;
    // What the front does in a step it does in no other.
    const step = (name, way) => plainStep(name, () => way().finally(() => { front.trouble = null; }));
    const large = { name: "現場.jpg", bytes: 6_000_000 };
    large.path = join(town.directory, large.name);
    large.hash = write(large.path, large.bytes);

    /** Sends the large file by a link of its own, through what the front does to it. */
    async function sendThrough(title, judge) {
        const page = await visitor();
        await page.goto(await town.link(`!受取 ${title}`));
        const seen = watch(front, judge);
        await page.fill("#name", "能登 次郎");
        await page.setInputFiles("#files", large.path);
        await page.click("#go");
        await page.waitForSelector("li.done", { timeout: 60_000 });
        front.trouble = null;
        assert.ok((await page.textContent("li.done")).includes(large.hash));
        await page.context().close();
        return seen;
    }

    /** That it came into the room as it was, so often in all. */
    async function arrived(count) {
        await town.said("現場.jpg（", { often: count });
        const files = await town.files(large.name);
        assert.equal(files.length, count);
        assert.equal(await town.hashOf(files[0].url), large.hash);
    }

    // UP1
    await step("a line that breaks again and again, and answers that the place is another one, are gone on from", async () => {
        let number = 0;
        const seen = await sendThrough("途切れる線", (_, request, response) => {
            number += 1;
            // As a phone that is locked; and as a server that got more or less than the page believes, which it does not say.
            if (number % 3 === 1) { front.pass(request, response, 500_000); return "cut"; }
            if (number % 3 === 2) { front.pass(request, response, 500_000, () => refuse(request, response, 409)); return "conflict"; }
            if (number < 8) { refuse(request, response, 409); return "conflict"; }
            return undefined;
        });
        const of = (trouble) => seen.filter((one) => one.trouble === trouble).length;
        assert.ok(of("cut") >= 3 && of("conflict") >= 4, JSON.stringify(seen));
        seen.forEach((one, place) => {
            if (one.trouble === "conflict") assert.equal(seen[place + 1].method, "HEAD", "it asks where to go on");
        });
        await arrived(1);
    });

    // UP4
    await step("a proxy that takes little at a time, says so or hangs up, and asks to wait, is given little and time", async () => {
        const waits = [{ "retry-after": "3" }, { "retry-after": null }];
        const seen = await sendThrough("狭いプロキシ", ({ length }, request, response) => {
            if (length > 1_000_000) { refuse(request, response, 413); return "too large"; }
            if (length > 400_000) { request.destroy(); return "hung up"; }
            const wait = waits.shift();
            if (!wait) return undefined;
            refuse(request, response, 429, { "retry-after": wait["retry-after"] ?? new Date(Date.now() + 4_000).toUTCString() });
            return "wait";
        });
        const of = (trouble) => seen.filter((one) => one.trouble === trouble);
        assert.ok(of("too large").length >= 1 && of("too large").length <= 4, JSON.stringify(seen));
        // Of these a browser repeats some by itself.
        assert.ok(of("hung up").length >= 1 && of("hung up").length <= 12, JSON.stringify(seen));
        for (const one of of("wait")) {
            const next = seen[seen.indexOf(one) + 1];
            // A date is of whole seconds.
            assert.ok(next.at - one.at >= 2_900, `it waited for ${next.at - one.at} ms`);
        }
        assert.equal(of("wait").length, 2);
        await arrived(2);
    });

    // PH3
    await step("a page that is loaded anew in the middle has what was typed and what was received, in its tab alone", async () => {
        const link = await town.link("!受取 読み込み直し 件数 5");
        const page = await visitor(), small = join(town.directory, "小.pdf");
        writeFileSync(small, "%PDF-1.7\n");
        const choose = async () => {
            await page.setInputFiles("#files", [small, large.path]);
            await page.click("#go");
        };
        const typed = { company: "能登建設株式会社", name: "能登 次郎", note: "橋の写真です" };
        const form = async (page) => {
            const value = (id) => page.inputValue(`#${id}`);
            return { company: await value("company"), name: await value("name"), note: await value("note") };
        };
        const empty = { company: "", name: "", note: "" };
        await page.goto(link);
        for (const [id, text] of Object.entries(typed)) await page.fill(`#${id}`, text);
        // The large one does not get through.
        watch(front, ({ length }) => (length > 1_000_000 ? "held" : undefined));
        await choose();
        await page.waitForSelector("li.done");
        const said = await page.textContent("li.done");
        page.once("dialog", (dialog) => dialog.accept());
        // Not by the browser's own memory of forms.
        await page.goto("about:blank");
        await page.goto(link);
        front.trouble = null;
        assert.deepEqual(await form(page), typed);
        assert.equal(await page.textContent("li.done"), said);
        assert.match(await page.textContent("#resume"), /現場\.jpg/);
        await look(page, "14-loaded-anew");
        const other = await page.context().newPage();
        await other.goto(link);
        assert.deepEqual(await form(other), empty);
        assert.equal(await other.locator("li.done").count(), 0);
        await other.close();

        // What was received is not sent again.
        await choose();
        await page.waitForFunction(() => document.querySelector("#status").textContent.includes("2件すべて受け取りました"));
        assert.equal(await page.locator("li.done").count(), 2);
        await arrived(3);
        assert.equal((await town.files("小.pdf")).length, 1);
        // Then nothing is left of it.
        assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
        await page.goto("about:blank");
        await page.goto(link);
        assert.deepEqual(await form(page), empty);
        assert.equal(await page.locator("li.done").count(), 0);
        await page.context().close();
    });
}
