// The features server (features.md) on Node's Socket.IO: what the tests of this folder are checked against.
// Several nodes are joined by a cluster adapter over an in-process bus, which cannot recover sessions.
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { ClusterAdapterWithHeartbeat } from "socket.io-adapter";
import { Server } from "socket.io";

const number = (name, fallback) => Number(process.env[name] ?? fallback);
const port = number("PORT", 3000);
const nodes = number("NODES", 1);
const recovery = process.env.RECOVERY === "1";
const bus = new EventEmitter().setMaxListeners(0);

class BusAdapter extends ClusterAdapterWithHeartbeat {
  constructor(namespace) {
    super(namespace, {});
    bus.on(namespace.name, (message, offset) => this.onMessage(message, offset));
    this.init();
  }
  doPublish(message) {
    bus.emit(this.nsp.name, message, "");
    return Promise.resolve("");
  }
  doPublishResponse(_requester, response) {
    return this.doPublish(response);
  }
}

const options = {
  cors: { origin: "*" },
  pingInterval: number("PING_INTERVAL_MS", 25_000),
  pingTimeout: number("PING_TIMEOUT_MS", 20_000),
  connectTimeout: number("CONNECT_TIMEOUT_MS", 45_000),
  maxHttpBufferSize: number("MAX_PAYLOAD", 1_000_000),
  ...(recovery ? { connectionStateRecovery: { skipMiddlewares: false } } : {}),
  ...(nodes > 1 ? { adapter: BusAdapter } : {}),
};

function select(socket, spec, parent) {
  if (spec.from === "self") return spec.volatile ? socket.volatile : socket;
  if (spec.from === "parent") return parent;
  let target = spec.from === "socket" ? socket.broadcast : socket.nsp;
  if (spec.rooms?.length) target = target.to(spec.rooms);
  if (spec.except?.length) target = target.except(spec.except);
  if (spec.local) target = target.local;
  if (spec.volatile) target = target.volatile;
  return target;
}

function among(namespace, spec = {}) {
  let target = namespace;
  if (spec.rooms?.length) target = target.in(spec.rooms);
  if (spec.except?.length) target = target.except(spec.except);
  return spec.local ? target.local : target;
}

function handle(node, namespace, parent) {
  namespace.on("connection", (socket) => serve(node, socket, parent));
}

function serve(node, socket, parent) {
  const seen = [];
  const timedOut = (error) => (error ? "operation has timed out" : null);
  const on = (event, act) =>
    socket.on(event, async (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
      const answer = await act(...args);
      if (answer !== undefined) ack(...(event === "echo" ? answer : [answer]));
    });
  socket.onAny((event) => {
    seen.push(event);
    if (seen.length > 50) seen.shift();
  });
  on("whoami", () => ({
    id: socket.id,
    node,
    nsp: socket.nsp.name,
    recovered: socket.recovered,
    rooms: [...socket.rooms].sort(),
    data: socket.data,
    auth: socket.handshake.auth,
    transport: socket.conn.transport.name,
  }));
  on("set-data", (value) => {
    socket.data = { value };
    return "ok";
  });
  on("join", (rooms) => {
    socket.join(rooms);
    return "ok";
  });
  on("leave", (rooms) => {
    for (const room of [rooms].flat()) socket.leave(room);
    return "ok";
  });
  on("emit-to", (spec) => {
    select(socket, spec, parent).emit(spec.event, ...(spec.args ?? []));
    return "ok";
  });
  on("broadcast-ack", async (spec) => {
    const target = select(socket, spec, parent).timeout(spec.timeout ?? 1000);
    return new Promise((done) => {
      target.emit(spec.event, ...(spec.args ?? []), (error, responses) => done({ responses, error: timedOut(error) }));
    });
  });
  on("ask", (spec) => {
    const target = socket.timeout(spec.timeout ?? 1000);
    return new Promise((done) => {
      target.emit(spec.event, ...(spec.args ?? []), (error, ...answer) =>
        done({ answer: error ? null : answer, error: timedOut(error) }),
      );
    });
  });
  on("echo", (...args) => args);
  on("echo-event", (...args) => void socket.emit("echoed", ...args));
  const burst = (target, n, size) => {
    const padding = "x".repeat(size);
    for (let i = 0; i < n; i++) target.emit("burst", i, padding);
    return n;
  };
  on("burst", (n, size) => burst(socket, n, size));
  on("flood", (n, size, room) => burst(socket.nsp.to(room), n, size));
  on("fetch", async (spec) => {
    const sockets = (await among(socket.nsp, spec).fetchSockets()).map(({ id, rooms, data }) => ({
      id,
      rooms: [...rooms].sort(),
      data,
    }));
    return { sockets: sockets.sort((a, b) => (a.id < b.id ? -1 : 1)), missing: [] };
  });
  on("sockets-join", (spec, rooms) => {
    among(socket.nsp, spec).socketsJoin(rooms);
    return "ok";
  });
  on("sockets-leave", (spec, rooms) => {
    among(socket.nsp, spec).socketsLeave(rooms);
    return "ok";
  });
  on("disconnect-sockets", (spec, close) => {
    among(socket.nsp, spec).disconnectSockets(close);
    return "ok";
  });
  on("disconnect-me", (close) => void socket.disconnect(close));
  on("close-engine", () => void socket.conn.close());
  on("server-side", async (args, wait) => {
    if (!wait) {
      socket.nsp.serverSideEmit("relay", args);
      return "ok";
    }
    return { responses: (await socket.nsp.serverSideEmitWithAck("relay", args)).sort(), missing: [] };
  });
  on("seen", () => seen);
  on("sleep", async (ms) => {
    await delay(ms);
    return "ok";
  });
}

const servers = [];
for (let node = 0; node < nodes; node++) {
  const http = createServer();
  const io = new Server(http, options);
  const relay = (namespace) =>
    namespace.on("relay", (args, ack) => {
      namespace.local.emit("relayed", node, ...args);
      ack?.(node);
    });
  handle(node, io.of("/"));
  relay(io.of("/"));
  const secret = io.of("/secret");
  secret.use((socket, next) => {
    socket.data.trail = [...(socket.data.trail ?? []), "first"];
    if (socket.handshake.auth.token === "open") return next();
    next(Object.assign(new Error("not authorized"), { data: { code: 401, hint: "token" } }));
  });
  secret.use((socket, next) => {
    socket.data.trail.push("second");
    socket.data.user = socket.handshake.auth.user;
    next();
  });
  handle(node, secret);
  const dynamic = io.of(/^\/dyn-\d+$/);
  dynamic.use((socket, next) => {
    socket.data.parent = true;
    next();
  });
  handle(node, dynamic, dynamic);
  handle(node, io.of((name, auth, next) => next(null, name === `/tenant-${auth.tenant}`)));
  await new Promise((done) => http.listen(port + node, "127.0.0.1", done));
  servers.push(io);
}
process.on("SIGTERM", async () => {
  await Promise.all(servers.map((io) => io.close()));
  process.exit(0);
});
console.log("READY");
