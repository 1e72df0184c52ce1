// A real nats-server for one test, and chat servers joined through it. It can be hurt the way brokers are hurt, and is the
// same server afterwards: on the same port, with the same store. CHATCLUSTER_NATS_SERVER names the binary (`make nats`).

import { randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { apiConfig, Backend, originOf } from "./api.mjs";
import { jetStream } from "./jetstream.mjs";
import { Proxy } from "./proxy.mjs";
import { freePorts, retryTakenPort, Server, startChat, waitReady } from "./servers.mjs";
import { until } from "./wait.mjs";

function binary() {
  const named = process.env.CHATCLUSTER_NATS_SERVER;
  if (!named) throw new Error("CHATCLUSTER_NATS_SERVER is not set; run: make test, or: make nats, and set it to .tools/bin/nats-server");
  const file = resolve(named);
  if (!existsSync(file)) throw new Error(`${file} does not exist; run: make nats (or set CHATCLUSTER_NATS_SERVER)`);
  return file;
}

/** Folders whose processes end with ours: they go last, also when a test has failed. @type {Set<string>} */
const folders = new Set();
process.on("exit", () => {
  for (const folder of folders) remove(folder);
});

/** @param {string} prefix */
function makeFolder(prefix) {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  folders.add(folder);
  return folder;
}

/** @param {string} folder */
function remove(folder) {
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  folders.delete(folder);
}

/** The line with which a nats-server greets whoever connects; undefined if nobody does. @param {number} port @returns {Promise<string | undefined>} */
function greeting(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    const end = (/** @type {string | undefined} */ line) => {
      socket.destroy();
      done(line);
    };
    socket.setTimeout(1_000, () => end(undefined));
    socket.once("data", (data) => end(data.toString()));
    socket.once("error", () => end(undefined));
    socket.once("close", () => end(undefined));
  });
}

/** One nats-server with JetStream. */
export class Nats {
  #folder = makeFolder("chatcluster-nats-");
  /** @type {Server | undefined} */
  #process;

  /** @param {number} port @param {string} [more] lines of its configuration */
  constructor(port, more = "") {
    this.port = port;
    // a reader that stands still must not hold up those who publish
    writeFileSync(this.#config, `no_fast_producer_stall: true\n${more}`);
  }

  get url() {
    return `nats://127.0.0.1:${this.port}`;
  }

  get #config() {
    return join(this.#folder, "nats.conf");
  }

  get #store() {
    return join(this.#folder, "store");
  }

  get #copy() {
    return join(this.#folder, "copy");
  }

  /** Starts the process, again or for the first time, and waits until it greets with JetStream on. */
  async start() {
    if (this.#process) throw new Error("the nats-server runs");
    const args = ["-c", this.#config, "-a", "127.0.0.1", "-p", String(this.port), "-js", "-sd", this.#store];
    const started = new Server(binary(), args, {});
    // it listens when its store has been read
    await waitReady(started, async () => /^INFO .*"jetstream":true/.test((await greeting(this.port)) ?? ""), `nats-server greets on ${this.url}`);
    this.#process = started;
  }

  /** SIGKILL. Connections to it end, new ones are refused. */
  async kill() {
    const process = this.#running();
    this.#process = undefined;
    await process.kill();
  }

  /** SIGTERM, and its end in order. */
  async end() {
    const process = this.#running();
    this.#process = undefined;
    process.signal("SIGTERM");
    await process.exited();
  }

  /** While it does not run: all that it has stored is lost. */
  loseStore() {
    rmSync(this.#store, { recursive: true });
  }

  /** While it does not run: keeps a copy of its store. */
  copyStore() {
    cpSync(this.#store, this.#copy, { recursive: true });
  }

  /** While it does not run: its store is as it was when it was copied. */
  restoreStore() {
    this.loseStore();
    cpSync(this.#copy, this.#store, { recursive: true });
  }

  /** After {@link kill} or {@link end}: the same port, the same store. */
  restart() {
    return this.start();
  }

  /** SIGSTOP: connections stay, new ones are taken by the kernel, nothing is answered once this resolves. */
  pause() {
    return this.#running().pause();
  }

  /** SIGCONT. */
  resume() {
    this.#running().resume();
  }

  /** Ends it for good, whatever state it is in, and removes its store. */
  async stop() {
    const process = this.#process;
    this.#process = undefined;
    if (process && !process.exit) {
      process.signal("SIGCONT");
      process.signal("SIGTERM");
      await process.exited().catch(() => process.kill());
    }
    remove(this.#folder);
  }

  #running() {
    if (!this.#process || this.#process.exit) throw new Error(`the nats-server does not run${this.#process ? `; output:\n${this.#process.tail()}` : ""}`);
    return this.#process;
  }
}

/** A nats-server on a free port. @returns {Promise<Nats>} */
export function startNats() {
  return retryTakenPort(async () => {
    const nats = new Nats(await freePorts());
    try {
      await nats.start();
    } catch (error) {
      await nats.stop();
      throw error;
    }
    return nats;
  });
}

/** Three nats-servers that are one. */
export class NatsTrio {
  /** @type {Nats[]} */
  nodes = [];

  /** @param {number} first the first of six ports */
  constructor(first) {
    const routes = [3, 4, 5].map((i) => `nats://127.0.0.1:${first + i}`).join(", ");
    for (const i of [0, 1, 2]) {
      const cluster = `cluster { name: trio, listen: "127.0.0.1:${first + 3 + i}", routes: [${routes}] }`;
      this.nodes.push(new Nats(first + i, `server_name: n${i}\n${cluster}\n`));
    }
  }

  get url() {
    return this.nodes.map(({ url }) => url).join(",");
  }

  async start() {
    // all have an end before one's failure is told: what is still starting cannot be stopped
    const starts = await Promise.allSettled(this.nodes.map((node) => node.start()));
    for (const start of starts) if (start.status === "rejected") throw start.reason;
    for (const node of this.nodes) await until(() => jetStream(node, "INFO"), 20_000, `JetStream has a leader, for ${node.url}`);
  }

  /** The number of the node that leads a stream. @param {string} stream @param {Nats} by who is asked */
  async leaderOf(stream, by = this.nodes[0]) {
    const { cluster } = await jetStream(by, `STREAM.INFO.${stream}`);
    return Number(/^n(\d)$/.exec(cluster?.leader)?.[1]);
  }

  /** Waits until all nodes have all of a stream. @param {string} stream */
  async isWhole(stream) {
    const whole = async () => {
      const { cluster } = await jetStream(this.nodes[0], `STREAM.INFO.${stream}`);
      return cluster.leader && cluster.replicas.length === 2 && cluster.replicas.every(({ current }) => current);
    };
    await until(whole, 20_000, `all nodes have all of ${stream}`);
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}

/** Three nats-servers on free ports. @returns {Promise<NatsTrio>} */
export function startTrio() {
  return retryTakenPort(async () => {
    const trio = new NatsTrio(await freePorts(6));
    try {
      await trio.start();
    } catch (error) {
      await trio.stop();
      throw error;
    }
    return trio;
  });
}

/** A name that no other cluster on the same nats-server has. */
export const freshPrefix = () => `t${randomBytes(6).toString("hex")}`;

/** The flags with which a chat server joins. @param {{url: string}} nats @param {string} prefix */
export const joining = (nats, prefix) => ["--nats-url", nats.url, "--nats-prefix", prefix];

/** @typedef {import("./servers.mjs").Chat} Chat */

/** Chat servers of one prefix, each with a data folder of its own that outlives it. */
export class ChatCluster {
  /** The servers by number; one that was ended stays until it is started again. @type {Chat[]} */
  servers = [];
  #folder = makeFolder("chatcluster-pods-");
  #count = 0;
  #ended = new Set();
  #api;

  /** Between NATS and the server that was started by {@link addBehindProxy}. @type {Proxy | undefined} */
  proxy;

  /** @param {Nats | NatsTrio} nats @param {boolean} ownsNats @param {object | undefined} config */
  constructor(nats, ownsNats, config) {
    this.nats = nats;
    this.ownsNats = ownsNats;
    // its token outlives every start of a server
    this.#api = apiConfig(this.#folder);
    this.config = { ...this.#api, ...config };
    this.prefix = freshPrefix();
  }

  /** The name of the log's stream. */
  get log() {
    return `${this.prefix}_log`;
  }

  /** The name of the stream that holds the sessions. */
  get sessions() {
    return `KV_${this.prefix}_sessions`;
  }

  get urls() {
    return this.servers.map(({ url }) => url);
  }

  /** Of the servers that were not ended. */
  get livingUrls() {
    return this.living.map(({ url }) => url);
  }

  /** Those that were not ended. */
  get living() {
    return this.servers.filter((chat) => !this.#ended.has(chat));
  }

  /** The API for backends of each of those. @returns {Backend[]} */
  get backends() {
    return this.living.map((chat) => new Backend(originOf(chat)));
  }

  /** A server more, with an empty data folder. @param {{awaits?: "readiness" | "life", args?: string[]}} [options] @returns {Promise<Chat>} */
  async add(options = {}) {
    const dataDir = join(this.#folder, String(this.#count++));
    const chat = await this.#start({ dataDir, ...options });
    this.servers.push(chat);
    return chat;
  }

  /** A server more, with a proxy between itself and NATS. */
  async addBehindProxy() {
    this.proxy = await Proxy.before(/** @type {Nats} */ (this.nats).port);
    return this.add({ args: joining(this.proxy, this.prefix) });
  }

  /** SIGTERM, and its end in order. @param {number} index */
  async terminate(index) {
    const chat = this.servers[index];
    this.#ended.add(chat);
    await chat.stop();
    if (chat.exit?.code !== 0) throw new Error(`the server ended with ${JSON.stringify(chat.exit)}; output:\n${chat.tail()}`);
  }

  /** SIGKILL. @param {number} index */
  async kill(index) {
    this.#ended.add(this.servers[index]);
    await this.servers[index].kill();
  }

  /**
   * A server that was ended, again: same port, same data folder.
   * @param {number} index
   * @param {"server" | "next_release"} [program] this release, or the one after
   * @returns {Promise<Chat>}
   */
  async again(index, program) {
    const { dataDir, port } = this.servers[index];
    return (this.servers[index] = await this.#start({ dataDir, port, program }));
  }

  /** Ends all in order. Throws if a server fell over, after everything has ended. */
  async stop() {
    const ends = await Promise.allSettled(this.living.map((chat) => chat.stop()));
    await this.proxy?.close();
    if (this.ownsNats) await this.nats.stop();
    remove(this.#folder);
    const failed = ends.find(({ status }) => status === "rejected");
    if (failed) throw /** @type {PromiseRejectedResult} */ (failed).reason;
  }

  /** @param {Parameters<typeof startChat>[0]} options */
  #start(options) {
    return startChat({ config: this.config, args: joining(this.nats, this.prefix), ...options });
  }
}

/**
 * One nats-server, and chat servers joined through it under a fresh prefix.
 * @param {{servers?: number, config?: object, nats?: Nats | NatsTrio}} [options] `nats`: one that others use, too, and that is not ended with the cluster
 */
export async function startCluster({ servers = 2, config, nats } = {}) {
  const cluster = new ChatCluster(nats ?? (await startNats()), !nats, config);
  try {
    const starts = await Promise.allSettled(Array.from({ length: servers }, () => cluster.add()));
    for (const start of starts) if (start.status === "rejected") throw start.reason;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}
