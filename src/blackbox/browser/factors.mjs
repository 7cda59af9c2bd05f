// The ways through second factors: an authenticator app by its QR code's key, a passkey by the virtual authenticator of Chromium,
// beside a password and alone, a recovery.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";

import { Person } from "./seen.mjs";
import { AUTHORITIES } from "./server.mjs";

const WAJIMA = AUTHORITIES[1];
const PASSWORD = "correct horse 42";

/** The code that an app shows for the key of a page, so many steps from now. */
function codeOf(key, ahead = 0) {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const bits = [...key.replaceAll(" ", "")].map((letter) => letters.indexOf(letter).toString(2).padStart(5, "0")).join("");
    const secret = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
    const step = Buffer.alloc(8);
    step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
    const hash = createHmac("sha1", secret).update(step).digest();
    const at = hash[19] & 15;
    return String((hash.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** All ways on one screen. */
export function factorWays({ server, browser, pictures }, screen, counter) {
    const ja = screen.language === "ja";
    const pick = (japanese, english) => (ja ? japanese : english);
    const name = `keys-${screen.name}`;
    const page = `${server.url(WAJIMA)}/_yakuba/account?action=factors`;
    const SIGN_IN = pick(/^サインイン$/, /^Sign in$/), GO_ON = pick(/^続ける$/, /^Go on$/);
    const SET_UP = pick(/登録する$/, /^Set up an app or/);
    let person, key, authenticator, codes, devtools;
    const says = async (japanese, english) => assert.match(await person.text(), new RegExp(pick(japanese, english)));
    const anew = async () => {
        await person?.close();
        person = await Person.of(browser, screen, pictures, counter);
    };
    /** A telephone's own authenticator, with a finger on it. */
    const plugIn = async () => {
        devtools = await person.context.newCDPSession(person.page);
        await devtools.send("WebAuthn.enable");
        const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
        ({ authenticatorId: authenticator } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options }));
    };

    return {
        async "second factors: an app is set up by the first code that it shows"() {
            server.account(WAJIMA, name, PASSWORD);
            await anew();
            await plugIn();
            await person.opens(page, "factors-sign-in");
            await person.sends({ name, password: PASSWORD }, SIGN_IN, "factors-none");
            await person.sends({}, SET_UP, "factors-new");
            key = await person.page.locator("#secret").innerText();
            await person.sends({ code: "000000" }, pick(/^アプリを登録する$/, /^Set up the app$/), "factors-wrong", 403);
            assert.equal(await person.page.locator("#secret").innerText(), key);
            await person.sends({ code: codeOf(key) }, pick(/^アプリを登録する$/, /^Set up the app$/), "factors-codes");
            codes = await person.page.locator("#codes li").allInnerTexts();
            assert.equal(codes.length, 10);
        },
        async "second factors: a passkey beside it"() {
            await person.opens(page, "factors-one");
            await person.sends({}, SET_UP, "factors-new-again");
            await person.page.locator("#passkey-name").fill(pick("会社の鍵", "work key"));
            await person.sends({}, pick(/^パスキーを登録する$/, /^Set up a passkey$/), "factors-passkey");
            await says("設定しました", "is set up");
            const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId: authenticator });
            assert.equal(credentials.length, 1);
            await person.opens(page, "factors-two");
            await says("パスキー", "Passkey");
        },
        async "second factors: this device has one already"() {
            await person.sends({}, SET_UP, "factors-third");
            await person.page.locator("#passkey button").click();
            await person.page.locator("#passkey-problem").waitFor();
            await says("すでに登録されています", "already");
            await person.opens(page, "factors-still-two");
        },
        async "second factors: the password and the passkey"() {
            await person.context.clearCookies();
            await person.opens(page, "second-sign-in");
            await person.sends({ name, password: PASSWORD }, SIGN_IN, "second-step");
            await person.sends({}, pick(/^パスキーを使う$/, /^Use a passkey$/), "second-by-passkey");
            await says("残りの回復コード", "Recovery codes left");
        },
        async "second factors: the passkey alone"() {
            await person.context.clearCookies();
            await person.opens(page, "alone-sign-in");
            await person.sends({}, pick(/^パスキーでサインイン$/, /^Sign in with a passkey$/), "alone");
            await says("残りの回復コード", "Recovery codes left");
        },
        async "second factors: a finger that is not its owner's, and a code for once"() {
            await person.context.clearCookies();
            await devtools.send("WebAuthn.setUserVerified", { authenticatorId: authenticator, isUserVerified: false });
            await person.opens(page, "unverified-sign-in");
            await person.sends({ name, password: PASSWORD }, SIGN_IN, "unverified");
            await person.page.locator("#passkey button").click();
            await person.page.locator("#passkey-problem").waitFor();
            await says("使えませんでした", "could not be used");
            await person.sends({ code: codes[0] }, GO_ON, "by-code");
            assert.match(await person.text(), /9/);
        },
        async "second factors: a recovery at the command line, and the way back in"() {
            const told = server.command("user", "factors", "reset", name, "--server-name", WAJIMA);
            const code = told.match(/([a-z0-9]{4}-){3}[a-z0-9]{4}/)[0];
            await anew();
            await person.opens(page, "recovery-sign-in");
            await person.sends({ name, password: PASSWORD }, SIGN_IN, "recovery-code");
            await person.sends({ code: codes[1] }, GO_ON, "recovery-old-code", 403);
            await person.sends({ code }, GO_ON, "recovery-new-factor");
            key = await person.page.locator("#secret").innerText();
            await person.sends({ code: codeOf(key) }, pick(/^アプリを登録する$/, /^Set up the app$/), "recovered");
            await person.close();
        },
    };
}
