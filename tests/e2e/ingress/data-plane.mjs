// An ingress controller reduced to its data plane: the real proxy, configured from the Ingress, the Service and its endpoints
// as they are on the API server, and told of every change. It answers for the Ingress as controllers do, with an address.
import { spawn } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../compat/support/wait.mjs";
import { Endpoints } from "../support/endpoints.mjs";
import { kubectl, watch } from "../support/kubectl.mjs";
import { haproxy } from "./haproxy.mjs";
import { nginx } from "./nginx.mjs";

/** Which proxy reads what is written for which `spec.ingress.controller`. */
const PROXIES = { HAProxyTech: haproxy, Nginx: nginx };
/** What the Ingress is for: a name that needs no DNS. */
export const HOST = "localhost";
const STARTED = 20_000;
/** Milliseconds that changes are gathered for, and between two reloads: one that falls into another one leaves nobody who listens. */
const GATHER = 50;
const PAUSE = 1_000;

/**
 * @typedef {object} Route what a proxy is configured from
 * @property {string} host
 * @property {Record<string, string>} ingress annotations
 * @property {Record<string, string>} service annotations
 */
/**
 * @typedef {object} Proxy
 * @property {(route: Route, servers: {name: string, address: string}[], place: {port: number, folder: string}) => {text: string, frame?: string}} render
 *   its configuration, for these pods, and the part of it for which it must be reloaded; throws on an annotation that it does not document
 * @property {(place: {folder: string}) => Promise<void>} [exchange] tells the running proxy of the servers that were rendered; without it, it is reloaded
 * @property {(file: string, folder: string) => [string, string[]]} command
 * @property {NodeJS.Signals} reload
 */

export class DataPlane {
  namespace = undefined;
  output = "";
  /** How often it read its file again, and how often it was told of other servers instead. */
  reloads = 0;
  exchanges = 0;
  #parts = {};
  #endpoints;
  #file;
  #text = "";
  #frame = "";
  /** What nobody would notice otherwise: an annotation that is not documented, a proxy that has ended. @type {Error | undefined} */
  problem;
  #stops = [];
  #timer;
  #isBehind = false;
  #isClosed = false;
  /** When the proxy read its file last. */
  #loaded = 0;
  #child;

  /** Starts the proxy for the Ingress of a ChatCluster, once that is there. @param {import("../support/chat-cluster.mjs").ChatCluster} cluster @param {keyof PROXIES} controller */
  static async start(cluster, controller) {
    const plane = new DataPlane(cluster, PROXIES[controller](), await freePort());
    try {
      await until(() => plane.problem || plane.#child, STARTED, "the Ingress and its endpoints are there");
      await until(() => plane.problem || fetch(plane.url).then(Boolean), STARTED, () => `the proxy answers; it says ${plane.output}`);
      if (plane.problem) throw plane.problem;
    } catch (error) {
      plane.close();
      throw error;
    }
    return plane;
  }

  constructor({ name, namespace }, proxy, port) {
    this.name = name;
    this.of = namespace;
    this.proxy = proxy;
    this.port = port;
    this.url = `http://${HOST}:${port}`;
    this.folder = mkdtempSync(join(tmpdir(), "chatcluster-ingress-"));
    this.#file = join(this.folder, "proxy.conf");
    const one = (kind) => ["-n", namespace, kind, "--field-selector", `metadata.name=${name}`];
    const take = (part) => (object) => {
      this.#parts[part] = object;
      this.#changed();
    };
    this.#endpoints = new Endpoints(namespace, name, () => this.#changed());
    this.#stops = [watch(one("ingresses"), take("ingress")), watch(one("services"), take("service")), () => this.#endpoints.close()];
  }

  /** Changes come in swarms; controllers gather them. */
  #changed() {
    if (this.#isClosed) return;
    this.#isBehind = true;
    this.#timer ??= setTimeout(() => this.#catchUp(), Math.max(GATHER, this.#loaded + PAUSE - Date.now()));
  }

  async #catchUp() {
    this.#isBehind = false;
    await this.#render().catch((error) => this.#failed(error));
    this.#timer = undefined;
    if (this.#isBehind) this.#changed();
  }

  async #render() {
    const { ingress, service } = this.#parts;
    if (!ingress || !service || !this.#endpoints.isKnown) return;
    const route = { host: ingress.spec.rules[0].host, ingress: ingress.metadata.annotations ?? {}, service: service.metadata.annotations ?? {} };
    const proxy = this.proxy.render(route, this.#endpoints.ready, this);
    if (proxy.text === this.#text) return;
    const isFrameNew = proxy.frame !== this.#frame;
    this.#text = proxy.text;
    this.#frame = proxy.frame;
    this.#write();
    if (!this.#child) return this.#begin();
    if (!isFrameNew && (await this.#exchanged())) return;
    this.reloads++;
    this.#loaded = Date.now();
    this.#child.kill(this.proxy.reload);
  }

  #write() {
    writeFileSync(`${this.#file}.new`, this.#text);
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** Whether the running proxy has taken the servers; as controllers do, it is reloaded if not. */
  async #exchanged() {
    if (!this.proxy.exchange) return false;
    try {
      await this.proxy.exchange(this);
      this.exchanges++;
      return true;
    } catch (error) {
      this.output += `${error.message}\n`;
      return false;
    }
  }

  #begin() {
    const [program, args] = this.proxy.command(this.#file, this.folder);
    this.#loaded = Date.now();
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    const keep = (chunk) => void (this.output = `${this.output}${chunk}`.slice(-20_000));
    this.#child.stdout.on("data", keep);
    this.#child.stderr.on("data", keep);
    this.#child.on("error", (error) => this.#failed(error));
    this.#child.on("exit", (code, signal) => this.#isClosed || this.#failed(new Error(`the proxy has ended: ${code ?? signal}`)));
    const status = { status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } };
    kubectl(["patch", "-n", this.of, "ingress", this.name, "--subresource=status", "--type=merge", "-p", JSON.stringify(status)]).catch((error) => this.#failed(error));
  }

  #failed(error) {
    this.problem ??= error;
    this.output += `${error.message}\n`;
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const stop of this.#stops) stop();
    // the master and all workers, of before its reloads too
    if (this.#child?.pid && this.#child.exitCode === null) process.kill(-this.#child.pid, "SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function freePort() {
  return new Promise((done) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      server.close(() => done(port));
    });
  });
}
