// Starts `yakuba demo`: three authorities that federate, each a process of its own.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

/** The first of twenty ports that nobody listens on. */
async function freePorts() {
    const isFree = (port) => new Promise((done) => {
        const server = createServer().once("error", () => done(false));
        server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
    });
    for (let first = 10000 + (process.pid % 900) * 20; first < 32000; first += 20) {
        const found = await Promise.all([...Array(20).keys()].map((n) => isFree(first + n)));
        if (found.every(Boolean)) return first;
    }
    throw new Error("no ports are free");
}

/** What `yakuba demo --json` prints when all is ready, and how to stop it. */
export async function startDemo(program) {
    const port = String(await freePorts());
    const demo = spawn(program, ["demo", "--json", "--base-port", port], { stdio: ["ignore", "pipe", "ignore"] });
    const ended = new Promise((done) => demo.once("exit", done));
    const line = await Promise.race([
        new Promise((done) => createInterface({ input: demo.stdout }).once("line", done)),
        ended.then((code) => { throw new Error(`the demo ended with ${code} before it was ready`); }),
    ]);
    const stop = async () => { demo.kill("SIGTERM"); await ended; };
    return { ...JSON.parse(line), stop };
}
