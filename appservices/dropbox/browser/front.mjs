// A proxy in front of the page, as authorities have one. A step may have it misbehave.

import { createServer, request as ask } from "node:http";

export class Front {
    /** Looks at each request before it goes on: true if it dealt with it. */
    trouble = null;

    /** Listens on a port, and passes what comes on to another one. */
    static async start(port, behind) {
        const front = new Front();
        front.behind = behind;
        front.server = createServer((request, response) => {
            if (!front.trouble?.(request, response)) front.pass(request, response);
        });
        await new Promise((done) => front.server.listen(port, "127.0.0.1", done));
        return front;
    }

    /** Passes a request on, and its answer back. After so many bytes of its body the line breaks on both sides, or is answered by us. */
    pass(request, response, most = Infinity, answer = () => request.destroy()) {
        const { method, url: path, headers } = request;
        const onward = ask({ host: "127.0.0.1", port: this.behind, method, path, headers }, (answered) => {
            response.writeHead(answered.statusCode, answered.headers);
            answered.pipe(response);
        });
        onward.on("error", () => response.destroy());
        request.on("close", () => { if (!request.complete) onward.destroy(); });
        if (most === Infinity) {
            request.pipe(onward);
            return;
        }
        request.on("data", (part) => {
            if (most <= 0) return;
            const kept = part.subarray(0, most);
            most -= kept.length;
            const isLast = most === 0;
            onward.write(kept, () => {
                if (!isLast) return;
                onward.removeAllListeners("error").on("error", () => {}).destroy();
                answer();
            });
        });
        // It was shorter.
        request.on("end", () => { if (most > 0) onward.end(); });
    }

    stop() {
        this.server.close();
        this.server.closeAllConnections();
    }
}
