// A share of the clients of recovery.test.mjs, in a process of its own. Each client judges by its own list.
import { Clients, MODES } from "../client/official.mjs";
import { pause, until } from "../support/wait.mjs";

const CUTS = ["polite", "hard", "silent"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const clients = new Clients({ reconnectionDelay: 100, reconnectionDelayMax: 1_000 });

class Member {
  list = [];
  cuts = 0;
  recoveries = 0;
  /** @type {object[]} connections that were not recovered, with what is known about them */
  unrecovered = [];
  #cut;

  constructor(index, urls) {
    this.index = index;
    this.urls = urls;
    this.node = index % urls.length;
    this.mode = process.env.RECOVERY_MODE ?? (index % 10 === 0 ? "polling" : index % 10 === 1 ? "upgrade" : "websocket");
    // half return to the same node, half to any other
    this.roams = index % 2 === 0;
  }

  async enter() {
    this.socket = clients.open(this.urls[this.node], MODES[this.mode]);
    this.socket.on("m", (number) => this.list.push(number));
    this.errors = [];
    this.socket.on("connect_error", ({ message }) => this.errors.push(message));
    await until(() => this.socket.connected, 60_000, "member connects");
    this.id = this.socket.id;
    await this.socket.timeout(60_000).emitWithAck("join", "flow");
    this.socket.on("connect", () => this.#returned());
  }

  #returned() {
    if (this.socket.recovered && this.socket.id === this.id) {
      this.recoveries++;
    } else {
      this.unrecovered.push({ ...this.#cut, recovered: this.socket.recovered, sameId: this.socket.id === this.id, errors: this.errors.slice(-3), events: this.list.length });
      this.id = this.socket.id;
      this.socket.emit("join", "flow");
    }
  }

  async keepCutting(running, every) {
    await pause(Math.random() * every);
    while (running()) {
      if (this.socket.connected) await this.#cutOnce();
      await pause(every * (0.5 + Math.random()));
    }
  }

  async #cutOnce() {
    const how = pick(CUTS);
    const from = this.node;
    if (this.roams) this.node = pick(this.urls.map((_, i) => i).filter((i) => this.urls.length === 1 || i !== from));
    const away = Math.random() < 0.5 ? 0 : Math.random() * 2_000;
    this.#cut = { client: this.index, mode: this.mode, how, from, to: this.node, away: Math.round(away), pid: Boolean(this.socket._pid), offset: this.socket._lastOffset };
    this.cuts++;
    this.errors = [];
    const { io } = this.socket;
    io.reconnection(false);
    clients.cut(this.socket, how);
    io.uri = this.urls[this.node];
    await pause(away);
    io.reconnection(true);
    io.open();
  }

  /** What is wrong with this client's list, which must be 0..last. */
  report(last) {
    const counts = new Map();
    for (const number of this.list) counts.set(number, (counts.get(number) ?? 0) + 1);
    const lost = [];
    for (let number = 0; number <= last; number++) if (!counts.has(number)) lost.push(number);
    const doubled = [...counts].filter(([, count]) => count > 1).map(([number]) => number);
    const inverted = this.list.filter((number, i) => i > 0 && number < this.list[i - 1]).length;
    const { index: client, mode, cuts, recoveries, unrecovered } = this;
    return { client, mode, cuts, recoveries, unrecovered, lost, doubled, inverted, connected: this.socket.connected, errors: this.errors.slice(-3) };
  }
}

/** @type {Member[]} */
const members = [];
let running = true;
let cutting = [];

const acts = {
  async enter({ urls, first, count }) {
    for (let i = 0; i < count; i++) members.push(new Member(first + i, urls));
    for (let i = 0; i < count; i += 20) await Promise.all(members.slice(i, i + 20).map((member) => member.enter()));
  },
  cut({ every }) {
    cutting = members.map((member) => member.keepCutting(() => running, every));
  },
  async rest() {
    running = false;
    await Promise.all(cutting);
    await until(() => members.every(({ socket }) => socket.connected), 60_000, "all are back").catch(() => {});
    clients.endAbandoned();
  },
  async report({ last }) {
    await until(() => members.every(({ list }) => list.includes(last)), 60_000, "all have the last").catch(() => {});
    return members.map((member) => member.report(last));
  },
  end() {
    clients.close();
    setImmediate(() => process.exit(0));
  },
};

process.on("message", async ({ act, ...args }) => {
  try {
    process.send({ answer: (await acts[act](args)) ?? null });
  } catch (error) {
    process.send({ error: error.stack });
  }
});
