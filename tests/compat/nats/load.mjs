// Clients under load on several servers, for tests that hurt what is beneath them. Each keeps its own list of what it was
// shown, each sender its list of what was acknowledged; what is lost, doubled or out of order is computed from those alone.
// Four kinds are mixed: people say things to all and in a room, a backend emits to all but a room and to two rooms at once.
import { randomUUID } from "node:crypto";
import { People } from "../chat/people.mjs";
import { pause, until } from "../support/wait.mjs";
import { EMISSIONS, KINDS, PEOPLES, ROOM } from "./kinds.mjs";
import { BACK_OFF, Member, PATIENCE } from "./member.mjs";
import { verdict } from "./verdict.mjs";

/** What is sent when all else has been acknowledged. */
const LAST = "the last one";
/** A server answers a backend within 10 s. */
const ANSWER = 12_000;
/** A sender gives an attempt up after this long, and tries again: with thousands of clients in this process it may take long to see the answer. */
const ATTEMPT = 3_000 * (process.env.NATS_LONG ? 4 : 1);
/** How soon clients come back, in tests that wait for the server only. */
const QUICK = { reconnectionDelay: 50, reconnectionDelayMax: 500 };

/**
 * @typedef {{urls: string[], backends: import("../support/api.mjs").Backend[]}} Cluster without backends people alone send
 * @typedef {object} Options
 * @property {number} [clients]
 * @property {number} [senders] of each of both
 * @property {number} [rate] messages a second, of all kinds
 * @property {number} [home] the server on which all begin
 * @property {object} [client] options of each client
 * @property {RegExp} [ends] how connections may end
 * @property {{nth: number, of: number}} [part] which part this is of as many, whose clients and rate these are together
 */

/** Members and the messages that some of them send, until {@link Load.rest}. Several in threads of their own may be parts of one. */
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
  #cluster;
  #people;
  #sending;
  #isResting = false;
  #isClosed = false;
  #flows;
  /** @type {Promise<void>[]} */
  #sends = [];

  /**
   * Clients that have entered, and the stream of messages.
   * @param {Cluster} cluster @param {Options} [options]
   */
  static async start(cluster, options) {
    const load = new Load(cluster, options);
    try {
      await load.enter();
    } catch (error) {
      load.close();
      throw error;
    }
    load.begin();
    return load;
  }

  /** @param {Cluster} cluster @param {Options} [options] */
  constructor(cluster, { clients = 60, senders = 10, rate = 50, home, client = QUICK, ends, part = { nth: 0, of: 1 } } = {}) {
    this.#cluster = cluster;
    this.#sending = { part, senders: Math.ceil(senders / part.of), rate: rate / part.of };
    this.#people = new People(client);
    const log = new Map();
    this.members = share(clients, part).map((index) => new Member(this.#people, log, cluster.urls, index, home));
    for (const member of this.members) member.ends = ends ?? member.ends;
  }

  /** Waits until all clients are here. Nothing is sent yet: who enters late would not see it. */
  async enter() {
    for (let i = 0; i < this.members.length; i += 20) await Promise.all(this.members.slice(i, i + 20).map((member) => member.enter()));
  }

  /** Begins to send. People and backends take turns, also with those of other parts. */
  begin() {
    const { senders, rate, part: { nth, of } } = this.#sending;
    const hasBackends = this.#cluster.backends.length > 0;
    if (!hasBackends) this.kinds = PEOPLES;
    const each = rate / senders / (hasBackends ? 2 : 1);
    const flows = this.members.slice(0, senders).map((member, i) => this.#flow(member, each, (i + nth / of) / senders));
    const backends = hasBackends ? Array.from({ length: senders }, (_, i) => i) : [];
    const emissions = backends.map((i) => this.#emissions(nth * senders + i, each, (i + (nth + 0.5) / of) / senders));
    this.#flows = [...flows, ...emissions];
  }

  /** Sends at its rate whatever happens: what is not acknowledged is tried again beside what is new. */
  #flow(member, perSecond, phase) {
    return this.#paced(perSecond, phase, (n) => this.#send(member, n % 3 === 0 && member.inRoom ? ROOM : null, `${member.index}-${n}`));
  }

  /** What one of several backends emits, through one living server after the other. */
  #emissions(index, perSecond, phase) {
    const kinds = Object.keys(EMISSIONS);
    return this.#paced(perSecond, phase, (n) => this.#emit(kinds[(index + n) % kinds.length], `${index}-${n}`, index + n));
  }

  /**
   * Senders take turns: what all of them sent at once would reach thousands of clients at once, and this process would stand still for as long as it takes to read it.
   * @param {number} perSecond @param {number} phase when it begins, as a share of the time between two @param {(n: number) => Promise<void>} send
   */
  async #paced(perSecond, phase, send) {
    const start = Date.now();
    for (let n = 0; !this.#isResting; n++) {
      await pause(Math.max(0, start + ((n + phase) * 1000) / perSecond - Date.now()));
      if (!this.#isResting) this.#sends.push(send(n));
    }
  }

  /** One event, tried until it is acknowledged. It has no id, so what may have been emitted is not emitted again: each attempt is another event. */
  async #emit(kind, id, first) {
    const begin = Date.now();
    const [place, more] = EMISSIONS[kind];
    const name = `${kind}-${id}`;
    this.open.add(name);
    for (let attempt = 0; !this.#isClosed; attempt++) {
      const content = attempt === 0 ? name : `${name}, attempt ${attempt}`;
      const { backends } = this.#cluster;
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
    const end = Date.now() + deadline;
    await this.settle(deadline);
    await this.sayLast();
    await this.seeLast(end - Date.now());
  }

  /** Sends nothing new; waits until all is acknowledged and everybody is here. */
  async settle(deadline = 1.5 * PATIENCE) {
    this.#isResting = true;
    const end = Date.now() + deadline;
    await Promise.all(this.#flows);
    await until(() => this.open.size === 0, deadline, () => `all is acknowledged; ${this.open.size} are not: ${[...this.open].slice(0, 5)}`);
    await Promise.all(this.#sends);
    await this.allHere(Math.max(1_000, end - Date.now()));
  }

  sayLast() {
    return this.#send(this.members[0], null, LAST);
  }

  /** Waits until everybody has been shown the last one; who lost it is judged by its list. */
  async seeLast(deadline = PATIENCE) {
    const last = ({ list }) => list.some(({ content }) => content === LAST);
    await until(() => this.members.every(last), Math.max(1_000, deadline)).catch(() => {});
  }

  /** What the verdict is about, as plain data. */
  get record() {
    const { kinds, acknowledged, surprises, latencies, members } = this;
    return { kinds, acknowledged, surprises, latencies, members: members.map((member) => member.record) };
  }

  verdict() {
    return verdict([this.record]);
  }

  close() {
    this.#isResting = true;
    this.#isClosed = true;
    this.#people.close();
  }
}

/** Indices of a part's clients. @param {number} clients @param {{nth: number, of: number}} part */
function share(clients, { nth, of }) {
  const bound = (n) => Math.round((clients * n) / of);
  return Array.from({ length: bound(nth + 1) - bound(nth) }, (_, i) => bound(nth) + i);
}
