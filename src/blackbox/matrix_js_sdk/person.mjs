// A person with one client, and waiting for what a client comes to know.

// Node.js 20, which has no such function, is what stable distributions ship; every current browser has it.
Promise.withResolvers ??= function () {
    const made = {};
    made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";

// What the SDK tells of itself is shown on demand only.
if (!process.env.SDK_LOG) for (const level of ["log", "info", "debug", "warn", "error", "trace"]) console[level] = () => {};

const PATIENCE = 60_000;

/** Waits until something is so, looking again whenever one of these clients tells of something, or twice a second. */
export async function until(what, find, ...clients) {
    const names = ["Room.timeline", "Event.decrypted", "RoomState.events", "sync", "RoomMember.membership",
        "accountData", "Room.receipt", CryptoEvent.VerificationRequestReceived, CryptoEvent.KeysChanged,
        CryptoEvent.DevicesUpdated, CryptoEvent.UserTrustStatusChanged];
    const end = Date.now() + PATIENCE;
    for (;;) {
        const found = await find();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited for a minute: ${what}`);
        await new Promise((again) => {
            const seen = () => {
                clearTimeout(timer);
                for (const client of clients) for (const name of names) client.off(name, seen);
                again();
            };
            const timer = setTimeout(seen, 500);
            for (const client of clients) for (const name of names) client.once(name, seen);
        });
    }
}

/** Signs in with a new device; `crypto` has it upload its keys. */
export async function signIn(account, { crypto = true, secretKeys = new Map() } = {}) {
    const login = await sdk.createClient({ baseUrl: account.client_url })
        .loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: account.user_id },
            password: account.password,
        });
    const client = sdk.createClient({
        baseUrl: account.client_url,
        accessToken: login.access_token,
        userId: login.user_id,
        deviceId: login.device_id,
        timelineSupport: true,
        verificationMethods: ["m.sas.v1"],
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => {
                const known = Object.keys(keys).find((id) => secretKeys.has(id));
                return known ? [known, secretKeys.get(known)] : null;
            },
            cacheSecretStorageKey: (id, _, key) => secretKeys.set(id, key),
        },
    });
    if (crypto) await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({ initialSyncLimit: 20, threadSupport: true, lazyLoadMembers: true, pollTimeout: 5000 });
    await until("the first sync", () => client.isInitialSyncComplete(), client);
    return { client, id: login.user_id, device: login.device_id, account, secretKeys };
}

/** The bodies of a room's messages, as this client shows them. */
export function bodies(person, roomId) {
    const events = person.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    return events.filter((event) => event.getType() === "m.room.message").map((event) => event.getContent().body);
}

/** Waits until a person is shown a message. */
export const isShown = (person, roomId, body) =>
    until(`"${body}" at ${person.id}`, () => bodies(person, roomId).includes(body), person.client);

/** Waits until a person is in a room, in the eyes of another, too. */
export const isIn = (person, roomId, ...seers) =>
    until(`${person.id} in the room`, () => [person, ...seers].every((seer) =>
        seer.client.getRoom(roomId)?.getMember(person.id)?.membership === "join"), ...seers.map((seer) => seer.client), person.client);
