// The ways through the console: a personnel file from upload to undo, approved on a phone as well, people by reading, accounts,
// registration tokens, reports, files, other servers, the audit log, and who does not see what.

import assert from "node:assert/strict";

import { Person } from "./seen.mjs";
import { AUTHORITIES } from "./server.mjs";

const WAJIMA = AUTHORITIES[1];
const PASSWORD = "correct horse 42";
const PATIENCE = 60_000;

const ROWS = [
    ["職員番号", "氏名", "フリガナ", "所属", "職名", "発令日"],
    ["00001", "山田 花子", "ヤマダ ハナコ", "総務部　防災課", "課長", "2020-04-01"],
    ["00002", "髙橋 太郎", "タカハシ タロウ", "総務部　防災課", "主査", "2020-04-01"],
    ["00003", "佐藤 次郎", "サトウ ジロウ", "総務部　人事課", "課長", "2020-04-01"],
];
const file = (rows) => ({ name: "人事.csv", mimeType: "text/csv", buffer: Buffer.from(`\uFEFF${rows.map((row) => row.join(",")).join("\r\n")}\r\n`) });

/** All ways on one screen. */
export function consoleWays({ server, browser, pictures }, screen, counter) {
    const ja = screen.language === "ja";
    const pick = (japanese, english) => (ja ? japanese : english);
    const named = (what) => `${what}-${screen.name}`;
    const at = (path = "") => `${server.url(WAJIMA)}/_yakuba/console${path}`;
    const SIGN_IN = pick(/^サインイン$/, /^Sign in$/), FIND = pick(/^探す$/, /^Find$/);
    const ASK = pick(/^申請する$/, /^Ask for it$/), APPROVE = pick(/^承認する$/, /^Approve$/);
    let person, set, asked;
    const says = async (japanese, english) => assert.match(await person.text(), new RegExp(pick(japanese, english)));
    /** Another person's browser, who is led to the console by signing in. */
    const comes = async (who) => {
        await person?.close();
        person = await Person.of(browser, screen, pictures, counter);
        await person.opens(at(), `console-sign-in-${who}`);
        await person.sends({ name: named(who), password: PASSWORD }, SIGN_IN, `console-${who}`);
    };
    /** Asks for the set to be applied. */
    const asks = async (name) => {
        await person.follows(pick("承認を求める", "Ask for approval"), `${name}-ask`);
        await person.sends({ reason: "四月の異動", password: PASSWORD }, ASK, `${name}-asked`);
        asked = person.page.url();
    };
    /** Agrees to what was asked for, and looks at the set again. */
    const agrees = async (name) => {
        await person.opens(asked, `${name}-case`);
        await person.sends({ password: PASSWORD }, APPROVE, `${name}-agreed`);
        await person.opens(set, `${name}-set`);
    };
    /** Looks at the set until it says so. */
    const until = async (japanese, english) => {
        const end = Date.now() + PATIENCE;
        while (!new RegExp(pick(japanese, english)).test(await person.text())) {
            if (Date.now() > end) throw new Error(`it never said ${japanese}: ${await person.text()}`);
            await person.page.goto(set);
        }
    };
    const upload = { source: "人事システム", new_body: "首長部局", makes_new: true, day: "2020-04-01" };
    const saved = named("様式");

    return {
        async "the console: accounts and their duties, from the command line"() {
            for (const name of ["jinji", "chief", "kansa", "hanako"]) server.account(WAJIMA, named(name), PASSWORD);
            const duty = (name, word) => server.command("user", "duty", named(name), "--server-name", WAJIMA, "--give", word);
            assert.match(duty("jinji", "personnel"), /人事担当/);
            duty("kansa", "監査担当");
            duty("chief", "approval");
            server.command("user", "admin", named("chief"), "--server-name", WAJIMA, "--grant");
            const told = server.command("user", "duties", "--server-name", WAJIMA);
            assert.match(told, new RegExp(`@${named("jinji")}:${WAJIMA}  人事担当`));
        },
        async "the console: who has no duty is told so"() {
            person = await Person.of(browser, screen, pictures, counter);
            await person.opens(at(), "console-sign-in-nobody");
            await person.sends({ name: named("hanako"), password: PASSWORD }, SIGN_IN, "console-nobody", 403);
            await says("管理画面を使えません", "nothing to do on the console");
        },
        async "the console: what columns mean is looked at, put right and saved"() {
            await comes("jinji");
            await person.opens(at("/import"), "console-import");
            const odd = ROWS.map((row, place) => (place === 0 ? ["コード", "なまえ", "よみ", "部署", "役", "いつから"] : row));
            await person.sends({ file: file(odd), ...upload }, pick(/列の対応を確認/, /columns mean/), "console-columns");
            const meant = ["職員番号", "氏名", "フリガナ", "所属", "職名", "発令日"];
            const fields = Object.fromEntries(await Promise.all(meant.map(async (word, place) => {
                const options = person.page.locator(`[name="column-${place + 1}"] option`);
                const number = { 職員番号: 0, 氏名: 1, フリガナ: 4, 所属: 9, 職名: 10, 発令日: 14 }[word];
                return [`column-${place + 1}`, await options.nth(number + 1).getAttribute("value")];
            })));
            await person.sends({ ...fields, name: saved }, pick(/保存する/, /Save/), "console-columns-saved");
            await says("列の対応を保存しました", "is saved");
        },
        async "the console: a file becomes a change set, a bad one is refused with what was typed"() {
            await person.opens(at("/import"), "console-import-again");
            await person.sends({ file: { name: "x.csv", mimeType: "text/csv", buffer: Buffer.from("a,b\n1,2\n") }, ...upload }, pick(/変更案を作る/, /Make a change set/), "console-import-refused", 400);
            assert.equal(await person.page.locator("[name=new_body]").inputValue(), "首長部局");
            const odd = ROWS.map((row, place) => (place === 0 ? ["コード", "なまえ", "よみ", "部署", "役", "いつから"] : row));
            await person.sends({ file: file(odd), ...upload, mapping: saved }, pick(/変更案を作る/, /Make a change set/), "console-set");
            set = person.page.url();
            await says("00002 髙橋 太郎", "00002 髙橋 太郎");
            await person.follows(pick("承認を求める", "Ask for approval"), "console-set-ask");
            await person.sends({ reason: "四月の異動", password: "wrong wrong" }, ASK, "console-set-wrong", 403);
            assert.equal(await person.page.locator("[name=reason]").inputValue(), "四月の異動");
            await person.sends({ password: PASSWORD }, ASK, "console-set-asked");
            asked = person.page.url();
            await says("承認待ち", "waits for approvals");
        },
        async "the console: a second person approves, on this screen, and it is applied"() {
            await comes("chief");
            await person.page.locator("main li a").first().click();
            await person.page.waitForLoadState("load");
            assert.equal(person.page.url(), set, "it waits on the first page");
            await agrees("console-set");
            await until("適用済み", "State\\s+applied");
            await person.opens(set, "console-set-applied");
        },
        async "the console: the organisation, a unit, and people by reading"() {
            await person.opens(at("/organisation"), "console-organisation");
            await person.follows("防災課", "console-unit");
            assert.ok((await person.text()).includes("髙橋 太郎"));
            await person.opens(at("/people"), "console-people");
            await person.sends({ q: "たかはし" }, FIND, "console-people-found");
            assert.ok((await person.text()).includes("髙橋 太郎"));
            await person.sends({ q: "高橋 防災" }, FIND, "console-people-variant");
            assert.ok((await person.text()).includes("髙橋 太郎"));
            await person.sends({ q: "いない人" }, FIND, "console-people-none");
            await says("見つかりません", "Nobody was found");
            await person.opens(at("/rooms"), "console-rooms");
            await person.sends({}, pick(/変わることを見る/, /See what changes/), "console-rooms-preview");
        },
        async "the console: the organisation by hand, act by act"() {
            await comes("jinji");
            await person.opens(at("/organisation"), "console-organisation-again");
            await person.follows(pick("組織を手で変える", "Change it by hand"), "console-edit");
            const ADD = pick(/^加える$/, /^Add$/), OF = { rename: pick("所属の名称変更", "Rename a unit"), charge: pick("担当業務（事務分掌）", "Who is responsible for what") };
            await person.sends({}, new RegExp(`^${OF.rename}$`), "console-edit-rename");
            await person.sends({ unit: "総務部/無い課", name: "危機管理課" }, ADD, "console-edit-refused", 400);
            assert.equal(await person.page.locator("[name=name]").inputValue(), "危機管理課");
            await person.sends({ unit: "総務部/防災課", name: "危機管理課" }, ADD, "console-edit-renamed");
            await person.sends({}, new RegExp(`^${OF.charge}$`), "console-edit-charge");
            await person.sends({ unit: "危機管理課", matters: "避難所\n備蓄" }, ADD, "console-edit-charged");
            await says("避難所、備蓄", "避難所, 備蓄");
            await person.sends({}, pick(/変更案を作る/, /Make a change set/), "console-edit-set");
            await says("機構改革|名称変更", "renamed");
            await person.page.locator("main details summary", { hasText: pick("取り下げる", "Take this change set back") }).click();
            await person.sends({}, pick(/^取り下げる$/, /^Take it back$/), "console-edit-withdrawn");
            await says("取り下げ", "withdrawn");
            await comes("chief");
        },
        async "the console: a transfer day at its minute, and one line undone"() {
            const moved = ROWS.map((row) => row.map((cell) => (row[0] === "00002" && cell.includes("防災課") ? "総務部　人事課" : cell)));
            await person.opens(at("/import"), "console-transfer");
            await person.sends({ file: file(moved), source: "人事システム", day: "2026-04-01" }, pick(/変更案を作る/, /Make a change set/), "console-transfer-set");
            set = person.page.url();
            await says("異動", "moved");
            await asks("console-transfer");
            await comes("jinji");
            await agrees("console-transfer");
            await until("適用済み", "State\\s+applied");
            await person.opens(at("/organisation?day=2026-03-31&unit=%E9%98%B2%E7%81%BD%E8%AA%B2"), "console-before");
            assert.ok((await person.text()).includes("髙橋 太郎"), "where he was the day before");
            await person.opens(at("/organisation?day=2026-04-01&unit=%E4%BA%BA%E4%BA%8B%E8%AA%B2"), "console-after");
            assert.ok((await person.text()).includes("髙橋 太郎"), "and where he is on the day");
            await person.opens(set, "console-transfer-applied");
            await person.page.locator("main td a", { hasText: pick("取り消す", "Undo") }).and(person.page.locator('[aria-label*="髙橋"]')).click();
            await person.page.waitForLoadState("load");
            await person.sends({ password: PASSWORD }, pick(/^取り消す$/, /^Undo$/), "console-line-undone");
            await says("取り消し済み", "undone");
            await person.opens(at("/organisation?day=2026-04-01&unit=%E9%98%B2%E7%81%BD%E8%AA%B2"), "console-back");
            assert.ok((await person.text()).includes("髙橋 太郎"));
        },
        async "the console: all of it is undone"() {
            // The later set first: what it made leans on the earlier one.
            for (let left = 2; left > 0; left -= 1) {
                await person.opens(at("/changes"), "console-changes");
                const row = person.page.locator("main tbody tr", { hasText: pick("適用済み", "applied") }).first();
                await row.locator("a").first().click();
                await person.page.waitForLoadState("load");
                await person.follows(pick("全体を取り消す", "Undo all"), "console-undo");
                await person.sends({ password: "wrong wrong" }, pick(/^取り消す$/, /^Undo$/), "console-undo-wrong", 403);
                await person.sends({ password: PASSWORD }, pick(/^取り消す$/, /^Undo$/), "console-undone");
                await says("取り消し済み", "undone");
            }
            await person.opens(at("/organisation"), "console-empty");
            await says("まだ登録されていません", "Nobody is here yet");
        },
        async "the console: an account is found, locked and unlocked; who has which duty"() {
            await comes("chief");
            await person.opens(at("/accounts"), "console-accounts");
            await person.sends({ q: named("hanako") }, FIND, "console-accounts-found");
            await person.follows(`@${named("hanako")}`, "console-account");
            await person.sends({ password: "wrong wrong", do: "lock" }, pick(/^実行する/, /^Do it/), "console-account-wrong", 403);
            await person.sends({ password: PASSWORD, do: "lock" }, pick(/^実行する/, /^Do it/), "console-account-locked");
            await says("ロック中", "locked");
            const login = await server.ask(WAJIMA, "POST", "/_matrix/client/v3/login", { type: "m.login.password", identifier: { type: "m.id.user", user: named("hanako") }, password: PASSWORD });
            assert.notEqual(login.status, 200, login.text);
            await person.sends({ password: PASSWORD, do: "unlock" }, pick(/^実行する/, /^Do it/), "console-account-unlocked");
            await person.opens(at("/duties"), "console-duties");
            await says("人事担当", "personnel officer");
        },
        async "the console: a registration token is made with bounds, changed and deleted"() {
            const DELETE = pick(/^削除する$/, /^Delete it$/), MAKE = pick(/^作る$/, /^Make it$/);
            await person.opens(at("/tokens"), "console-tokens");
            await person.sends({ uses: "3", at: "2001-01-01T00:00" }, MAKE, "console-token-refused", 400);
            assert.equal(await person.page.locator("[name=uses]").inputValue(), "3");
            await person.sends({ token: named("sakura"), uses: "3", at: "2099-03-31T17:15" }, MAKE, "console-token");
            assert.ok(!person.page.url().includes("sakura"));
            await person.sends({ uses: "4" }, pick(/^変更する$/, /^Change it$/), "console-token-changed");
            await person.opens(at("/tokens?state=valid"), "console-tokens-listed");
            await person.follows(named("sakura"), "console-token-again");
            await person.sends({ password: "wrong wrong" }, DELETE, "console-token-wrong", 403);
            await person.sends({ password: PASSWORD }, DELETE, "console-token-deleted");
            await says("登録トークンを削除しました", "The token is gone");
        },
        async "the console: what was reported is read and dealt with"() {
            const api = async (authority, token, method, path, body) => {
                const answer = await server.ask(authority, method, path, body, token);
                assert.equal(answer.status, 200, answer.text);
                return answer.body;
            };
            const signsIn = async (authority, user) => (await api(authority, undefined, "POST", "/_matrix/client/v3/login", { type: "m.login.password", identifier: { type: "m.id.user", user: named(user) }, password: PASSWORD })).access_token;
            const [says1, tells] = [await signsIn(WAJIMA, "hanako"), await signsIn(WAJIMA, "jinji")];
            const file = await api(WAJIMA, says1, "POST", "/_matrix/media/v3/upload?filename=meibo.json", { 名簿: ["山田 花子"] });
            const { room_id: room } = await api(WAJIMA, says1, "POST", "/_matrix/client/v3/createRoom", { preset: "public_chat", name: named("広場") });
            const path = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}`;
            server.account(AUTHORITIES[0], named("taro"), PASSWORD);
            const far = await signsIn(AUTHORITIES[0], "taro");
            await api(WAJIMA, tells, "POST", `${path}/join`, {});
            await api(AUTHORITIES[0], far, "POST", `/_matrix/client/v3/join/${encodeURIComponent(room)}?server_name=${WAJIMA}`, {});
            const { event_id: event } = await api(WAJIMA, says1, "PUT", `${path}/send/m.room.message/1`, { msgtype: "m.file", body: "ひどい名簿\n二行目", url: file.content_uri });
            await api(WAJIMA, tells, "POST", `${path}/report/${encodeURIComponent(event)}`, { reason: "個人情報が含まれています" });

            await person.opens(at("/reports"), "console-reports");
            await person.sends({ q: named("hanako") }, FIND, "console-reports-found");
            await person.page.locator("main td a").first().click();
            await person.page.waitForLoadState("load");
            await person.opens(person.page.url(), "console-report");
            await says("ひどい名簿", "ひどい名簿");
            await person.follows(file.content_uri, "console-file-of-report");
            await person.page.goBack();
            const DEAL = pick(/^処理済みとして削除する$/, /^Delete the report$/);
            await person.sends({ password: "wrong wrong" }, DEAL, "console-report-wrong", 403);
            await person.sends({ password: PASSWORD }, DEAL, "console-report-dealt-with");
        },
        async "the console: a file is withheld, shown again and deleted"() {
            const press = async (japanese, english, name, fields = {}, status = 200) => await person.sends(fields, pick(japanese, english), name, status);
            await person.opens(at("/files"), "console-files");
            await person.sends({ q: named("hanako"), order: "size" }, FIND, "console-files-found");
            await person.follows(`@${named("hanako")}`, "console-files-of-user");
            await person.page.locator("main td a").first().click();
            await person.page.waitForLoadState("load");
            await person.opens(person.page.url(), "console-file");
            await press(/^非公開にする$/, /^Withhold it$/, "console-file-withheld");
            await press(/^公開に戻す$/, /^Show it again$/, "console-file-released");
            await press(/^保護する/, /^Protect it from/, "console-file-protected");
            await press(/^非公開にする$/, /^Withhold it$/, "console-file-refused", {}, 409);
            await press(/^保護を解除する$/, /^Protect it no more$/, "console-file-unprotected");
            await press(/^削除する$/, /^Delete it$/, "console-file-wrong", { password: "wrong wrong" }, 403);
            await press(/^削除する$/, /^Delete it$/, "console-file-deleted", { password: PASSWORD });
            await person.opens(at("/file?uri=mxc://suzu.test/abc"), "console-file-elsewhere");
        },
        async "the console: other servers, storage and queues"() {
            await person.opens(at("/federation"), "console-federation");
            await person.follows(AUTHORITIES[0], "console-server");
            await says(named("広場"), named("広場"));
            await person.opens(at("/federation/server?server=nowhere.test"), "console-server-unknown", 404);
            await person.opens(at("/storage"), "console-storage");
            await says("追いついています|まだ何も", "keeps up|Nothing was done");
        },
        async "the console: the audit log by an auditor, who sees nothing else"() {
            await comes("kansa");
            await person.opens(at("/audit"), "console-audit");
            await person.sends({ who: named("hanako"), what: "account.lock" }, FIND, "console-audit-found");
            await says("アカウントのロック", "locked an account");
            const download = person.page.waitForEvent("download");
            await person.page.locator("main button", { hasText: "CSV" }).click();
            assert.equal((await download).suggestedFilename(), "audit.csv");
            assert.deepEqual(await person.page.locator("nav.top a").allInnerTexts(), pick(["管理画面", "窓口", "案件", "監査ログ"], ["Console", "Counter", "Cases", "Audit log"]));
            for (const path of ["/organisation", "/changes", "/accounts", "/import", "/tokens", "/reports", "/files", "/federation", "/storage"]) {
                await person.opens(at(path), `console-not-for-auditors${path.replace("/", "-")}`, 403);
            }
            await person.close();
        },
    };
}
