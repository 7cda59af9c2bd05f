// The steps: each says what it does, and fails with the reason. Later ones stand on earlier ones.

import assert from "node:assert/strict";
import * as sdk from "matrix-js-sdk";
import { CryptoEvent, VerifierEvent, VerificationPhase, decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";

import { bodies, isIn, isShown, signIn, until } from "./person.mjs";
import { startDemo } from "./servers.mjs";

const say = (line) => process.stdout.write(`${line}\n`);
const ENCRYPTION = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };

const [program, ...only] = process.argv.slice(2);
const demo = await startDemo(program);
const at = (server, n = 0) => demo.accounts.filter((account) => account.user_id.endsWith(`:${demo.servers[server].name}`))[n];
const passwordOf = (person) => async (request) => {
    // As Element does: the first request learns the session, the second has the password.
    try {
        return await request(null);
    } catch (error) {
        if (error.httpStatus !== 401) throw error;
        return request({
            type: "m.login.password",
            session: error.data.session,
            identifier: { type: "m.id.user", user: person.id },
            password: person.account.password,
        });
    }
};

const get = (person, path) => fetch(person.account.client_url + path, {
    headers: { authorization: `Bearer ${person.client.getAccessToken()}` },
});

/** Compares emoji on both sides of a request for verification. */
async function compareEmoji(asked, request) {
    const theirs = await until("the request", () => asked.requests?.find((it) => it.transactionId === request.transactionId
        || it.phase === VerificationPhase.Requested), asked.client);
    await theirs.accept();
    await until("that it is accepted", () => request.phase === VerificationPhase.Ready, asked.client);
    const own = await request.startVerification("m.sas.v1");
    const other = await until("that it has begun", () => theirs.verifier, asked.client);
    const shown = [own, other].map((verifier) => new Promise((show) => verifier.on(VerifierEvent.ShowSas, show)));
    const done = [own, other].map((verifier) => verifier.verify());
    const [a, b] = await Promise.all(shown);
    assert.deepEqual(a.sas.emoji, b.sas.emoji);
    assert.equal(a.sas.emoji.length, 7);
    await Promise.all([a.confirm(), b.confirm()]);
    await Promise.all(done);
}

const remember = (person) => {
    person.requests = [];
    person.client.on(CryptoEvent.VerificationRequestReceived, (request) => person.requests.push(request));
    return person;
};

let anna, ben, second, room, plain, recovery;

const steps = {
    async "first login: device and one-time keys are uploaded"() {
        anna = remember(await signIn(at(0)));
        ben = remember(await signIn(at(1)));
        for (const person of [anna, ben]) {
            await until("uploaded keys", async () => {
                const found = await person.client.downloadKeysForUsers([person.id]);
                return found.device_keys[person.id]?.[person.device];
            }, person.client);
            const counts = await until("one-time keys", async () => {
                const { one_time_key_counts: counts } = await person.client.uploadKeysRequest({});
                return counts.signed_curve25519 >= 50 && counts;
            }, person.client);
            assert.ok(counts.signed_curve25519 >= 50);
        }
    },
    async "cross-signing, secret storage and a key backup are set up"() {
        for (const person of [anna, ben]) {
            const crypto = person.client.getCrypto();
            await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: passwordOf(person) });
            const key = await crypto.createRecoveryKeyFromPassphrase();
            if (person === anna) recovery = key;
            await crypto.bootstrapSecretStorage({
                createSecretStorageKey: async () => key,
                setupNewSecretStorage: true,
                setupNewKeyBackup: true,
            });
            assert.ok(await crypto.isCrossSigningReady());
            assert.ok(await crypto.isSecretStorageReady());
            assert.ok(await crypto.getActiveSessionBackupVersion());
        }
    },
    async "an encrypted room, an invitation to another server, and joining it"() {
        const made = await anna.client.createRoom({
            name: "防災訓練", preset: "private_chat", invite: [ben.id], initial_state: [ENCRYPTION],
        });
        room = made.room_id;
        await until("the invitation", () => ben.client.getRoom(room)?.getMyMembership() === "invite", ben.client);
        await ben.client.joinRoom(room);
        await isIn(ben, room, anna);
    },
    async "encrypted messages both ways"() {
        await anna.client.sendTextMessage(room, "避難所を開設しました");
        await isShown(ben, room, "避難所を開設しました");
        await ben.client.sendTextMessage(room, "了解しました");
        await isShown(anna, room, "了解しました");
        const wire = anna.client.getRoom(room).getLiveTimeline().getEvents().find((event) => event.getContent().body === "了解しました");
        assert.equal(wire.getWireType(), "m.room.encrypted");
    },
    async "verification of a user on another server by emoji"() {
        const request = await anna.client.getCrypto().requestVerificationDM(ben.id, room);
        await compareEmoji(ben, request);
        for (const [of, seen] of [[anna, ben], [ben, anna]]) {
            await until("that the user is verified", async () =>
                (await of.client.getCrypto().getUserVerificationStatus(seen.id)).isCrossSigningVerified(), of.client);
        }
    },
    async "a second device, verified by emoji with the first"() {
        await until("that the backup has the sessions", async () => {
            const info = await get(anna, "/_matrix/client/v3/room_keys/version");
            return (await info.json()).count >= 1;
        }, anna.client);
        second = remember(await signIn(anna.account));
        await until("that it knows the first", async () => (await second.client.getCrypto()
            .getUserDeviceInfo([anna.id], true)).get(anna.id)?.has(anna.device), second.client);
        const request = await second.client.getCrypto().requestOwnUserVerification();
        await compareEmoji(anna, request);
        await until("that the device is verified", async () =>
            (await anna.client.getCrypto().getDeviceVerificationStatus(anna.id, second.device))?.crossSigningVerified, anna.client);
    },
    async "a third device reads old messages from the backup, by the recovery key"() {
        const secretKeys = new Map();
        const third = await signIn(anna.account, { secretKeys });
        const id = await third.client.secretStorage.getDefaultKeyId();
        secretKeys.set(id, decodeRecoveryKey(recovery.encodedPrivateKey));
        const crypto = third.client.getCrypto();
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        const restored = await crypto.restoreKeyBackup();
        assert.ok(restored.imported >= 1, `${restored.imported} of ${restored.total} sessions`);
        await isShown(third, room, "避難所を開設しました");
        await crypto.bootstrapCrossSigning({});
        await until("that it signs itself", async () =>
            (await crypto.getDeviceVerificationStatus(third.id, third.device))?.crossSigningVerified, third.client);
        await third.client.logout(true);
        third.client.stopClient();
    },
    async "media: uploaded, seen by the other server, as a thumbnail and in part"() {
        const bytes = Buffer.from(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
        const { content_uri: uri } = await anna.client.uploadContent(bytes, { name: "現場.png", type: "image/png" });
        const urlOf = (person, side) => person.client.mxcUrlToHttp(uri, side, side, side && "scale", false, true, true);
        const fetchAs = (person, side) => get(person, new URL(urlOf(person, side)).pathname + new URL(urlOf(person, side)).search);
        for (const person of [anna, ben]) {
            const answer = await fetchAs(person);
            assert.equal(answer.status, 200);
            assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
            assert.equal((await fetchAs(person, 32)).status, 200);
        }
        const refused = await fetch(urlOf(anna));
        assert.equal(refused.status, 401);
    },
    async "search finds a word within an unbroken sentence"() {
        const made = await anna.client.createRoom({ name: "庁内連絡", preset: "private_chat", invite: [ben.id] });
        plain = made.room_id;
        await until("the invitation", () => ben.client.getRoom(plain)?.getMyMembership() === "invite", ben.client);
        await ben.client.joinRoom(plain);
        await isIn(ben, plain, anna);
        await anna.client.sendTextMessage(plain, "明日の防災会議は十時からです");
        await isShown(ben, plain, "明日の防災会議は十時からです");
        await until("the message is found", async () => {
            const found = await ben.client.searchMessageText({ query: "防災会議" });
            const results = found.search_categories.room_events.results;
            return results.some(({ result }) => result.content.body === "明日の防災会議は十時からです");
        }, ben.client);
    },
    async "unread badges: a message counts, a mention highlights, a receipt reads"() {
        const count = (kind) => ben.client.getRoom(plain).getRoomUnreadNotificationCount(kind);
        const readAll = async () => {
            const events = ben.client.getRoom(plain).getLiveTimeline().getEvents();
            await ben.client.sendReadReceipt(events.at(-1));
            await until("that nothing is unread", () => count("total") === 0, ben.client);
        };
        await readAll();
        await anna.client.sendTextMessage(plain, "一件目");
        await until("one unread", () => count("total") === 1, ben.client);
        await anna.client.sendMessage(plain, { msgtype: "m.text", body: "ご確認ください", "m.mentions": { user_ids: [ben.id] } });
        await until("a mention", () => count("highlight") === 1 && count("total") === 2, ben.client);
        await readAll();
        assert.equal(count("highlight"), 0);
    },
    async "threads: replies stand in them, and are counted there"() {
        const { event_id: root } = await anna.client.sendTextMessage(plain, "議題");
        await isShown(ben, plain, "議題");
        await anna.client.sendMessage(plain, root, {
            msgtype: "m.text", body: "返信", "m.relates_to": { rel_type: "m.thread", event_id: root },
        });
        const thread = await until("the thread", () => {
            const found = ben.client.getRoom(plain).getThread(root);
            return found?.length === 1 && found;
        }, ben.client);
        await until("its count", () =>
            ben.client.getRoom(plain).getThreadUnreadNotificationCount(root, "total") === 1, ben.client);
        await ben.client.sendReadReceipt(thread.replyToEvent ?? thread.lastReply());
        await until("that it is read", () =>
            ben.client.getRoom(plain).getThreadUnreadNotificationCount(root, "total") === 0, ben.client);
        const listed = await ben.client.createThreadListMessagesRequest(plain, null, 10);
        assert.deepEqual(listed.chunk.map((event) => event.event_id), [root]);
    },
    async "edits, reactions and redactions"() {
        const { event_id: id } = await anna.client.sendTextMessage(plain, "誤字あり");
        await anna.client.sendMessage(plain, {
            msgtype: "m.text", body: "* 訂正済み", "m.new_content": { msgtype: "m.text", body: "訂正済み" },
            "m.relates_to": { rel_type: "m.replace", event_id: id },
        });
        await isShown(ben, plain, "訂正済み");
        await ben.client.sendEvent(plain, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: id, key: "👍" } });
        await until("the reaction", async () => {
            const { events } = await anna.client.relations(plain, id, "m.annotation", "m.reaction");
            return events.length === 1;
        }, anna.client);
        await anna.client.redactEvent(plain, id);
        await until("that it is gone", () => ben.client.getRoom(plain).findEventById(id)?.isRedacted(), ben.client);
    },
    async "delayed events: restarted, cancelled, sent at once"() {
        const later = (body) => anna.client._unstable_sendDelayedEvent(
            plain, { delay: 60_000 }, null, "m.room.message", { msgtype: "m.text", body });
        const [cancelled, sent] = [await later("取消"), await later("予約")];
        await anna.client._unstable_restartScheduledDelayedEvent(cancelled.delay_id);
        await anna.client._unstable_cancelScheduledDelayedEvent(cancelled.delay_id);
        await anna.client._unstable_sendScheduledDelayedEvent(sent.delay_id);
        await isShown(ben, plain, "予約");
        assert.ok(!bodies(ben, plain).includes("取消"));
    },
    async "ignored users are not heard, and heard again"() {
        await ben.client.setIgnoredUsers([anna.id]);
        await until("that it is known", () => ben.client.isUserIgnored(anna.id), ben.client);
        await anna.client.sendTextMessage(plain, "聞こえません");
        // State is never hidden, and comes after what was said before it.
        await anna.client.setRoomTopic(plain, "聞こえたら見える");
        await until("that all of it has come", () => ben.client.getRoom(plain).currentState
            .getStateEvents("m.room.topic", "")?.getContent().topic === "聞こえたら見える", ben.client);
        await ben.client.setIgnoredUsers([]);
        await until("that it is known", () => !ben.client.isUserIgnored(anna.id), ben.client);
        await anna.client.sendTextMessage(plain, "聞こえます");
        await isShown(ben, plain, "聞こえます");
        assert.ok(!bodies(ben, plain).includes("聞こえません"));
    },
    async "tags, read markers, typing and profiles"() {
        await ben.client.setRoomTag(plain, "m.favourite", { order: 0.5 });
        await until("the tag", () => ben.client.getRoom(plain).tags["m.favourite"], ben.client);
        const last = ben.client.getRoom(plain).getLiveTimeline().getEvents().at(-1);
        await ben.client.setRoomReadMarkers(plain, last.getId(), last);
        await until("the marker", () =>
            ben.client.getRoom(plain).getAccountData("m.fully_read")?.getContent().event_id === last.getId(), ben.client);
        await anna.client.sendTyping(plain, true, 20_000);
        await until("typing", () => ben.client.getRoom(plain).getMember(anna.id)?.typing, ben.client);
        await anna.client.setDisplayName("防災 花子");
        await until("the name", () => ben.client.getRoom(plain).getMember(anna.id)?.rawDisplayName === "防災 花子", ben.client);
    },
    async "room summary, space and the directory"() {
        const space = await anna.client.createRoom({
            name: "部署", preset: "public_chat", visibility: "public", creation_content: { type: "m.space" },
        });
        await anna.client.sendStateEvent(space.room_id, "m.space.child", { via: [anna.id.split(":")[1]] }, plain);
        const { rooms } = await anna.client.getRoomHierarchy(space.room_id);
        assert.deepEqual(rooms.map((it) => it.room_id), [space.room_id, plain]);
        const summary = await anna.client.getRoomSummary(space.room_id);
        assert.equal(summary.name, "部署");
        const listed = await anna.client.publicRooms({ filter: { generic_search_term: "部署" } });
        assert.ok(listed.chunk.some((it) => it.room_id === space.room_id));
    },
    async "leaving and forgetting"() {
        await ben.client.leave(plain);
        await until("that the other has left", () =>
            anna.client.getRoom(plain).getMember(ben.id)?.membership === "leave", anna.client);
        await ben.client.forget(plain);
        const { joined_rooms: joined } = await ben.client.getJoinedRooms();
        assert.ok(!joined.includes(plain) && joined.includes(room));
    },
    async "the identity is reset, and the other is told"() {
        const crypto = anna.client.getCrypto();
        const before = await crypto.getCrossSigningKeyId();
        await crypto.bootstrapCrossSigning({ setupNewCrossSigning: true, authUploadDeviceSigningKeys: passwordOf(anna) });
        assert.notEqual(await crypto.getCrossSigningKeyId(), before);
        await until("that the other is no longer verified", async () =>
            !(await ben.client.getCrypto().getUserVerificationStatus(anna.id)).isCrossSigningVerified(), ben.client);
    },
    async "logout: the device and its token are gone"() {
        const token = second.client.getAccessToken();
        await second.client.logout(true);
        const whoami = `${second.account.client_url}/_matrix/client/v3/account/whoami`;
        const answer = await fetch(whoami, { headers: { authorization: `Bearer ${token}` } });
        assert.equal(answer.status, 401);
        const { devices } = await anna.client.getDevices();
        assert.ok(!devices.some((device) => device.device_id === second.device));
    },
};

let failed = 0;
for (const [name, step] of Object.entries(steps)) {
    if (only.length > 0 && !only.some((part) => name.includes(part))) continue;
    const begun = Date.now();
    try {
        await step();
        say(`ok      ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    } catch (error) {
        failed += 1;
        say(`FAILED  ${name}: ${error?.stack ?? error}`);
    }
}
for (const person of [anna, ben, second]) person?.client.stopClient();
await demo.stop();
say(`${Object.keys(steps).length - failed} of ${Object.keys(steps).length} steps`);
process.exit(failed === 0 ? 0 : 1);
