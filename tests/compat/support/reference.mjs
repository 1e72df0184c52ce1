// Node's own Engine.IO and Socket.IO with the settings of our fixtures: `node reference.mjs protocol_v4|protocol_v5`,
// and `node reference.mjs chat <flags of our server>`: the model of chat-model.mjs, for the tests of recovery on the wire.
// It serves to check that the tests ask what the protocols say. Where ours promises something else, the test says so
// and does not run against it (`skip: againstReference && "…"`).

import { createServer } from "node:http";
import { Server as Engine } from "engine.io";
import { Server } from "socket.io";
import { startChatModel } from "./chat-model.mjs";

/** @param {string} name of a variable in milliseconds @param {number} fallback */
const millis = (name, fallback) => Number(process.env[name] ?? fallback);
const OPTIONS = { pingInterval: millis("PING_INTERVAL_MS", 300), pingTimeout: millis("PING_TIMEOUT_MS", 200), maxHttpBufferSize: 1e6, cors: { origin: "*" } };

const fixtures = {
  /** @param {import("node:http").Server} http */
  protocol_v4(http) {
    const server = new Engine(OPTIONS);
    server.attach(http, { path: "/engine.io/" });
    server.on("connection", (socket) => socket.on("data", (data) => socket.send(data)));
  },

  /** @param {import("node:http").Server} http */
  protocol_v5(http) {
    const io = new Server(http, { ...OPTIONS, connectTimeout: millis("CONNECT_TIMEOUT_MS", 1_000) });
    for (const name of ["/", "/custom"]) {
      io.of(name).on("connection", (socket) => {
        socket.emit("auth", socket.handshake.auth);
        socket.on("message", (...args) => socket.emit("message-back", ...args));
        socket.on("message-with-ack", (...args) => args.pop()(...args));
      });
    }
  },
};

const name = process.argv[2];
if (name === "chat") {
  await startChatModel(process.argv.slice(3));
} else {
  const http = createServer();
  fixtures[/** @type {keyof typeof fixtures} */ (name)](http);
  http.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("READY"));
}
