// An older official client (4.4, before connection state recovery existed) uses the features and chats.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { io } from "socket.io-client-4.4";
import { againstReference, startChat } from "../support/servers.mjs";
import { collect, SOON, until, within } from "../support/wait.mjs";
import { startFeatures } from "./features.mjs";
import { MODES } from "./official.mjs";

const acknowledged = (socket, event, ...args) => within(new Promise((done) => socket.emit(event, ...args, done)), SOON, `acknowledgement of ${event}`);

for (const [mode, options] of Object.entries(MODES)) {
  describe(`socket.io-client 4.4 by ${mode}`, () => {
    const sockets = [];
    afterEach(() => {
      for (const socket of sockets.splice(0)) socket.disconnect();
    });
    const connect = async (url, more = {}) => {
      const socket = io(url, { ...options, forceNew: true, reconnectionDelay: 20, ...more });
      sockets.push(socket);
      await until(() => socket.connected, SOON, "older client connects");
      return socket;
    };

    describe("features", () => {
      let server;
      before(async () => void (server = await startFeatures({ recovery: !againstReference })));
      after(() => server?.stop());

      it("connects with auth to namespaces, and is refused with data", async () => {
        const socket = await connect(`${server.url}/secret`, { auth: { token: "open", user: "old" } });
        assert.equal((await acknowledged(socket, "whoami")).data.user, "old");
        const refused = io(`${server.url}/secret`, { ...options, forceNew: true });
        sockets.push(refused);
        const error = await within(new Promise((done) => refused.on("connect_error", done)));
        assert.deepEqual([error.message, error.data], ["not authorized", { code: 401, hint: "token" }]);
      });

      it("exchanges events, binary and acknowledgements both ways, in rooms too", async () => {
        const [a, b] = [await connect(server.url, { query: { recovery: "0" } }), await connect(server.url, { query: { recovery: "0" } })];
        assert.ok(Buffer.from([1, 2, 3]).equals(await acknowledged(a, "echo", Buffer.from([1, 2, 3]))));
        a.on("question", (x, ack) => ack(x + 1));
        assert.deepEqual(await acknowledged(a, "ask", { event: "question", args: [1] }), { answer: [2], error: null });
        await acknowledged(b, "join", "r");
        const got = collect(b, "m");
        await acknowledged(a, "emit-to", { from: "socket", rooms: ["r"], event: "m", args: ["hello", { a: [1] }] });
        assert.deepEqual(await got.next(), ["hello", { a: [1] }]);
      });

      it("reconnects after a cut", async () => {
        const socket = await connect(server.url);
        const { id } = socket;
        socket.io.engine.close();
        await until(() => socket.connected && socket.id !== id);
        assert.equal(await acknowledged(socket, "echo", 1), 1);
      });
    });

    describe("chat", { skip: againstReference }, () => {
      let chat;
      before(async () => void (chat = await startChat({ nodes: 2 })));
      after(() => chat?.stop());

      it("chats, with the recovery offset as one more argument unless recovery=0", async () => {
        const [plain, other] = [await connect(chat.urls[0], { query: { recovery: "0" } }), await connect(chat.urls[1])];
        const [first, second] = [collect(plain, "chat message"), collect(other, "chat message")];
        const answer = await acknowledged(plain, "chat message", "hello", `${mode}-client-offset-of-old`);
        const seen = await first.find(([content]) => content === "hello");
        assert.equal(seen.length, 3);
        assert.equal(seen[1], answer.serverOffset);
        const shown = await second.find(([content]) => content === "hello");
        assert.equal(shown.length, 4);
        assert.deepEqual(shown.slice(0, 3), seen);
      });
    });
  });
}
