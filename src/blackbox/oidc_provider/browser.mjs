// A browser without scripts: cookies, redirects, links and forms.

import { HOME } from "./servers.mjs";

const unescaped = (text) => text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

export class Browser {
    #base;
    #cookies = new Map();
    /** Looks at, and may change, each address before it is gone to. */
    onTheWay = (url) => url;

    constructor(base) {
        this.#base = base;
    }

    #jar(url) {
        const { origin } = new URL(url);
        if (!this.#cookies.has(origin)) this.#cookies.set(origin, new Map());
        return this.#cookies.get(origin);
    }

    /** Goes to an address and on until something is shown; addresses of apps are not gone to. */
    async go(url, form) {
        let at = new URL(url, this.url ?? HOME).href;
        for (let hops = 0; hops < 20; hops += 1) {
            at = this.onTheWay(at);
            this.url = at;
            if (!at.startsWith(HOME) && !at.startsWith("http://127.0.0.1")) {
                this.page = "";
                return this;
            }
            const jar = this.#jar(at);
            const headers = { "accept-language": "en", accept: "text/html" };
            if (jar.size) headers.cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
            if (form) headers["content-type"] = "application/x-www-form-urlencoded";
            const answer = await fetch(at.replace(HOME, this.#base), {
                method: form ? "POST" : "GET", body: form?.toString(), headers, redirect: "manual",
            });
            for (const cookie of answer.headers.getSetCookie()) {
                const [pair, ...rest] = cookie.split(";");
                const [name, ...value] = pair.split("=");
                const isOver = rest.some((part) => /expires=Thu, 01 Jan 1970/i.test(part));
                if (isOver) jar.delete(name.trim()); else jar.set(name.trim(), value.join("="));
            }
            this.status = answer.status;
            const location = answer.headers.get("location");
            form = undefined;
            if (answer.status >= 300 && answer.status < 400 && location) {
                // What an app's own scheme names is no address to be put together.
                at = /^[a-z][a-z0-9+.-]*:/i.test(location) ? location : new URL(location, at).href;
                continue;
            }
            this.page = await answer.text();
            return this;
        }
        throw new Error(`no end of redirects at ${at}`);
    }

    /** Follows the link with this id, or these words in it. */
    async follow(sign) {
        const links = [...this.page.matchAll(/<a\b[^>]*href="([^"]*)"[^>]*>([\s\S]*?)<\/a>/g)];
        const found = links.find(([whole, , text]) => whole.includes(`id="${sign}"`) || text.includes(sign));
        if (!found) throw new Error(`no link ${sign} at ${this.url}: ${this.page}`);
        return this.go(unescaped(found[1]));
    }

    /** Fills in the form that holds these words and sends it. */
    async send(sign, fields = {}) {
        const form = this.page.split("<form").slice(1).find((form) => form.includes(sign));
        if (!form) throw new Error(`no form ${sign} at ${this.url}: ${this.page}`);
        const sent = new URLSearchParams();
        for (const [input] of form.split("</form>")[0].matchAll(/<input\b[^>]*>/g)) {
            const of = (name) => unescaped((input.match(new RegExp(`\\b${name}="([^"]*)"`)) ?? [])[1] ?? "");
            if (of("type") === "hidden") sent.append(of("name"), of("value"));
        }
        for (const [name, value] of Object.entries(fields)) sent.set(name, value);
        return this.go(unescaped(form.match(/action="([^"]*)"/)[1]), sent);
    }

    /** What the address says to whom it leads. */
    told() {
        const url = new URL(this.url);
        return Object.fromEntries(new URLSearchParams(url.hash.slice(1) || url.search));
    }
}
