// Starts the programs under test on free ports and ends exactly those processes.
//
// Binaries (environment variable, default relative to the repository root):
//   CHATCLUSTER_SERVER       target/debug/chatcluster-server
//   CHATCLUSTER_NEXT         target/debug/examples/next_release
//   CHATCLUSTER_PROTOCOL_V5  target/release/examples/protocol_v5
//   CHATCLUSTER_PROTOCOL_V4  target/release/examples/protocol_v4
// TARGET=reference runs reference.mjs in their place, to check the tests themselves:
// Node's own servers for the two fixtures, a model of our recovery rules for the chat.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { until, within } from "./wait.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const REFERENCE = fileURLToPath(new URL("./reference.mjs", import.meta.url));
/** A test with thousands of clients takes long to see an answer. */
const BUSY = process.env.NATS_LONG ? 4 : 1;
const START_DEADLINE = 20_000 * BUSY;
const PROBE_DEADLINE = 1_000 * BUSY;
const STOP_DEADLINE = 15_000;

/** True if the tests run against reference.mjs in place of our programs. */
export const againstReference = process.env.TARGET === "reference";

/** @type {Record<string, {variable: string, path: string, build: string}>} */
const BINARIES = {
  server: {
    variable: "CHATCLUSTER_SERVER",
    path: "target/debug/chatcluster-server",
    build: "cargo build -p chatcluster-server",
  },
  next_release: {
    variable: "CHATCLUSTER_NEXT",
    path: "target/debug/examples/next_release",
    build: "cargo build -p chatcluster-server --example next_release",
  },
  protocol_v5: {
    variable: "CHATCLUSTER_PROTOCOL_V5",
    path: "target/release/examples/protocol_v5",
    build: "cargo build --release -p chatcluster-socketio --example protocol_v5",
  },
  protocol_v4: {
    variable: "CHATCLUSTER_PROTOCOL_V4",
    path: "target/release/examples/protocol_v4",
    build: "cargo build --release -p chatcluster-engineio --example protocol_v4",
  },
};

/** @param {keyof typeof BINARIES} name */
function binary(name) {
  const { variable, path, build } = BINARIES[name];
  const file = process.env[variable] ? resolve(process.env[variable]) : join(ROOT, path);
  if (!existsSync(file)) {
    throw new Error(`${file} does not exist; run: make test, or only: ${build} (or set ${variable})`);
  }
  return file;
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => process.exit(1));

/** A started process with its output. */
export class Server {
  /** @type {{code: number | null, signal: NodeJS.Signals | null} | undefined} */
  exit;
  #output = "";
  #child;
  #exited;

  /** @param {string} command @param {string[]} args @param {Record<string, string>} env */
  constructor(command, args, env) {
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    running.add(this.#child);
    const keep = (/** @type {Buffer} */ chunk) => {
      this.#output = (this.#output + chunk).slice(-1_000_000);
    };
    this.#child.stdout.on("data", keep);
    this.#child.stderr.on("data", keep);
    this.#exited = new Promise((done) => {
      this.#child.on("error", (error) => {
        this.#output += `\n${error.message}`;
        this.exit ??= { code: -1, signal: null };
        running.delete(this.#child);
        done(this.exit);
      });
      this.#child.on("close", (code, signal) => {
        this.exit ??= { code, signal };
        running.delete(this.#child);
        done(this.exit);
      });
    });
  }

  /** Everything the process has printed so far (the last million characters). */
  get output() {
    return this.#output;
  }

  get pid() {
    return this.#child.pid;
  }

  /** @param {NodeJS.Signals} name */
  signal(name) {
    this.#child.kill(name);
  }

  /** SIGSTOP, and wait until it has come to a halt: on a busy machine its threads go on for a while after the signal. */
  async pause() {
    this.signal("SIGSTOP");
    await until(() => this.#hasHalted, STOP_DEADLINE, `process ${this.pid} halts`);
  }

  /** SIGCONT: ends {@link pause}. */
  resume() {
    this.signal("SIGCONT");
  }

  get #hasHalted() {
    const threads = `/proc/${this.pid}/task`;
    // the state follows the name, which may hold anything
    return readdirSync(threads).every((id) => /^.*\) T /s.test(readFileSync(join(threads, id, "stat"), "utf8")));
  }

  /** Resolves when the process has ended, however long that takes. */
  get gone() {
    return this.#exited;
  }

  /** Waits for the process's own end. @param {number} [deadline] */
  exited(deadline = STOP_DEADLINE) {
    return within(this.#exited, deadline, `process ${this.pid} ends; output:\n${this.tail()}`);
  }

  /** SIGKILL, and wait until it is gone. For tests that want a crash. */
  async kill() {
    this.signal("SIGKILL");
    return this.exited();
  }

  /**
   * SIGTERM, wait for the end. Throws if the process died before, panicked, or does not end in time:
   * a server that fell over must not pass for one that was stopped.
   */
  async stop() {
    const early = this.exit;
    let late;
    if (!early) {
      this.signal("SIGTERM");
      try {
        await this.exited();
      } catch (error) {
        late = error;
        await this.kill();
      }
    }
    if (early) throw new Error(`process ${this.pid} ended before stop(): ${JSON.stringify(early)}\n${this.tail()}`);
    if (late) throw late;
    if (/panicked at/.test(this.#output)) throw new Error(`process ${this.pid} panicked:\n${this.tail()}`);
  }

  /** The end of the output, for messages. */
  tail() {
    return this.#output.slice(-3_000);
  }
}

/** A server that listens. */
export class Listening extends Server {
  /** @type {number} */
  port = 0;
  /** @type {string[]} one URL per node; `url` is the first */
  urls = [];
  /** @returns {string} `http://127.0.0.1:port` */
  get url() {
    return `http://127.0.0.1:${this.port}`;
  }
}

/** The chat server, one or several nodes. */
export class Chat extends Listening {
  adminUrl = "";
  dataDir = "";
}

/** @param {number} port @returns {Promise<boolean>} */
function canBind(port) {
  return new Promise((done) => {
    const probe = createServer();
    probe.once("error", () => done(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => done(true)));
  });
}

/**
 * The first of `count` consecutive free ports, below the range from which the system takes its own.
 * @param {number} [count] @returns {Promise<number>}
 */
export async function freePorts(count = 1) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const first = 10_000 + Math.floor(Math.random() * (22_000 - count));
    let free = true;
    for (let port = first; free && port < first + count; port++) free = await canBind(port);
    if (free) return first;
  }
  throw new Error(`no ${count} consecutive free ports found in 200 attempts`);
}

/** @param {number} port @returns {Promise<boolean>} */
function accepts(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

/** Tries again on other ports if somebody took them between the probe and the start. @template T @param {() => Promise<T>} start */
export async function retryTakenPort(start) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (/** @type {any} */ error) {
      if (attempt === 5 || !/in use|EADDRINUSE/i.test(error.message)) throw error;
    }
  }
}

/** Waits for a started process; one that ends before, or is not ready in time, is an error with its output. @param {Server} server @param {() => Promise<boolean>} ready @param {string} what */
export async function waitReady(server, ready, what) {
  try {
    await until(
      async () => {
        if (server.exit) return true;
        return (await ready()) && !server.exit;
      },
      START_DEADLINE,
      what,
    );
  } catch (/** @type {any} */ error) {
    await server.kill();
    throw new Error(`${error.message}; output:\n${server.tail()}`);
  }
  if (server.exit) throw new Error(`${what}: process ended with ${JSON.stringify(server.exit)}; output:\n${server.tail()}`);
}

/**
 * A protocol fixture on a free port: ours, or the reference with TARGET=reference.
 * @param {"protocol_v4" | "protocol_v5"} name
 * @param {{env?: Record<string, string>}} [options]
 * @returns {Promise<Listening>}
 */
export function startFixture(name, { env = {} } = {}) {
  if (againstReference) return startReference(name, { env });
  const file = binary(name);
  return startOnPorts(file, [], { name, env });
}

/**
 * The Node reference (see reference.mjs), whatever TARGET says.
 * @param {string} name
 * @param {{env?: Record<string, string>}} [options]
 * @returns {Promise<Listening>}
 */
export function startReference(name, { env = {} } = {}) {
  return startOnPorts(process.execPath, [REFERENCE, name], { name: `reference ${name}`, env });
}

/**
 * Any program that takes `PORT` (and `NODES`, node i on PORT + i) from its environment.
 * @param {string} command
 * @param {string[]} args
 * @param {{name: string, nodes?: number, env?: Record<string, string>}} options
 * @returns {Promise<Listening>}
 */
export function startOnPorts(command, args, { name, nodes = 1, env = {} }) {
  return retryTakenPort(async () => {
    const port = await freePorts(nodes);
    const server = new Listening(command, args, { PORT: String(port), NODES: String(nodes), ...env });
    server.port = port;
    server.urls = Array.from({ length: nodes }, (_, node) => `http://127.0.0.1:${port + node}`);
    const ports = server.urls.map((_, node) => port + node);
    const ready = async () => (await Promise.all(ports.map(accepts))).every(Boolean);
    await waitReady(server, ready, `${name} listens on ${server.urls.join(", ")}`);
    return server;
  });
}

/**
 * The chat server. Ready means: /readyz answers 200 on every node and on the admin listener, or /livez with `awaits: "life"`.
 * @param {{
 *   nodes?: number,
 *   config?: object | string,
 *   dataDir?: string,
 *   port?: number,
 *   args?: string[],
 *   env?: Record<string, string>,
 *   awaits?: "readiness" | "life",
 *   program?: "server" | "next_release",
 * }} [options] `config`: an object is written as JSON, which is YAML; a string as it is.
 *   `dataDir`: kept at the end if given (to start again on the same data), otherwise a temporary folder removed by stop() and kill().
 *   `port`: to start again on the same port (the nodes take the next ones).
 * @returns {Promise<Chat>}
 */
export function startChat({ nodes = 1, config, dataDir, port, args = [], env = {}, awaits = "readiness", program = "server" } = {}) {
  const [file, ...before] = againstReference ? [process.execPath, REFERENCE, "chat"] : [binary(program)];
  return retryTakenPort(async () => {
    const first = port ?? (await freePorts(nodes));
    const admin = await freePorts();
    const temporary = mkdtempSync(join(tmpdir(), "chatcluster-"));
    const data = dataDir ?? join(temporary, "data");
    const line = ["--listen", `127.0.0.1:${first}`, "--admin-listen", `127.0.0.1:${admin}`, "--nodes", String(nodes), "--data-dir", data];
    if (config !== undefined) {
      const path = join(temporary, "config.yaml");
      writeFileSync(path, typeof config === "string" ? config : JSON.stringify(config));
      line.push("--config", path);
    }
    const chat = new Chat(file, [...before, ...line, ...args], env);
    chat.port = first;
    chat.urls = Array.from({ length: nodes }, (_, node) => `http://127.0.0.1:${first + node}`);
    chat.adminUrl = `http://127.0.0.1:${admin}`;
    chat.dataDir = data;
    chat.gone.then(() => rmSync(temporary, { recursive: true, force: true }));
    const [path, state] = awaits === "life" ? ["/livez", "alive"] : ["/readyz", "ready"];
    await waitReady(chat, () => allAnswer([...chat.urls, chat.adminUrl], path), `chat server is ${state} on ${chat.urls.join(", ")}`);
    return chat;
  });
}

/** `chatcluster-server drain`, run against a chat server, or against whatever has that address. @param {string} adminUrl */
export function drainCommand(adminUrl) {
  return new Server(binary("server"), ["drain", "--admin", new URL(adminUrl).host], {});
}

/** @param {string[]} urls @param {string} path */
async function allAnswer(urls, path) {
  for (const url of urls) {
    const answer = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(PROBE_DEADLINE) }).catch(() => undefined);
    if (answer?.status !== 200) return false;
  }
  return true;
}
