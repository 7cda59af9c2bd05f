// The ways through our pages: each step says what it does and fails with the reason. Later ones stand on earlier ones.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { Mailbox, asks } from "./mailbox.mjs";
import { consoleWays } from "./console.mjs";
import { factorWays } from "./factors.mjs";
import { APP, Person } from "./seen.mjs";
import { AUTHORITIES, Server, TOKEN, freePort } from "./server.mjs";

const say = (line) => process.stdout.write(`${line}\n`);
const [KANAZAWA, WAJIMA] = AUTHORITIES;
const PASSWORD = "correct horse 42", LATER = "battery staple 43";
const VERIFIER = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABC";
const CHALLENGE = createHash("sha256").update(VERIFIER).digest("base64url");

const SCREENS = [
    { name: "ja-390", language: "ja", width: 390 },
    { name: "ja-1280", language: "ja", width: 1280 },
    { name: "en-390", language: "en", width: 390 },
    { name: "ja-360-dark", language: "ja", width: 360, dark: true },
];

const [program, pictures, ...only] = process.argv.slice(2);
const mail = { port: await freePort(), user: "yakuba", password: "only for mails" };
const server = Server.make(await freePort(), await freePort(), mail);
const mailbox = new Mailbox(mail);
await mailbox.listen(mail.port, server.tls);
await server.start(program);

// The app, to which browsers are led back.
const app = createServer({ key: readFileSync(server.tls.key), cert: readFileSync(server.tls.certificate) }, (_, answer) => {
    answer.setHeader("content-type", "text/html").end('<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>app</title>');
});
await new Promise((done) => app.listen(0, "127.0.0.1", done));
const hosts = [...AUTHORITIES.map((name) => `MAP ${name} 127.0.0.1`), `MAP app.test 127.0.0.1:${app.address().port}`];
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", `--host-resolver-rules=${hosts.join(",")}`],
});

/** A client that has registered itself; its id. */
async function client() {
    const answer = await server.ask(WAJIMA, "POST", "/_yakuba/oauth2/register", {
        client_name: "Bosai", "client_name#ja": "防災連絡アプリ", client_uri: "https://app.test/",
        tos_uri: "https://app.test/tos", policy_uri: "https://app.test/policy", redirect_uris: [APP],
        token_endpoint_auth_method: "none", response_types: ["code"], application_type: "web",
        grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    });
    assert.equal(answer.status, 201, answer.text);
    return answer.body.client_id;
}

const scope = (device) => `urn:matrix:client:api:* urn:matrix:client:device:${device}`;
const consentOf = (id, device) => `${server.url(WAJIMA)}/_yakuba/oauth2/authorize?` + new URLSearchParams({
    response_type: "code", client_id: id, redirect_uri: APP, scope: scope(device), state: "s t&te",
    code_challenge: CHALLENGE, code_challenge_method: "S256",
});
const token = async (fields) => server.ask(WAJIMA, "POST", "/_yakuba/oauth2/token", new URLSearchParams(fields).toString());

/** All ways on one screen. */
function ways(screen, counter) {
    const ja = screen.language === "ja";
    const pick = (japanese, english) => (ja ? japanese : english);
    const name = `u-${screen.name}`, user = `@${name}:${WAJIMA}`, email = `${name}@kanazawa.test`;
    const account = `${server.url(WAJIMA)}/_yakuba/account`;
    let person, id, session, device;
    const anew = async () => { await person?.close(); person = await Person.of(browser, screen, pictures, counter); };
    const says = async (japanese, english) => assert.match(await person.text(), new RegExp(pick(japanese, english)));
    const SIGN_IN = pick(/^サインイン$/, /^Sign in$/), SIGN_UP = pick(/アカウントを作る/, /account/i);
    const ALLOW = pick(/^許可する$/, /^Allow$/), REFUSE = pick(/^許可しない$/, /^Do not allow$/);
    const ledToApp = async () => {
        await person.page.waitForURL(`${APP}**`);
        return Object.fromEntries(new URL(person.page.url()).searchParams);
    };

    return {
        async "an app sends its user to sign in; there is no account yet"() {
            await anew();
            id = await client();
            await person.opens(consentOf(id, "AAABBBCCCDDD"), "sign-in");
            await person.sends({ name, password: "wrong wrong" }, SIGN_IN, "sign-in-wrong", 403);
            await says("違います", "is wrong");
        },
        async "an account is made: passwords that differ, a wrong token, then a right one"() {
            await person.follows(SIGN_UP, "sign-up");
            await person.sends({ name, password: PASSWORD, again: LATER, token: TOKEN }, SIGN_UP, "sign-up-differ", 400);
            await person.sends({ name, password: PASSWORD, again: PASSWORD, token: "momiji" }, SIGN_UP, "sign-up-token", 400);
            await person.sends({ name, password: PASSWORD, again: PASSWORD, token: TOKEN }, SIGN_UP, "consent");
            await says("防災連絡アプリ", "Bosai");
            assert.ok((await person.text()).includes(user));
        },
        async "consent is refused, and the app is told"() {
            await person.sends({}, REFUSE);
            const told = await ledToApp();
            assert.deepEqual([told.error, told.state], ["access_denied", "s t&te"]);
        },
        async "consent is given, and the app gets its session"() {
            await person.opens(consentOf(id, "AAABBBCCCDDD"), "consent-again");
            await person.sends({}, ALLOW);
            const told = await ledToApp();
            const answer = await token({ grant_type: "authorization_code", code: told.code, redirect_uri: APP, client_id: id, code_verifier: VERIFIER });
            assert.equal(answer.status, 200, answer.text);
            session = answer.body;
            const who = await server.ask(WAJIMA, "GET", "/_matrix/client/v3/account/whoami", undefined, session.access_token);
            assert.deepEqual([who.body.user_id, who.body.device_id], [user, "AAABBBCCCDDD"]);
        },
        async "a device without a browser: its complete link asks for no second typing (C68)"() {
            const begun = (await server.ask(WAJIMA, "POST", "/_yakuba/oauth2/device", new URLSearchParams({ client_id: id, scope: scope("DEVICE0001") }).toString())).body;
            await anew();
            await person.opens(begun.verification_uri_complete, "device-sign-in");
            await person.sends({ name, password: PASSWORD }, SIGN_IN, "device-consent");
            assert.ok((await person.text()).includes(begun.user_code), "the code is shown");
            assert.equal(await person.page.locator("main input:not([type=hidden])").count(), 0, "nothing is typed again");
            await person.sends({}, ALLOW, "device-allowed");
            const answer = await token({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: begun.device_code, client_id: id });
            assert.equal(answer.status, 200, answer.text);
            device = answer.body;
        },
        async "a device's code typed: a wrong one, a right one, and not allowed"() {
            const begun = (await server.ask(WAJIMA, "POST", "/_yakuba/oauth2/device", new URLSearchParams({ client_id: id, scope: scope("DEVICE0002") }).toString())).body;
            await person.opens(begun.verification_uri, "device-code");
            await person.sends({ user_code: "BBBB-BBBB" }, pick(/次へ/, /Next/), "device-code-wrong", 400);
            await person.sends({ user_code: begun.user_code.toLowerCase() }, pick(/次へ/, /Next/), "device-consent-typed");
            await person.sends({}, REFUSE, "device-refused");
            const answer = await token({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: begun.device_code, client_id: id });
            assert.deepEqual([answer.status, answer.body.error], [400, "access_denied"]);
        },
        async "the account page: another name"() {
            await person.opens(account, "profile");
            await person.sends({ name: "輪島 花子" }, pick(/保存/, /Save/), "profile-saved");
            const shown = await server.ask(WAJIMA, "GET", `/_matrix/client/v3/profile/${encodeURIComponent(user)}`);
            assert.equal(shown.body.displayname, "輪島 花子");
        },
        async "the account page: one device is signed out, the other is not"() {
            await person.follows(pick(/^端末$/, /^Devices$/), "devices");
            await person.opens(`${account}?action=org.matrix.device_view&device_id=DEVICE0001`, "device");
            await person.sends({}, pick(/サインアウトさせる/, /Sign out/), "devices-after");
            const who = async (token) => (await server.ask(WAJIMA, "GET", "/_matrix/client/v3/account/whoami", undefined, token)).status;
            assert.deepEqual([await who(device.access_token), await who(session.access_token)], [401, 200]);
        },
        async "the account page: another password, by the old one"() {
            await person.opens(`${account}?action=password`, "password");
            const button = pick(/変更する/, /Change/);
            await person.sends({ password: "wrong wrong", new_password: LATER, again: LATER }, button, "password-wrong", 403);
            await person.sends({ password: PASSWORD, new_password: LATER, again: LATER }, button, "password-changed");
            const login = (password) => server.ask(WAJIMA, "POST", "/_matrix/client/v3/login", { type: "m.login.password", identifier: { type: "m.id.user", user: name }, password });
            assert.deepEqual([(await login(PASSWORD)).status, (await login(LATER)).status], [403, 200]);
        },
        async "the account page: the encryption identity is to be made anew"() {
            await person.opens(`${account}?action=org.matrix.cross_signing_reset`, "reset");
            await person.sends({ password: "wrong wrong" }, pick(/承認/, /Approve/), "reset-wrong", 403);
            await person.sends({ password: LATER }, pick(/承認/, /Approve/), "reset-approved");
        },
        async "the pages of user-interactive authentication"() {
            const begun = await server.ask(KANAZAWA, "POST", "/_matrix/client/v3/register", { username: name, password: PASSWORD });
            const of = (authority, stage, session) => `${server.url(authority)}/_matrix/client/v3/auth/${stage}/fallback/web?session=${session}`;
            const on = pick(/続ける/, /Go on/);
            const isDone = async () => assert.match(await person.page.content(), /window\.onAuthDone/);
            await anew();
            await person.opens(of(KANAZAWA, "m.login.terms", begun.body.session), "stage-terms");
            await person.sends({}, on, "stage-done");
            await isDone();
            await person.opens(of(KANAZAWA, "m.login.email.identity", begun.body.session), "stage-email");
            await person.sends({ email }, on, "stage-email-word");
            const got = await mailbox.next(email);
            assert.ok(got.secure, "the mail came over TLS");
            await person.sends({ word: "AAAA" }, on, "stage-email-wrong", 403);
            await person.sends({ word: asks(got).word }, on, "stage-email-done");
            await isDone();
            const made = await server.ask(KANAZAWA, "POST", "/_matrix/client/v3/register", { auth: { session: begun.body.session } });
            assert.equal(made.body.user_id, `@${name}:${KANAZAWA}`, made.text);

            const asked = await server.ask(WAJIMA, "POST", "/_matrix/client/v3/register", { username: `${name}-2`, password: PASSWORD });
            await person.opens(of(WAJIMA, "m.login.registration_token", asked.body.session), "stage-token");
            await person.sends({ token: "momiji" }, on, "stage-token-wrong", 403);
            await person.sends({ token: TOKEN }, on, "stage-token-done");
            await person.opens(of(WAJIMA, "m.login.dummy", asked.body.session), "stage-dummy");

            const login = await server.ask(WAJIMA, "POST", "/_matrix/client/v3/login", { type: "m.login.password", identifier: { type: "m.id.user", user: name }, password: LATER });
            const path = `/_matrix/client/v3/devices/${login.body.device_id}`;
            const removal = await server.ask(WAJIMA, "DELETE", path, {}, login.body.access_token);
            await person.opens(of(WAJIMA, "m.login.password", removal.body.session), "stage-password");
            await person.sends({ name, password: "wrong wrong" }, on, "stage-password-wrong", 403);
            await person.sends({ name, password: LATER }, on, "stage-password-done");
            const removed = await server.ask(WAJIMA, "DELETE", path, { auth: { session: removal.body.session } }, login.body.access_token);
            assert.equal(removed.status, 200, removed.text);
            await person.opens(of(WAJIMA, "m.login.terms", "never-was"), "stage-over", 404);
        },
        async "the page of a mail: an address is confirmed, and the link is good once"() {
            const address = `second-${email}`;
            const asked = await server.ask(KANAZAWA, "POST", "/_matrix/client/v3/register/email/requestToken", { email: address, client_secret: "secret", send_attempt: 1 });
            assert.equal(asked.status, 200, asked.text);
            const { link, word } = asks(await mailbox.next(address));
            await person.opens(link, "mail");
            await person.sends({ word: "AAAA" }, pick(/確認/, /Confirm/), "mail-wrong", 400);
            await person.sends({ word }, pick(/確認/, /Confirm/), "mail-confirmed");
            const register = (body) => server.ask(KANAZAWA, "POST", "/_matrix/client/v3/register", body);
            const creds = { sid: asked.body.sid, client_secret: "secret" };
            const begun = await register({ username: `${name}-4`, password: PASSWORD, auth: { type: "m.login.email.identity", threepid_creds: creds } });
            const made = await register({ auth: { type: "m.login.terms", session: begun.body.session } });
            assert.equal(made.status, 200, made.text);
            await person.opens(link, "mail-used", 404);
        },
        async "a forgotten password: by mail, and the page warns"() {
            const ask = (body) => server.ask(KANAZAWA, "POST", "/_matrix/client/v3/account/password", body);
            const asked = await server.ask(KANAZAWA, "POST", "/_matrix/client/v3/account/password/email/requestToken", { email, client_secret: "forgotten", send_attempt: 1 });
            assert.equal(asked.status, 200, asked.text);
            const auth = { type: "m.login.email.identity", threepid_creds: { sid: asked.body.sid, client_secret: "forgotten" } };
            const early = await ask({ new_password: LATER, auth });
            assert.ok(early.status >= 400, early.text);
            const { link } = asks(await mailbox.next(email));
            await person.opens(link, "mail-password");
            await person.sends({}, pick(/確認/, /Confirm/), "mail-password-confirmed");
            const changed = await ask({ new_password: LATER, auth });
            assert.equal(changed.status, 200, changed.text);
            const login = (password) => server.ask(KANAZAWA, "POST", "/_matrix/client/v3/login", { type: "m.login.password", identifier: { type: "m.id.user", user: name }, password });
            assert.deepEqual([(await login(PASSWORD)).status, (await login(LATER)).status], [403, 200]);
        },
        async "an account is made on a page that asks for terms and address"() {
            const [third, address] = [`${name}-3`, `third-${email}`];
            await anew();
            await person.opens(`${server.url(KANAZAWA)}/_yakuba/sign-up`, "sign-up-terms");
            const fields = { name: third, password: PASSWORD, again: PASSWORD, email: address, terms: true };
            await person.sends(fields, SIGN_UP, "sign-up-word");
            await person.sends({ word: "AAAA" }, pick(/確認/, /Confirm/), "sign-up-word-wrong", 400);
            const { word } = asks(await mailbox.next(address));
            await person.sends({ word }, pick(/確認/, /Confirm/), "sign-up-done");
            assert.ok((await person.text()).includes(`@${third}:${KANAZAWA}`));
        },
        async "pages to sign in for apps that know no other way"() {
            await anew();
            const sso = `${server.url(WAJIMA)}/_matrix/client/v3/login/sso/redirect?redirectUrl=${encodeURIComponent(APP)}`;
            await person.opens(sso, "sso");
            await person.sends({ name, password: "wrong wrong" }, SIGN_IN, "sso-wrong", 403);
            await person.sends({ name, password: LATER }, SIGN_IN);
            const told = await ledToApp();
            const login = await server.ask(WAJIMA, "POST", "/_matrix/client/v3/login", { type: "m.login.token", token: told.loginToken });
            assert.equal(login.body.user_id, user, login.text);
            await person.opens(`${server.url(WAJIMA)}/_matrix/static/client/login/`, "login");
            await person.sends({ name, password: LATER }, SIGN_IN, "login-done");
            assert.match(await person.page.content(), /matrixLogin/);
        },
        async "the other language is one press away, and stays"() {
            await person.opens(`${server.url(WAJIMA)}/_matrix/static/client/login/`, "login-again");
            await person.page.locator("footer a").click();
            await person.page.waitForLoadState("load");
            assert.equal(await person.page.evaluate(() => document.documentElement.lang), ja ? "en" : "ja");
            await person.page.locator("footer a").click();
            await person.page.waitForLoadState("load");
            assert.equal(await person.page.evaluate(() => document.documentElement.lang), screen.language);
        },
        async "a page that is not there, and one whose form is old"() {
            await person.opens(`${server.url(WAJIMA)}/_yakuba/language/xx`, "not-found", 404);
            await person.opens(`${server.url(WAJIMA)}/_yakuba/sign-in`, "sign-in-bare");
            await person.context.clearCookies({ name: "__Host-yakuba" });
            await person.sends({ name, password: LATER }, SIGN_IN, "form-old", 403);
        },
        async "the account page: the account is closed"() {
            await person.opens(`${account}?action=org.matrix.account_deactivate`, "close-sign-in");
            await person.sends({ name, password: LATER }, SIGN_IN, "close");
            await person.sends({ password: "wrong wrong" }, pick(/閉鎖する/, /Close/), "close-wrong", 403);
            await person.sends({ password: LATER }, pick(/閉鎖する/, /Close/), "closed");
            const who = await server.ask(WAJIMA, "GET", "/_matrix/client/v3/account/whoami", undefined, session.access_token);
            assert.equal(who.status, 401);
            await person.opens(`${account}`, "closed-sign-in");
            await person.sends({ name, password: LATER }, SIGN_IN, "closed-refused", 403);
            await person.close();
        },
    };
}

let failed = 0, shown = 0;
const lesser = new Set();
for (const screen of SCREENS.filter((screen) => !only.length || only.includes(screen.name))) {
    const counter = { shown: 0, lesser };
    rmSync(join(pictures, screen.name), { recursive: true, force: true });
    mkdirSync(join(pictures, screen.name), { recursive: true });
    for (const [what, step] of Object.entries({ ...ways(screen, counter), ...consoleWays({ server, browser, pictures }, screen, counter), ...factorWays({ server, browser, pictures }, screen, counter) })) {
        try {
            await step();
            say(`ok    ${screen.name}: ${what}`);
        } catch (error) {
            failed += 1;
            say(`FAIL  ${screen.name}: ${what}\n      ${String(error.stack).replaceAll("\n", "\n      ")}`);
        }
    }
    shown += counter.shown;
}
for (const it of lesser) say(`note  axe, ${it}`);
say(failed ? `${failed} steps failed` : `all went well: ${shown} pages shown`);
await browser.close();
app.close();
await server.stop();
await mailbox.close();
process.exit(failed ? 1 : 0);
