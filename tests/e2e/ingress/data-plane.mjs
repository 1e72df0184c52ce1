// An ingress controller reduced to its data plane: the real proxy, configured from the Ingress, the Service and its endpoints
// as they are on the API server, and told of every change. It answers for the Ingress as controllers do, with an address.
import { spawn } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../compat/support/wait.mjs";
import { kubectl, watch } from "../support/kubectl.mjs";
import { haproxy } from "./haproxy.mjs";
import { nginx } from "./nginx.mjs";

/** Which proxy reads what is written for which `spec.ingress.controller`. */
const PROXIES = { HAProxyTech: haproxy, Nginx: nginx };
/** What the Ingress is for: a name that needs no DNS. */
export const HOST = "localhost";
const STARTED = 20_000;
/** Milliseconds that changes are gathered for, and between two reloads: one that falls into another one leaves nobody who listens. */
const GATHER = 100;
const PAUSE = 1_000;

/**
 * @typedef {object} Route what a proxy is configured from
 * @property {string} host
 * @property {Record<string, string>} ingress annotations
 * @property {Record<string, string>} service annotations
 * @property {{name: string, address: string}[]} servers pods that take clients
 */
/**
 * @typedef {object} Proxy
 * @property {(route: Route, place: {port: number, folder: string}) => string} render its configuration; throws on an annotation that it does not document
 * @property {(file: string, folder: string) => [string, string[]]} command
 * @property {NodeJS.Signals} reload
 */

export class DataPlane {
  namespace = undefined;
  output = "";
  /** How often it was told of something new. */
  reloads = 0;
  #parts = {};
  #slices = new Map();
  #written = "";
  #problem;
  #stops = [];
  #timer;
  #told = 0;

  /** Starts the proxy for the Ingress of a ChatCluster, once that is there. @param {import("../support/chat-cluster.mjs").ChatCluster} cluster @param {keyof PROXIES} controller */
  static async start(cluster, controller) {
    const plane = new DataPlane(cluster, PROXIES[controller], await freePort());
    try {
      await until(() => plane.#problem || plane.#child, STARTED, "the Ingress and its endpoints are there");
      await until(() => plane.#problem || fetch(plane.url).then(Boolean), STARTED, () => `the proxy answers; it says ${plane.output}`);
      if (plane.#problem) throw plane.#problem;
    } catch (error) {
      plane.close();
      throw error;
    }
    return plane;
  }

  #child;

  constructor({ name, namespace }, proxy, port) {
    this.name = name;
    this.of = namespace;
    this.proxy = proxy;
    this.port = port;
    this.url = `http://${HOST}:${port}`;
    this.folder = mkdtempSync(join(tmpdir(), "chatcluster-ingress-"));
    const one = (kind) => ["-n", namespace, kind, "--field-selector", `metadata.name=${name}`];
    const take = (part) => (object) => {
      this.#parts[part] = object;
      this.#changed();
    };
    this.#stops = [
      watch(one("ingresses"), take("ingress")),
      watch(one("services"), take("service")),
      watch(
        ["-n", namespace, "endpointslices", "-l", `kubernetes.io/service-name=${name}`],
        (slice) => this.#slice(slice.metadata.name, slice),
        (slice) => this.#slice(slice.metadata.name, undefined),
      ),
    ];
  }

  #slice(name, slice) {
    if (slice) this.#slices.set(name, slice);
    else this.#slices.delete(name);
    this.#changed();
  }

  /** Pods of the Service that are ready, as an ingress controller takes them. */
  get servers() {
    return [...this.#slices.values()]
      .flatMap(({ endpoints, ports }) =>
        (endpoints ?? [])
          .filter(({ conditions }) => conditions.ready)
          .map(({ addresses, targetRef }) => ({ name: targetRef.name, address: `${addresses[0]}:${ports[0].port}` })))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  /** Changes come in swarms; controllers gather them, and reload no faster than that. */
  #changed() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#render();
    }, Math.max(GATHER, this.#told + PAUSE - Date.now()));
  }

  #render() {
    const { ingress, service } = this.#parts;
    if (!ingress || !service || this.#slices.size === 0) return;
    try {
      const route = { host: ingress.spec.rules[0].host, ingress: ingress.metadata.annotations ?? {}, service: service.metadata.annotations ?? {}, servers: this.servers };
      const text = this.proxy.render(route, this);
      if (text === this.#written) return;
      this.#written = text;
      this.#told = Date.now();
      this.#tell(text);
    } catch (error) {
      this.#problem = error;
    }
  }

  #tell(text) {
    const file = join(this.folder, "proxy.conf");
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    if (this.#child) {
      this.reloads++;
      this.#child.kill(this.proxy.reload);
      return;
    }
    const [program, args] = this.proxy.command(file, this.folder);
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    const keep = (chunk) => void (this.output = `${this.output}${chunk}`.slice(-20_000));
    this.#child.stdout.on("data", keep);
    this.#child.stderr.on("data", keep);
    this.#child.on("error", (error) => void (this.#problem = error));
    const status = { status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } };
    kubectl(["patch", "-n", this.of, "ingress", this.name, "--subresource=status", "--type=merge", "-p", JSON.stringify(status)]).catch((error) => void (this.#problem = error));
  }

  close() {
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
