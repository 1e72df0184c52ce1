// A model of what recovery must look like on the wire, small enough to be seen to be right: all nodes share one memory,
// one log, and nothing is stored. It exists to check the tests of recovery (`TARGET=reference`); it is no chat server.

import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server as Engine } from "engine.io";
import { parsePacket } from "./packets.mjs";

const random = (/** @type {number} */ bytes) => randomBytes(bytes).toString("base64url");
const FIRST = 1_000_000;

/** Somebody's membership: who was entitled to see what. */
class Session {
  sid = random(15);
  pid = random(18);
  name = "";
  /** @type {{room: string, from: number, to: number}[]} */
  intervals = [];
  /** @type {any} the Engine.IO socket that holds the session now */
  holder;

  /** @param {string} identity @param {number} start @param {boolean} recoverable */
  constructor(identity, start, recoverable) {
    this.identity = identity;
    this.start = start;
    this.recoverable = recoverable;
  }

  /** @param {string | null} room @param {number} position */
  sees(room, position) {
    return room === null || this.intervals.some((interval) => interval.room === room && position > interval.from && position <= interval.to);
  }

  /** @param {string} room */
  isIn(room) {
    return this.intervals.some((interval) => interval.room === room && interval.to === Infinity);
  }
}

class ChatModel {
  epoch = random(3);
  /** @type {{position: number, room: string | null, args: any[]}[]} */
  log = [];
  /** @type {Map<string, Session>} */
  sessions = new Map();

  /** @param {Buffer | undefined} key of the tokens, if the server wants them */
  constructor(key) {
    this.key = key;
  }

  get position() {
    return FIRST + this.log.length;
  }

  /** @param {any} conn an Engine.IO socket @param {number} node */
  accept(conn, node) {
    let session;
    conn.on("message", (/** @type {string} */ text) => {
      const packet = parsePacket(`4${text}`);
      if (packet.type === 0) {
        session = this.connect(conn, node, packet.data ?? {});
      } else if (session && session.holder === conn) {
        if (packet.type === 2) this.handle(session, packet.data, packet.id);
        if (packet.type === 1) this.sessions.delete(session.pid);
      }
    });
  }

  /** Authenticate, take over or begin, CONNECT, session, replay; live events follow by themselves. */
  connect(conn, node, auth) {
    const refused = this.refuse(auth);
    if (refused) return void conn.send(`4${JSON.stringify({ message: "refused", data: { ...refused, message: "refused", retry: false } })}`);
    const identity = this.key ? claims(auth.token).sub : "";
    const recoverable = conn.request._query.recovery !== "0";
    const known = recoverable ? this.sessions.get(auth.pid) : undefined;
    const from = known && known.identity === identity ? this.offsetPosition(auth.offset, known) : undefined;
    const recovered = from !== undefined;
    const session = recovered ? /** @type {Session} */ (known) : new Session(identity, this.position, recoverable);
    this.sessions.set(session.pid, session);
    session.holder?.close(true);
    session.holder = conn;
    session.name = auth.name ?? "guest";
    conn.send(`0${JSON.stringify(recoverable ? { sid: session.sid, pid: session.pid } : { sid: session.sid })}`);
    this.send(session, ["session", { node, recovered, name: session.name, serverOffset: this.position }], recovered ? from : this.position);
    const isMissed = recovered
      ? (entry) => entry.position > from && session.sees(entry.room, entry.position)
      : (entry) => entry.room === null && entry.position > (auth.serverOffset ?? 0);
    for (const entry of this.log.filter(isMissed)) this.send(session, entry.args, recovered ? entry.position : this.position);
    if (!recovered) this.volatile(["joined", { room: null, id: session.sid, name: session.name }], null, session);
    return session;
  }

  /** @returns {{code: number} | undefined} */
  refuse(auth) {
    if (auth.name === "" || /[\0-\x1f]/.test(auth.name ?? "")) return { code: 303 };
    if (auth.serverOffset < 0) return { code: 304 };
    if (!this.key) return undefined;
    if (!auth.token) return { code: 300 };
    const [head, body, signature] = auth.token.split(".");
    if (createHmac("sha256", this.key).update(`${head}.${body}`).digest("base64url") !== signature) return { code: 301 };
    return claims(auth.token).exp * 1_000 < Date.now() ? { code: 302 } : undefined;
  }

  /** Where a replay starts, or undefined if the offset is not one of this server. */
  offsetPosition(offset, session) {
    if (typeof offset !== "string") return session.start;
    const match = /^model\.(.+)\.(\d+)$/.exec(offset);
    return match && match[1] === this.epoch ? Math.max(Number(match[2]), session.start) : undefined;
  }

  /** @param {Session} session @param {any[]} args @param {number} position */
  send(session, args, position) {
    const all = session.recoverable ? [...args, `model.${this.epoch}.${position}`] : args;
    session.holder.send(`2${JSON.stringify(all)}`);
  }

  /** @returns {number} the position of what was logged and shown */
  publish(room, event, content, author) {
    const position = this.position + 1;
    const about = { author, at: Date.now() };
    const args = room === null ? [event, content, position, about] : [event, room, content, position, about];
    this.log.push({ position, room, args });
    for (const session of this.sessions.values()) if (session.sees(room, position)) this.send(session, args, position);
    return position;
  }

  volatile(args, room, except) {
    for (const session of this.sessions.values()) {
      if (session !== except && (room === null || session.isIn(room))) this.send(session, args, this.position);
    }
  }

  /** @param {Session} session @param {any[]} args @param {number | undefined} id */
  handle(session, [event, ...args], id) {
    const acknowledge = (answer) => id !== undefined && session.holder.send(`3${id}${JSON.stringify([answer])}`);
    const [room] = args;
    const someone = { id: session.sid, name: session.name };
    switch (event) {
      case "chat message":
        return acknowledge({ serverOffset: this.publish(null, event, args[0], session.name), duplicate: false });
      case "room:message":
        if (!session.isIn(room)) return acknowledge({ error: { code: 204, message: "not in that room", retry: false } });
        return acknowledge({ serverOffset: this.publish(room, event, args[1], session.name), duplicate: false });
      case "room:join":
        session.intervals.push({ room, from: this.position, to: Infinity });
        this.volatile(["joined", { room, ...someone }], room, session);
        return acknowledge({ room, serverOffset: this.position });
      case "room:leave":
        for (const interval of session.intervals) if (interval.room === room) interval.to = Math.min(interval.to, this.position);
        this.volatile(["left", { room, ...someone }], room, session);
        return acknowledge({ room });
      case "typing":
        return this.volatile(["typing", { room: room ?? null, author: session.name }], room ?? null, session);
      default:
        return acknowledge({});
    }
  }
}

const claims = (/** @type {string} */ token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());

/** @param {string[]} args the flags of our server; --config must be JSON */
export async function startChatModel(args) {
  const text = { type: /** @type {const} */ ("string") };
  const options = { listen: text, "admin-listen": text, nodes: text, "data-dir": text, config: text };
  const values = /** @type {Record<string, string>} */ (parseArgs({ args, options }).values);
  const config = values.config ? JSON.parse(readFileSync(values.config, "utf8")) : {};
  const keyFile = config.auth?.jwt?.keyFile;
  const model = new ChatModel(keyFile && readFileSync(keyFile));
  const cors = config.cors && { origin: config.cors.origins, credentials: config.cors.credentials };
  const ready = (request, response) => response.writeHead(request.url === "/readyz" ? 200 : 404).end();
  const first = Number(values.listen.split(":")[1]);
  const ports = [Number(values["admin-listen"].split(":")[1]), ...Array.from({ length: Number(values.nodes) }, (_, node) => first + node)];
  ports.forEach((port, index) => {
    const http = createServer(ready);
    const engine = new Engine({ cors });
    engine.attach(http, { path: "/socket.io/" });
    engine.on("connection", (conn) => model.accept(conn, index - 1));
    http.listen(port, "127.0.0.1");
  });
}
