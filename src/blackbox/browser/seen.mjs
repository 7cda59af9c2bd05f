// A browser, and what is asked of every page that it shows.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import assert from "node:assert/strict";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Nobody's callback: where the browser is led by a redirect to an app. */
export const APP = "https://app.test/callback";

/** A browser of one person on one kind of screen. */
export class Person {
    static async of(chromium, screen, pictures, counter) {
        const context = await chromium.newContext({
            viewport: { width: screen.width, height: screen.width < 600 ? 844 : 800 },
            isMobile: screen.width < 600,
            hasTouch: screen.width < 600,
            deviceScaleFactor: screen.width < 600 ? 2 : 1,
            locale: screen.language === "ja" ? "ja-JP" : "en-GB",
            colorScheme: screen.dark ? "dark" : "light",
            ignoreHTTPSErrors: true,
        });
        const person = new Person();
        Object.assign(person, { context, screen, pictures, counter, faults: [] });
        person.page = await context.newPage();
        const fault = (text) => person.faults.push(text);
        person.page.on("pageerror", (error) => fault(`error of a script: ${error.message}`));
        person.page.on("requestfailed", (request) => {
            if (request.failure()?.errorText !== "net::ERR_ABORTED") fault(`not loaded: ${request.url()} ${request.failure()?.errorText}`);
        });
        person.page.on("console", (message) => {
            // A page that tells of a mistake has a status that says so.
            const isOfPage = message.text().startsWith("Failed to load resource") && message.location().url === person.page.url();
            if (["error", "warning"].includes(message.type()) && !isOfPage) fault(`console: ${message.text()} ${message.location().url}`);
        });
        return person;
    }

    async close() {
        await this.context.close();
    }

    /** Opens a page, keeps its picture and checks it. */
    async opens(url, name, status = 200) {
        const response = await this.page.goto(url);
        await this.sees(name, response, status);
    }

    /** Fills in fields by their names (what has a `buffer` is a file), presses the button, keeps the picture of what comes and checks it. */
    async sends(fields, button, name, status = 200) {
        for (const [field, value] of Object.entries(fields)) {
            const input = this.page.locator(`main [name="${field}"]:not([type=hidden])`);
            if (value === true) await input.check();
            else if (value.buffer) await input.setInputFiles(value);
            else if (await input.evaluate((it) => it.tagName) === "SELECT") await input.selectOption(value);
            else await input.fill(value);
        }
        const response = await this.#after(() => this.page.locator("main button").filter({ hasText: button }).first().click());
        if (name) await this.sees(name, response, status);
        return response;
    }

    /** Goes where a link leads. */
    async follows(text, name) {
        const response = await this.#after(() => this.page.locator("main a").filter({ hasText: text }).first().click());
        if (name) await this.sees(name, response, 200);
    }

    /** What the browser gets, redirects followed. */
    async #after(deed) {
        const isPage = (response) => response.request().isNavigationRequest() && response.request().frame() === this.page.mainFrame()
            && !(response.status() >= 300 && response.status() < 400);
        const [response] = await Promise.all([this.page.waitForResponse(isPage), deed()]);
        await response.finished();
        await this.page.waitForLoadState("load");
        return response;
    }

    text() {
        return this.page.locator("body").innerText();
    }

    /** Keeps the picture of the page that is shown and checks it. */
    async sees(name, response, status) {
        const { page, screen } = this;
        const what = `${screen.name} ${name}`;
        assert.equal(response.status(), status, `${what}: ${await this.text()}`);
        await page.screenshot({ path: join(this.pictures, screen.name, `${String(++this.counter.shown).padStart(2, "0")}-${name}.png`), fullPage: true });
        const language = await page.evaluate(() => document.documentElement.lang);
        assert.equal(language, screen.language, what);
        assert.equal(await page.evaluate(() => document.querySelectorAll("h1").length), 1, `${what}: headings`);

        const wide = await page.evaluate(() => ({ is: document.documentElement.scrollWidth, may: document.documentElement.clientWidth }));
        assert.ok(wide.is <= wide.may, `${what}: ${wide.is} px are shown on ${wide.may}`);

        const bare = await page.evaluate(() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
            .filter((input) => ![...input.labels].some((label) => label.textContent.trim())).map((input) => input.outerHTML));
        assert.deepEqual(bare, [], `${what}: no label`);

        await this.#tablesAreTables(what);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run(document, { preload: false, resultTypes: ["violations"] }));
        const told = violations.map((it) => `${it.impact}: ${it.help}: ${it.nodes.map((node) => node.html).join(" | ")}`);
        assert.deepEqual(told.filter((it) => !/^(minor|moderate)/.test(it)), [], `${what}: axe`);
        for (const it of told) this.counter.lesser.add(it);

        await this.#tabsThrough(what);
        assert.deepEqual(this.faults, [], what);
    }

    /** For whom listens a table is one, however narrow the screen: its cells are cells, below headings, each named by its own. */
    async #tablesAreTables(what) {
        const { page } = this;
        const count = await page.locator("main table").count();
        if (count === 0) return;
        const session = await this.context.newCDPSession(page);
        const { nodes } = await session.send("Accessibility.getFullAXTree");
        await session.detach();
        const of = (role) => nodes.filter((node) => !node.ignored && node.role?.value === role).length;
        const drawn = await page.evaluate(() => {
            const cells = [...document.querySelectorAll("main table tbody td")];
            const named = (cell) => cell.dataset.label === cell.closest("table").querySelectorAll("thead th")[cell.cellIndex]?.textContent.trim();
            return {
                headings: document.querySelectorAll("main table thead th").length,
                cells: cells.filter((cell) => cell.getClientRects().length).length,
                unnamed: cells.filter((cell) => !named(cell) && (cell.dataset.label ?? "") !== "").map((cell) => cell.outerHTML),
            };
        });
        assert.equal(of("table"), count, `${what}: tables`);
        assert.ok(of("columnheader") >= drawn.headings, `${what}: ${of("columnheader")} headings of ${drawn.headings}`);
        assert.ok(of("cell") + of("gridcell") >= drawn.cells, `${what}: ${of("cell")} cells of ${drawn.cells}`);
        assert.deepEqual(drawn.unnamed, [], `${what}: cells that have another column's heading`);
    }

    /** The key Tab goes through all that can be used, in the order in which it stands, and shows where it is. */
    async #tabsThrough(what) {
        const { page } = this;
        const all = await page.evaluate(() => {
            const found = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
                .filter((it) => !it.disabled && it.checkVisibility() && it.getClientRects().length);
            found.forEach((it, place) => { it.dataset.place = place; });
            document.activeElement?.blur();
            window.getSelection()?.removeAllRanges();
            return found.length;
        });
        const seen = [];
        // A field that has the focus from the beginning is where it begins.
        await page.evaluate(() => { document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex"); });
        // A field for a day has a place for each of its parts.
        for (let press = 0; press < 8 * all && seen.length < all; press++) {
            await page.keyboard.press("Tab");
            const now = await page.evaluate(() => {
                const it = document.activeElement, style = getComputedStyle(it), at = it.getBoundingClientRect();
                return { place: Number(it.dataset.place ?? -1), shown: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, in: at.width > 0 && at.height > 0, parts: /^(date|datetime-local)$/.test(it.type) };
            });
            if (!now.parts || now.place !== seen.at(-1)?.place) seen.push(now);
        }
        assert.deepEqual(seen.map((it) => it.place), [...Array(all).keys()], `${what}: the order of Tab`);
        assert.ok(seen.every((it) => it.shown && it.in), `${what}: where the focus is cannot be seen`);
    }
}
