// People in the chat: the official client with what the chat sends it, collected from the first event on.
import { randomUUID } from "node:crypto";
import { collect, SOON, until } from "../support/wait.mjs";
import { Clients, connected, upgraded } from "../client/official.mjs";

export { ask, MODES, once, reconnected, refusal } from "../client/official.mjs";

/** Limits out of the way of tests that are not about them. */
export const UNLIMITED = { eventsPerSecond: 100_000, eventsBurst: 100_000, roomsPerSocket: 1_000 };

/** Without the recovery offset, which the server appends to every event. */
const strip = (args) => (typeof args.at(-1) === "string" ? args.slice(0, -1) : args);

/** @typedef {{content: string, serverOffset: number, author: string, at: number}} Message */

/** A client that enters the chat; `lobby` and `rooms` hold the messages it was shown. */
export class Person {
  /** @type {Message[]} */
  lobby = [];
  /** @type {Record<string, Message[]>} */
  rooms = {};
  /** @type {{node: unknown, recovered: boolean, name: string, serverOffset: number}[]} one per connection */
  sessions = [];
  gaps = [];
  #fence;

  /** @param {import("socket.io-client").Socket} socket */
  constructor(socket) {
    this.socket = socket;
    this.events = [];
    socket.onAny((event, ...args) => this.events.push([event, ...strip(args)]));
    socket.on("session", (session) => this.sessions.push(session));
    socket.on("history gap", (gap) => this.gaps.push(gap));
    socket.on("chat message", (content, serverOffset, { author, at }) => this.lobby.push({ content, serverOffset, author, at }));
    socket.on("room:message", (room, content, serverOffset, { author, at }) => {
      (this.rooms[room] ??= []).push({ content, serverOffset, author, at });
    });
    this.typing = collect(socket, "typing");
    this.joined = collect(socket, "joined");
    this.left = collect(socket, "left");
  }

  get contents() {
    return this.lobby.map(({ content }) => content);
  }

  get session() {
    return this.sessions.at(-1);
  }

  /** The answer to an event, refusals included. */
  ask(event, ...args) {
    return this.socket.timeout(2 * SOON).emitWithAck(event, ...args);
  }

  /** Sends to the lobby with a fresh id. */
  say(content, clientOffset = randomUUID()) {
    return this.ask("chat message", content, clientOffset);
  }

  /** Sends to a room with a fresh id. */
  sayIn(room, content, clientOffset = randomUUID()) {
    return this.ask("room:message", room, content, clientOffset);
  }

  /**
   * A fence: what was sent to this client before it has arrived when it resolves.
   * A message in a room of its own, because messages have one order, and acknowledgements are not part of it.
   */
  async settled() {
    this.#fence ??= `fence ${randomUUID()}`;
    await this.ask("room:join", this.#fence);
    const { serverOffset } = await this.sayIn(this.#fence, "fence");
    await until(() => this.rooms[this.#fence]?.at(-1)?.serverOffset >= serverOffset, 2 * SOON, "the fence arrives");
    delete this.rooms[this.#fence];
  }
}

/** People of one test. */
export class People extends Clients {
  /** @param {string} url @param {object} [auth] @param {object} [options] */
  async enter(url, auth = {}, options = {}) {
    const person = this.begin(url, auth, options);
    await connected(person.socket);
    if ({ ...this.options, ...options }.transports?.length === 2) await upgraded(person.socket);
    await person.ask("history", { limit: 1 });
    return person;
  }

  /** A person who is still on the way in. */
  begin(url, auth = {}, options = {}) {
    return new Person(this.open(url, { auth: { retryable: true, ...auth }, transports: ["websocket"], ...options }));
  }
}

/** Stores `count` lobby messages `first`, `first + 1`, ... in this order, quickly. */
export async function fill(person, count, first = 0) {
  const answers = [];
  for (let i = 0; i < count; i++) {
    answers.push(person.say(`${first + i}`));
    if (answers.length % 100 === 0) await answers.at(-1);
  }
  return Promise.all(answers);
}

/** Numbers from `first`, as message contents. */
export const contents = (count, first = 0) => Array.from({ length: count }, (_, i) => `${first + i}`);
