// Clients under load on several servers, for tests that hurt what is beneath them. Each keeps its own list of what it was
// shown, each sender its list of what was acknowledged; what is lost, doubled or out of order is computed from those alone.
// Four kinds are mixed: people say things to all and in a room, a backend emits to all but a room and to two rooms at once.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { MODES, People } from "../chat/people.mjs";
import { pause, SOON, until } from "../support/wait.mjs";

const ROOM = "flow";
const SIDE = "side";
/** What is sent, and whom it is for. @type {Record<string, (member: Member) => boolean>} */
const KINDS = {
  wide: () => true,
  room: ({ inRoom }) => inRoom,
  except: ({ inSide }) => !inSide,
  // many are in both
  several: ({ inRoom, inSide }) => inRoom || inSide,
};
/** What people send without a backend. */
const PEOPLES = ["wide", "room"];
/** How a backend emits those that people cannot say. */
const EMISSIONS = { except: ["lobby", { except: [SIDE] }], several: [`rooms/${ROOM}`, { rooms: [SIDE] }] };
/** A server answers a backend within 10 s. */
const ANSWER = 12_000;
/** The position in an offset, which an event that is no message carries last. @param {string} offset */
const positionOf = (offset) => Number.parseInt(offset.split(".")[2], 36);
/** A sender gives an attempt up after this long, and tries again: with thousands of clients in this process it may take long to see the answer. */
const ATTEMPT = 3_000 * (process.env.NATS_LONG ? 4 : 1);
/** How long the tests wait for all: thousands of clients take longer. */
const PATIENCE = 20_000 * (process.env.NATS_LONG ? 4 : 1);
/** Between two attempts. */
const BACK_OFF = 100;
/** How soon clients come back, in tests that wait for the server only. */
const QUICK = { reconnectionDelay: 50, reconnectionDelayMax: 500 };

/** @typedef {{kind: string, content: string, position: number}} Entry */

/** A client that keeps coming back, to another server each time. */
class Member {
  /** What it was shown, in order, all kinds mixed. @type {Entry[]} */
  list = [];
  /** @type {{reason: string, at: number, failures: string[], recovered: boolean | undefined, away: number}[]} each end of a connection, the attempts that failed, and what followed */
  returns = [];
  /** @type {string[]} what a client that does as the protocol says must never see */
  surprises = [];
  /** Attempts that were made again. */
  retries = 0;
  /** How its connections may end. */
  ends = /^transport (close|error)$/;
  #serverOffset = 0;
  #log;

  /**
   * @param {People} people
   * @param {Map<number, Entry>} log what members were shown, by position
   * @param {string[]} urls
   * @param {number} index
   * @param {number} [home] where it begins, if all begin there
   */
  constructor(people, log, urls, index, home) {
    this.index = index;
    // on each server, by each transport
    const rank = home === undefined ? Math.floor(index / urls.length) : index;
    this.inRoom = rank % 2 === 0;
    this.inSide = rank % 4 === 2 || rank % 8 === 3;
    this.mode = Object.keys(MODES)[rank % 3];
    /** The number of the server that it is on, or goes to. */
    this.server = home ?? index % urls.length;
    this.home = this.server;
    // those of one server spread over the others
    const step = 1 + (Math.floor(rank / 6) % Math.max(1, urls.length - 1));
    const auth = (done) => done({ retryable: true, serverOffset: this.#serverOffset || undefined });
    // no Person: what that keeps of each event would keep thousands of clients from being in one process
    const socket = people.open(urls[this.server], { ...MODES[this.mode], auth });
    this.socket = socket;
    this.#log = log;
    socket.io.on("reconnect_attempt", () => {
      this.server = (this.server + step) % urls.length;
      socket.io.uri = urls[this.server];
    });
    socket.on("chat message", (content, position) => this.#shown("wide", content, position));
    socket.on("room:message", (room, content, position) => this.#shown(room === ROOM ? "room" : room, content, position));
    socket.on("notice", (kind, content, offset) => this.#shown(kind, content, positionOf(offset)));
    socket.on("disconnect", (reason) => this.#gone(reason));
    socket.on("connect", () => this.#back());
    socket.on("connect_error", (error) => this.#refused(error));
    socket.on("history gap", (gap) => this.surprises.push(`history gap ${JSON.stringify(gap)}`));
  }

  #shown(kind, content, position) {
    const first = this.#log.get(position);
    // one object for all that were shown the same
    const entry = first?.kind === kind && first.content === content ? first : { kind, content, position };
    if (!first) this.#log.set(position, entry);
    this.list.push(entry);
    if (kind === "wide") this.#serverOffset = position;
  }

  get #rooms() {
    return [...(this.inRoom ? [ROOM] : []), ...(this.inSide ? [SIDE] : [])];
  }

  #gone(reason) {
    this.returns.push({ reason, at: Date.now(), failures: [], recovered: undefined, away: Infinity });
    if (!this.ends.test(reason)) this.surprises.push(`disconnect: ${reason}`);
  }

  #back() {
    const last = this.returns.at(-1);
    if (!last) return;
    last.recovered = this.socket.recovered;
    last.away = Date.now() - last.at;
    if (!last.recovered) for (const room of this.#rooms) this.socket.emit("room:join", room);
  }

  /** A handshake that fails is tried again by the client itself; a refusal is not. */
  #refused(error) {
    this.returns.at(-1)?.failures.push(`${error.message} ${error.context?.status ?? ""}`.trim());
    if (this.socket.active) return;
    if (error.data?.retry) setTimeout(() => this.socket.connect(), BACK_OFF);
    else this.surprises.push(`connect_error: ${error.message} ${JSON.stringify(error.data)}`);
  }

  /** @param {string} event */
  #ask(event, ...args) {
    return this.socket.timeout(2 * SOON).emitWithAck(event, ...args);
  }

  async enter() {
    await until(() => this.socket.connected, PATIENCE, `client ${this.index} connects by ${this.mode}`);
    await Promise.all(this.#rooms.map((room) => this.#ask("room:join", room)));
  }
}

/** Members and the messages that some of them send, until {@link Load.rest}. */
export class Load {
  /** @type {Member[]} */
  members = [];
  /** Acknowledged position by content. @type {Map<string, number>} */
  acknowledged = new Map();
  /** Contents that were sent and are not acknowledged yet. @type {Set<string>} */
  open = new Set();
  /** @type {number[]} milliseconds from the first attempt to the acknowledgement */
  latencies = [];
  /** @type {string[]} */
  surprises = [];
  /** What is sent. */
  kinds = Object.keys(KINDS);
  /** @type {Map<string, number>} refusals by code */
  refusals = new Map();
  #people;
  #sending = true;
  #isClosed = false;
  #flows;
  /** @type {Promise<void>[]} */
  #sends = [];

  /**
   * @param {{urls: string[], backends: import("../support/api.mjs").Backend[]}} cluster without backends people alone send
   * @param {{clients?: number, senders?: number, rate?: number, home?: number, client?: object}} [options] `rate`: a second, of all kinds; `client`: options of each
   */
  static async start(cluster, { clients = 60, senders = 10, rate = 50, home, client = QUICK } = {}) {
    const load = new Load(cluster.urls, clients, home, client);
    try {
      for (let i = 0; i < clients; i += 20) await Promise.all(load.members.slice(i, i + 20).map((member) => member.enter()));
    } catch (error) {
      load.close();
      throw error;
    }
    if (cluster.backends.length === 0) load.kinds = PEOPLES;
    const each = rate / senders / (cluster.backends.length > 0 ? 2 : 1);
    const flows = load.members.slice(0, senders).map((member) => load.#flow(member, each));
    const emissions = cluster.backends.length > 0 ? Array.from({ length: senders }, (_, index) => load.#emissions(cluster, index, each)) : [];
    load.#flows = [...flows, ...emissions];
    return load;
  }

  /** @param {string[]} urls @param {number} clients @param {number} [home] @param {object} [client] */
  constructor(urls, clients, home, client) {
    this.#people = new People(client);
    const log = new Map();
    this.members = Array.from({ length: clients }, (_, index) => new Member(this.#people, log, urls, index, home));
  }

  /** Sends at its rate whatever happens: what is not acknowledged is tried again beside what is new. */
  #flow(member, perSecond) {
    return this.#paced(perSecond, (n) => this.#send(member, n % 3 === 0 && member.inRoom ? ROOM : null, `${member.index}-${n}`));
  }

  /** What one of several backends emits, through one living server after the other. */
  #emissions(cluster, index, perSecond) {
    const kinds = Object.keys(EMISSIONS);
    return this.#paced(perSecond, (n) => this.#emit(cluster, kinds[(index + n) % kinds.length], `${index}-${n}`, index + n));
  }

  /** @param {number} perSecond @param {(n: number) => Promise<void>} send */
  async #paced(perSecond, send) {
    const start = Date.now();
    for (let n = 0; this.#sending; n++) {
      this.#sends.push(send(n));
      await pause(Math.max(0, start + ((n + 1) * 1000) / perSecond - Date.now()));
    }
  }

  /** One event, tried until it is acknowledged. It has no id, so what may have been emitted is not emitted again: each attempt is another event. */
  async #emit(cluster, kind, id, first) {
    const begin = Date.now();
    const [place, more] = EMISSIONS[kind];
    const name = `${kind}-${id}`;
    this.open.add(name);
    for (let attempt = 0; !this.#isClosed; attempt++) {
      const content = attempt === 0 ? name : `${name}, attempt ${attempt}`;
      const { backends } = cluster;
      const backend = backends[(first + attempt) % backends.length];
      const body = { event: "notice", args: [kind, content], ...more };
      // it may have ended, or stand still: whether it was emitted is not known
      const answer = await backend?.ask("POST", `/${place}/emit`, { body, timeout: ANSWER }).catch(() => undefined);
      if (answer?.status === 200) {
        this.acknowledged.set(content, answer.body.serverOffset);
        break;
      }
      const refused = answer?.body.error;
      if (refused) this.refusals.set(refused.code, (this.refusals.get(refused.code) ?? 0) + 1);
      if (refused && !refused.retry) {
        this.surprises.push(`${content} was refused: ${JSON.stringify(refused)}`);
        break;
      }
      await pause(BACK_OFF);
    }
    this.open.delete(name);
    this.latencies.push(Date.now() - begin);
  }

  /** One message with one id, tried until it is acknowledged. */
  async #send(member, room, content) {
    const id = randomUUID();
    const begin = Date.now();
    this.open.add(content);
    for (let attempt = 0; !this.#isClosed; attempt++) {
      if (attempt > 0) member.retries++;
      const args = room === null ? ["chat message", content, id] : ["room:message", room, content, id];
      // a timeout, or the connection has ended: whether it is stored is not known
      const answer = await member.socket.timeout(ATTEMPT).emitWithAck(...args).catch(() => undefined);
      if (answer?.serverOffset) {
        this.acknowledged.set(content, answer.serverOffset);
        break;
      }
      if (answer?.error) this.refusals.set(answer.error.code, (this.refusals.get(answer.error.code) ?? 0) + 1);
      // not in the room: the session is new, and has sent its join before this
      if (answer?.error && !answer.error.retry && answer.error.code !== 204) {
        this.surprises.push(`${content} was refused: ${JSON.stringify(answer.error)}`);
        break;
      }
      await pause(BACK_OFF);
    }
    this.open.delete(content);
    this.latencies.push(Date.now() - begin);
  }

  get retries() {
    return this.members.reduce((sum, { retries }) => sum + retries, 0);
  }

  /** Those on a server, by its number. @param {number} server */
  on(server) {
    return this.members.filter((member) => member.server === server);
  }

  /** Waits until `count` more messages have been acknowledged. */
  async flows(count, deadline = PATIENCE) {
    const goal = this.acknowledged.size + count;
    await until(() => this.acknowledged.size >= goal, deadline, () => `${count} more acknowledgements; ${goal - this.acknowledged.size} are lacking, ${this.open.size} open, ${this.#absent()} clients away`);
  }

  /** Waits until this many messages wait for their acknowledgement. */
  async stalls(count) {
    await until(() => this.open.size >= count, PATIENCE, () => `${count} messages wait; ${this.open.size} do`);
  }

  /** Waits until everybody is connected. */
  async allHere(deadline = PATIENCE) {
    await until(() => this.members.every(({ socket }) => socket.connected), deadline, () => `all are back; ${this.#absent()} are not`);
  }

  /** Their connections end without a word, and they go to another server. @param {Member[]} members */
  cut(members) {
    for (const { socket } of members) this.#people.cut(socket, "silent");
  }

  #absent() {
    return this.members.filter(({ socket }) => !socket.connected).length;
  }

  /** Sends nothing new, waits until all is acknowledged and everybody has been shown what was sent last. */
  async rest(deadline = 1.5 * PATIENCE) {
    this.#sending = false;
    const end = Date.now() + deadline;
    await Promise.all(this.#flows);
    await until(() => this.open.size === 0, deadline, () => `all is acknowledged; ${this.open.size} are not: ${[...this.open].slice(0, 5)}`);
    await Promise.all(this.#sends);
    await this.allHere(Math.max(1_000, end - Date.now()));
    await this.#send(this.members[0], null, "the last one");
    const last = ({ list }) => list.some(({ content }) => content === "the last one");
    // one that lost it is judged by its list
    await until(() => this.members.every(last), Math.max(1_000, end - Date.now())).catch(() => {});
  }

  /** What the lists say. */
  verdict() {
    const positions = new Map();
    for (const { list } of this.members) for (const entry of list) positions.set(entry.position, entry);
    const log = [...positions.values()].sort((a, b) => a.position - b.position);
    const stored = new Map();
    for (const { content, position } of log) stored.set(content, [...(stored.get(content) ?? []), position]);
    const wrong = this.members.map((member) => judge(member, log, this.acknowledged)).filter(({ faults }) => faults.length > 0);
    const returns = this.members.flatMap((member) => member.returns);
    return {
      messages: log.length,
      kinds: Object.fromEntries(this.kinds.map((kind) => [kind, log.filter((entry) => entry.kind === kind).length])),
      acknowledged: this.acknowledged.size,
      storedTwice: [...stored].filter(([, all]) => all.length > 1),
      misplaced: [...this.acknowledged].filter(([content, position]) => stored.get(content)?.[0] !== position),
      wrong,
      lost: sum(wrong, ({ lost }) => lost),
      doubled: sum(wrong, ({ doubled }) => doubled),
      returns: returns.length,
      recovered: returns.filter(({ recovered }) => recovered).length,
      unrecovered: this.members.flatMap(({ index, mode, returns }) =>
        returns.filter(({ recovered }) => !recovered).map((end) => `client ${index} by ${mode}: ${end.reason}, away ${end.away} ms`)),
      surprises: [...this.surprises, ...this.members.flatMap(({ surprises }) => surprises)],
      longestAway: Math.max(0, ...returns.map(({ away }) => away)),
      latencies: this.latencies.toSorted((a, b) => a - b),
    };
  }

  close() {
    this.#sending = false;
    this.#isClosed = true;
    this.#people.close();
  }
}

/** What is wrong with one client's list, which must be the log's entries of its places, in the log's order. */
function judge(member, log, acknowledged) {
  const own = log.filter(({ kind }) => KINDS[kind]?.(member) ?? true);
  const counts = new Map();
  for (const { content } of member.list) counts.set(content, (counts.get(content) ?? 0) + 1);
  const lost = own.filter(({ content }) => acknowledged.has(content) && !counts.has(content)).map(({ content }) => content);
  const doubled = [...counts].filter(([, count]) => count > 1).map(([content]) => content);
  const inverted = member.list.filter(({ position }, i) => i > 0 && position <= member.list[i - 1].position).length;
  const differs = member.list.findIndex(({ position, content }, i) => own[i]?.position !== position || own[i]?.content !== content);
  const faults = [];
  if (lost.length > 0) faults.push(`${lost.length} lost: ${lost.slice(0, 10)}`);
  if (doubled.length > 0) faults.push(`${doubled.length} doubled: ${doubled.slice(0, 10)}`);
  if (inverted > 0) faults.push(`${inverted} inverted`);
  if (differs >= 0 || member.list.length !== own.length) {
    faults.push(`differs from the log from entry ${differs >= 0 ? differs : member.list.length} on, ${member.list.length} of ${own.length} entries`);
  }
  return { client: member.index, mode: member.mode, faults, lost: lost.length, doubled: doubled.length, returns: member.returns };
}

/** @template T @param {T[]} list @param {(item: T) => number} of */
const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);

/** Nothing acknowledged is lost, nothing doubled, one order for all, and everybody who came back was recovered. @param {ReturnType<Load["verdict"]>} verdict */
export function assertWell({ kinds, storedTwice, misplaced, wrong, surprises, unrecovered }) {
  assert.deepEqual(Object.keys(kinds).filter((kind) => kinds[kind] === 0), [], "kinds of which nothing was shown");
  assert.deepEqual(wrong.map(({ client, faults }) => `client ${client}: ${faults.join("; ")}`).slice(0, 5), [], "clients that lost, doubled or reordered");
  assert.deepEqual(storedTwice.slice(0, 5), [], "messages at two positions");
  assert.deepEqual(misplaced.slice(0, 5), [], "messages acknowledged with another position than they were shown with");
  assert.deepEqual(surprises.slice(0, 5), []);
  assert.deepEqual(unrecovered.slice(0, 5), [], "each client that came back was recovered");
}
