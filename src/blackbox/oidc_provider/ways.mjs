// The steps. usage: node ways.mjs YAKUBA [STEP…]

import assert from "node:assert/strict";
import { createHash, createPrivateKey, randomBytes, sign } from "node:crypto";

import { Browser } from "./browser.mjs";
import { HOME, freePort, people, signingKey, startProvider, startYakuba } from "./servers.mjs";

const [program, ...wanted] = process.argv.slice(2);
const port = await freePort();
const provider = await startProvider(port);
const yakuba = await startYakuba(program, provider.issuer, port);
const CALLBACK = `${HOME}/_yakuba/upstream/callback`;
const APP = "https://app.example.jp/callback";

async function ask(method, path, { token, json, form } = {}) {
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (json) headers["content-type"] = "application/json";
    if (form) headers["content-type"] = "application/x-www-form-urlencoded";
    const body = json ? JSON.stringify(json) : form && new URLSearchParams(form).toString();
    const answer = await fetch(yakuba.base + path, { method, headers, body });
    return { status: answer.status, body: await answer.json() };
}

/** Signs in at the provider, where the browser has been sent. */
async function signInAtProvider(browser, name) {
    assert.ok(browser.url.startsWith(`${provider.issuer}/interaction/`), `${browser.url} ${browser.page}`);
    await browser.send('name="login"', { login: name, password: "x" });
    if (browser.url.startsWith(`${provider.issuer}/interaction/`)) await browser.send('value="consent"');
    return browser;
}

/** A browser in which somebody has signed in, by the button of this page. */
async function signedIn(name, path = "/_yakuba/account", onTheWay = (url) => url) {
    const browser = new Browser(yakuba.base);
    browser.onTheWay = onTheWay;
    await browser.go(HOME + path);
    await browser.follow("provider");
    return signInAtProvider(browser, name);
}

/** A session of a client, by OAuth 2.0, as a browser signs in that may be signed in already; what it shows to get on. */
async function oauthSession(device, open) {
    const metadata = (await ask("GET", "/_matrix/client/v1/auth_metadata")).body;
    const local = (url) => new URL(url).pathname;
    const client = await ask("POST", local(metadata.registration_endpoint), { json: {
        client_name: "App", client_uri: "https://app.example.jp/", redirect_uris: [APP],
        token_endpoint_auth_method: "none", grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
    } });
    assert.equal(client.status, 201);
    const verifier = randomBytes(32).toString("base64url");
    const query = new URLSearchParams({
        response_type: "code", client_id: client.body.client_id, redirect_uri: APP, state: "s&te",
        scope: `urn:matrix:client:api:* urn:matrix:client:device:${device}`, code_challenge_method: "S256",
        code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    });
    const browser = await open(`${local(metadata.authorization_endpoint)}?${query}`);
    await browser.send('value="agree"', { decision: "agree" });
    const told = browser.told();
    assert.equal(told.state, "s&te");
    const tokens = await ask("POST", local(metadata.token_endpoint), { form: {
        grant_type: "authorization_code", client_id: client.body.client_id, code: told.code, redirect_uri: APP,
        code_verifier: verifier,
    } });
    assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
    const refresh = () => ask("POST", local(metadata.token_endpoint), { form: {
        grant_type: "refresh_token", client_id: client.body.client_id, refresh_token: tokens.body.refresh_token,
    } });
    return { token: tokens.body.access_token, refresh, browser };
}

/** The access token of such a session in a browser of its own. */
const session = async (name, device) => (await oauthSession(device, (path) => signedIn(name, path))).token;

/** A session of a client that knows no OAuth 2.0, in a browser that is signed in already. */
async function sessionByLoginToken(browser) {
    const path = "/_matrix/client/v3/login/sso/redirect?redirectUrl=";
    await browser.go(HOME + path + encodeURIComponent("io.element.app:/sso"));
    await browser.send("redirectUrl");
    const login = { type: "m.login.token", token: browser.url.split("loginToken=")[1], refresh_token: true };
    const made = await ask("POST", "/_matrix/client/v3/login", { json: login });
    assert.equal(made.status, 200, JSON.stringify(made.body));
    const refresh = () => ask("POST", "/_matrix/client/v3/refresh", { json: { refresh_token: made.body.refresh_token } });
    return { token: made.body.access_token, refresh, browser };
}

/** Whoever is signed in in this browser signs out at the provider, on its own page; when that began. */
async function signOutAtProvider(browser) {
    await browser.go(`${provider.issuer}/session/end?client_id=yakuba`);
    const began = performance.now();
    await browser.send("/session/end/confirm", { logout: "yes" });
    assert.equal(browser.status, 200, browser.page);
    return began;
}

/** A pusher of a session, by the name of which it is found again. */
const putPusher = ({ token }, pushkey) => ask("POST", "/_matrix/client/v3/pushers/set", { token, json: {
    kind: "http", app_id: "app", pushkey, app_display_name: "App", device_display_name: "d", lang: "ja", append: true,
    data: { url: "https://push.example.jp/_matrix/push/v1/notify" },
} });

const pushersOf = async ({ token }) =>
    (await ask("GET", "/_matrix/client/v3/pushers", { token })).body.pushers.map(({ pushkey }) => pushkey);

/** A session waits for news; how that ended, and when. */
async function waitsForNews({ token }) {
    const first = await ask("GET", "/_matrix/client/v3/sync?timeout=0", { token });
    const { next_batch: since } = first.body;
    const waiting = ask("GET", `/_matrix/client/v3/sync?timeout=60000&since=${since}`, { token });
    return { ended: waiting.then(({ status }) => ({ status, at: performance.now() })) };
}

const whoami = (token) => ask("GET", "/_matrix/client/v3/account/whoami", { token });

let token;
const figures = [];
const steps = {
    "the first sign-in makes an account": async () => {
        token = await session("hanako", "FIRSTPHONE");
        const me = await whoami(token);
        assert.deepEqual([me.body.user_id, me.body.device_id], ["@hanako:kanazawa.test", "FIRSTPHONE"]);
        const profile = await ask("GET", "/_matrix/client/v3/profile/@hanako:kanazawa.test");
        assert.equal(profile.body.displayname, "山田 花子");
    },
    "the second sign-in finds it, whatever its name is by then": async () => {
        people.hanako.preferred_username = "sato";
        const me = await whoami(await session("hanako", "SECONDPHONE"));
        assert.equal(me.body.user_id, "@hanako:kanazawa.test");
        people.hanako.preferred_username = "hanako";
    },
    "an app that knows no OAuth 2.0 gets a login token": async () => {
        const flows = (await ask("GET", "/_matrix/client/v3/login")).body.flows.map((flow) => flow.type);
        assert.ok(flows.includes("m.login.sso"), flows);
        const path = "/_matrix/client/v3/login/sso/redirect?redirectUrl=";
        const browser = await signedIn("hanako", path + encodeURIComponent("io.element.app:/sso?x=1"));
        assert.ok(browser.page.includes("io.element.app"), browser.page);
        await browser.send("redirectUrl");
        assert.ok(browser.url.startsWith("io.element.app:/sso?x=1&loginToken="), browser.url);
        const login = { type: "m.login.token", token: browser.url.split("loginToken=")[1] };
        const session = await ask("POST", "/_matrix/client/v3/login", { json: login });
        assert.equal(session.body.user_id, "@hanako:kanazawa.test");
        const again = await ask("POST", "/_matrix/client/v3/login", { json: login });
        assert.equal(again.status, 403);
    },
    "an account that was there before is linked by an operator": async () => {
        const auth = { type: "m.login.dummy" };
        const made = await ask("POST", "/_matrix/client/v3/register", { json: { auth, username: "jiro", password: "correct horse" } });
        assert.equal(made.status, 200, JSON.stringify(made.body));
        people.jiro = { preferred_username: "jiro", name: "次郎", email: "jiro@example.jp", email_verified: true };
        const refused = await signedIn("jiro");
        assert.equal(refused.status, 403, refused.page);
        assert.match(refused.page, /is taken/);
        yakuba.command("user", "link", "jiro", "--subject", "jiro");
        const me = await whoami(await session("jiro", "JIROSPHONE"));
        assert.equal(me.body.user_id, "@jiro:kanazawa.test");
    },
    "who gives up at the provider is told so": async () => {
        const browser = new Browser(yakuba.base);
        await browser.go(`${HOME}/_yakuba/account`);
        await browser.follow("provider");
        await browser.follow("[ Cancel ]");
        assert.equal(browser.status, 403, browser.page);
        assert.match(browser.page, /cancelled/);
    },
    "a person without what a name is made of is told which claim is missing": async () => {
        const browser = await signedIn("nameless");
        assert.equal(browser.status, 403);
        assert.match(browser.page, /preferred_username/);
    },
    "another state, nonce, verifier or issuer signs nobody in": async () => {
        const change = (where, name, value) => (url) => {
            if (!url.startsWith(where)) return url;
            const changed = new URL(url);
            if (changed.searchParams.has(name)) changed.searchParams.set(name, value);
            return changed.href;
        };
        const away = `${provider.issuer}/auth?`;
        for (const [onTheWay, status] of [
            [change(CALLBACK, "state", "AAAA.AAAA"), 400],
            [change(CALLBACK, "iss", "https://evil.example"), 502],
            [change(away, "nonce", "another"), 502],
            [change(away, "code_challenge", "A".repeat(43)), 502],
        ]) {
            const browser = await signedIn("taro", "/_yakuba/account", onTheWay);
            assert.equal(browser.status, status, browser.page);
            assert.match(browser.page, /role="alert"/);
            browser.onTheWay = (url) => url;
            await browser.go(`${HOME}/_yakuba/account`);
            assert.match(browser.page, /id="provider"/);
        }
        const nobody = await ask("GET", "/_matrix/client/v3/profile/@taro:kanazawa.test");
        assert.equal(nobody.status, 404);
    },
    "what comes back in another browser signs nobody in": async () => {
        let stolen;
        await signedIn("taro", "/_yakuba/account", (url) => {
            if (!url.startsWith(CALLBACK)) return url;
            stolen = url;
            return "https://nowhere.example/";
        });
        const other = new Browser(yakuba.base);
        await other.go(`${HOME}/_yakuba/sign-in`);
        await other.go(stolen);
        assert.equal(other.status, 400, other.page);
    },
    "who signs out at the provider is out of all programs of that login, and comes back to the same account": async () => {
        const onPhone = await oauthSession("OFFICEPHONE", (path) => signedIn("hanako", path));
        const { browser } = onPhone;
        const onDesktop = await sessionByLoginToken(browser);
        const atHome = await oauthSession("HOMEPHONE", (path) => signedIn("hanako", path));
        await Promise.all([putPusher(onPhone, "phone"), putPusher(onDesktop, "desktop"), putPusher(atHome, "home")]);
        assert.deepEqual((await pushersOf(atHome)).sort(), ["desktop", "home", "phone"]);
        const room = await ask("POST", "/_matrix/client/v3/createRoom", { token: onPhone.token, json: { name: "防災課" } });
        assert.equal(room.status, 200);

        const [phone, desktop, home] = await Promise.all([onPhone, onDesktop, atHome].map(waitsForNews));
        const began = await signOutAtProvider(browser);
        const answered = performance.now() - began;
        const ends = await Promise.all([phone.ended, desktop.ended]);
        const after = ends.map(({ at }) => Math.round(at - began));
        assert.deepEqual(ends.map(({ status }) => status), [401, 401]);
        assert.ok(after.every((time) => time < 5_000), after.join(" "));
        assert.deepEqual(provider.state.told, ["taken"]);
        for (const one of [onPhone, onDesktop]) {
            assert.equal((await whoami(one.token)).status, 401);
            const refused = await one.refresh();
            assert.ok([400, 401].includes(refused.status), JSON.stringify(refused.body));
        }
        assert.equal((await whoami(atHome.token)).status, 200);
        assert.deepEqual(await pushersOf(atHome), ["home"]);
        await browser.go(`${HOME}/_yakuba/account`);
        assert.match(browser.page, /id="provider"/);
        figures.push(`the provider was answered and done after ${Math.round(answered)} ms; /sync of both programs ended after ${after.join(" and ")} ms`);

        const back = await oauthSession("OFFICEPHONE", async (path) => {
            await browser.go(HOME + path);
            await browser.follow("provider");
            return signInAtProvider(browser, "hanako");
        });
        assert.equal((await whoami(back.token)).body.user_id, "@hanako:kanazawa.test");
        const rooms = await ask("GET", "/_matrix/client/v3/joined_rooms", { token: back.token });
        assert.ok(rooms.body.joined_rooms.includes(room.body.room_id), JSON.stringify(rooms.body));
        // The other login was waiting all the time; what ends it now is its own sign-out.
        await signOutAtProvider(atHome.browser);
        assert.equal((await home.ended).status, 401);
        assert.equal((await whoami(back.token)).status, 200);
    },
    "a login that is half done dies with a sign-out": async () => {
        // The app has its code and has not traded it; another browser of the same login at the provider is on its way back.
        const browser = await signedIn("hanako");
        const path = "/_matrix/client/v3/login/sso/redirect?redirectUrl=";
        await browser.go(HOME + path + encodeURIComponent("io.element.app:/sso"));
        await browser.send("redirectUrl");
        const [, loginToken] = browser.url.split("loginToken=");
        await signOutAtProvider(browser);
        const refused = await ask("POST", "/_matrix/client/v3/login", { json: { type: "m.login.token", token: loginToken } });
        assert.equal(refused.status, 403, JSON.stringify(refused.body));

        let onItsWay;
        const late = await signedIn("hanako", "/_yakuba/account", (url) => {
            if (!url.startsWith(CALLBACK)) return url;
            onItsWay = url;
            return "https://nowhere.example/";
        });
        await signOutAtProvider(late);
        late.onTheWay = (url) => url;
        await late.go(onItsWay);
        assert.ok([403, 502].includes(late.status), late.page);
        await late.go(`${HOME}/_yakuba/account`);
        assert.match(late.page, /id="provider"/);
    },
    "a provider that names the person alone ends all that came of it": async () => {
        await provider.stop();
        provider.state.namesLogins = false;
        await provider.start();
        const office = await oauthSession("FOURTHPHONE", (path) => signedIn("hanako", path));
        const home = await oauthSession("FIFTHPHONE", (path) => signedIn("hanako", path));
        const others = await oauthSession("JIROSTABLET", (path) => signedIn("jiro", path));
        const waiting = await Promise.all([office, home].map(waitsForNews));
        const began = await signOutAtProvider(office.browser);
        const ends = await Promise.all(waiting.map(({ ended }) => ended));
        assert.deepEqual(ends.map(({ status }) => status), [401, 401]);
        figures.push(`all of a person ended after ${ends.map(({ at }) => Math.round(at - began)).join(" and ")} ms`);
        assert.equal((await whoami(others.token)).status, 200);
        assert.match(yakuba.audit(), /session\.sign_out_at_provider/);
        assert.ok(provider.state.told.every((word) => word === "taken"), provider.state.told.join());
        await provider.stop();
        provider.state.namesLogins = true;
        await provider.start();
        token = await session("hanako", "SIXTHPHONE");
    },
    "a flood of made-up tokens ends nothing, and keeps neither us nor a sign-out busy": async () => {
        const { d, ...rest } = signingKey();
        const key = createPrivateKey({ key: { d, ...rest }, format: "jwk" });
        const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
        const now = Math.floor(Date.now() / 1_000);
        const office = await oauthSession("SEVENTHPHONE", (path) => signedIn("hanako", path));
        const forged = (kid, more) => {
            const claims = {
                iss: provider.issuer, aud: "yakuba", sub: "hanako", iat: now, exp: now + 120, jti: randomBytes(8).toString("hex"),
                events: { "http://schemas.openid.net/event/backchannel-logout": {} }, ...more,
            };
            const text = `${part({ alg: "RS256", typ: "logout+jwt", kid })}.${part(claims)}`;
            return `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`;
        };
        const known = (await (await fetch(`${provider.issuer}/jwks`)).json()).keys[0].kid;
        const tokens = [
            ...Array.from({ length: 100 }, (_, n) => forged(`made up ${n}`)), forged(known), forged(undefined),
            forged(known, { nonce: "n" }), forged(known, { aud: "another" }), "a.b.c",
        ];
        const asked = provider.state.askedForKeys;
        const statuses = {};
        let isOver = false;
        let sent = 0;
        const stranger = async (address) => {
            while (!isOver) {
                const body = new URLSearchParams({ logout_token: tokens[sent % tokens.length] }).toString();
                sent += 1;
                const headers = { "content-type": "application/x-www-form-urlencoded", "x-forwarded-for": address };
                const answer = await fetch(`${yakuba.base}/_yakuba/upstream/sign-out`, { method: "POST", headers, body });
                await answer.arrayBuffer();
                statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
            }
        };
        const began = performance.now();
        const strangers = Array.from({ length: 40 }, (_, n) => stranger(`203.0.113.${n}`));
        while (sent < 10_000) await whoami(office.token);
        assert.equal((await whoami(office.token)).status, 200);
        const { ended } = await waitsForNews(office);
        const signedOut = await signOutAtProvider(office.browser);
        const { status, at } = await ended;
        isOver = true;
        await Promise.all(strangers);
        assert.equal(status, 401);
        assert.deepEqual(Object.keys(statuses).sort(), ["400", "429"], JSON.stringify(statuses));
        assert.ok(provider.state.askedForKeys - asked <= 1, `${provider.state.askedForKeys - asked}`);
        const perSecond = Math.round(sent / (performance.now() - began) * 1_000);
        figures.push(`${sent} made-up tokens, ${perSecond} a second: ${JSON.stringify(statuses)}, the provider asked ${provider.state.askedForKeys - asked} times; a sign-out meanwhile took ${Math.round(at - signedOut)} ms`);
    },
    "a provider that comes back with other keys is believed": async () => {
        await provider.stop();
        await provider.start({ newKeys: true });
        const me = await whoami(await session("hanako", "THIRDPHONE"));
        assert.equal(me.body.user_id, "@hanako:kanazawa.test");
    },
    "a provider that is away costs nobody his session": async () => {
        await provider.stop();
        assert.equal((await whoami(token)).status, 200);
        const browser = new Browser(yakuba.base);
        await browser.go(`${HOME}/_yakuba/account`);
        browser.onTheWay = (url) => {
            if (!url.startsWith(provider.issuer)) return url;
            // As if the user had come back a moment before.
            const { searchParams } = new URL(url);
            const query = new URLSearchParams({ code: "c", state: searchParams.get("state"), iss: provider.issuer });
            return `${CALLBACK}?${query}`;
        };
        await browser.follow("provider");
        assert.equal(browser.status, 503, browser.page);
        assert.match(browser.page, /go on working/);
        await provider.start();
    },
};

let failed = 0;
try {
    for (const [name, step] of Object.entries(steps)) {
        if (wanted.length && !wanted.some((part) => name.includes(part))) continue;
        try {
            await step();
            console.log(`ok      ${name}`);
        } catch (error) {
            failed += 1;
            console.log(`failed  ${name}\n${error.stack}`);
        }
    }
} finally {
    await yakuba.stop();
    await provider.stop().catch(() => {});
}
for (const figure of figures) console.log(`        ${figure}`);
if (failed) console.log(yakuba.log());
process.exit(failed ? 1 : 0);
