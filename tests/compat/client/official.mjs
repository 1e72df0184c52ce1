// The official client, with what tests need around it: transports, deadlines, cuts, and an end.
import { io } from "socket.io-client";
import { SOON, until, within } from "../support/wait.mjs";

/** Ways to connect; every feature must work in each. */
export const MODES = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

/** Quick reconnects, so that tests wait for the server only. */
const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 100, forceNew: true };

/** The clients of one test file or test; `close` ends all of them. */
export class Clients {
  /** @type {import("socket.io-client").Socket[]} */
  #sockets = [];
  #abandoned = [];

  /** @param {object} [options] defaults for every client, e.g. one of MODES */
  constructor(options = {}) {
    this.options = options;
  }

  /** A client that begins to connect. @param {string} url @param {object} [options] */
  open(url, options = {}) {
    const socket = io(url, { ...QUICK, ...this.options, ...options });
    this.#sockets.push(socket);
    return socket;
  }

  /** A connected client, on its final transport. @param {string} url @param {object} [options] */
  async connect(url, options = {}) {
    const socket = this.open(url, options);
    await connected(socket);
    if ({ ...this.options, ...options }.transports?.length === 2) await upgraded(socket);
    return socket;
  }

  /**
   * Cuts the transport; the client reconnects by itself.
   * "polite": the client tells the server. "hard": the TCP connections end without a word.
   * "silent": the client leaves, but the server's side stays open, as behind a dead mobile link.
   * @param {import("socket.io-client").Socket} socket @param {"polite" | "hard" | "silent"} how
   */
  cut(socket, how) {
    const engine = socket.io.engine;
    // During an upgrade or a write engine.close() only closes later, even in the turn in which packets arrive:
    // no network does that, and the client then keeps those packets and shows them twice. Such a cut is made hard.
    if (how === "polite" && !engine.upgrading && engine.writeBuffer.length === 0) return void engine.close();
    const transport = engine.transport;
    const { ws } = transport;
    transport.doClose = () => {};
    engine._onClose("transport close");
    if (how === "silent") this.#abandoned.push([transport, ws]);
    else abandon(transport, ws);
  }

  /** The connections left by silent cuts end now: the server notices them late. */
  endAbandoned() {
    for (const [transport, ws] of this.#abandoned.splice(0)) abandon(transport, ws);
  }

  close() {
    for (const socket of this.#sockets) socket.disconnect();
    this.endAbandoned();
  }
}

function abandon(transport, ws) {
  if (ws) {
    ws.onerror = () => {};
    ws.terminate();
  } else {
    transport.pollXhr?.abort();
  }
}

/** @param {import("socket.io-client").Socket} socket */
export async function connected(socket, deadline = SOON) {
  let last;
  const failed = (error) => (last = error);
  socket.on("connect_error", failed);
  await until(() => socket.connected, deadline, () => `client connects${last ? `; last connect_error: ${last.message}` : ""}`);
  socket.off("connect_error", failed);
  return socket;
}

/** @param {import("socket.io-client").Socket} socket */
export function upgraded(socket) {
  return until(() => socket.io.engine.transport.name === "websocket", SOON, "client upgrades to WebSocket");
}

/** The next connection after a cut. @param {import("socket.io-client").Socket} socket */
export async function reconnected(socket, deadline = SOON) {
  await until(() => socket.connected, deadline, "client reconnects");
  return socket;
}

/** The next occurrence of an event, as its argument list. */
export function once(socket, event, deadline = SOON) {
  return within(new Promise((done) => socket.once(event, (...args) => done(args))), deadline, `event ${event}`);
}

/** The error with which the connection is refused. @returns {Promise<Error & {data?: any}>} */
export async function refusal(socket) {
  const [error] = await once(socket, "connect_error");
  return error;
}

/** Emits and returns the first argument of the acknowledgement. */
export function ask(socket, event, ...args) {
  return socket.timeout(SOON).emitWithAck(event, ...args);
}

/**
 * A fence: what was sent to these clients before it has arrived when it resolves.
 * An event, because events of one namespace have one order, and acknowledgements are not part of it.
 */
export async function settled(...sockets) {
  const fences = sockets.map((socket) => once(socket, FENCE));
  for (const socket of sockets) socket.emit("emit-to", { rooms: [socket.id], event: FENCE });
  await Promise.all(fences);
}

/** The event of `settled`; tests that collect all events leave it out. */
export const FENCE = "settled";
