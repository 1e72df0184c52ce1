// Starts the features server of features.md: ours (CHATCLUSTER_FEATURES, default target/debug/examples/features),
// or reference.mjs with TARGET=reference.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { againstReference, freePorts, Listening } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const REFERENCE = fileURLToPath(new URL("./reference.mjs", import.meta.url));

function command() {
  if (againstReference) return [process.execPath, [REFERENCE]];
  const variable = process.env.CHATCLUSTER_FEATURES;
  const file = variable ? resolve(variable) : join(ROOT, "target/debug/examples/features");
  if (existsSync(file)) return [file, []];
  throw new Error(`${file} does not exist; run: cargo build -p chatcluster-socketio --example features (or set CHATCLUSTER_FEATURES)`);
}

/** The features server; `urls` has one entry per node. */
export class Features extends Listening {
  /** @type {string[]} */
  urls = [];
}

/**
 * @param {{nodes?: number, recovery?: boolean, env?: Record<string, string>}} [options]
 * @returns {Promise<Features>}
 */
export async function startFeatures({ nodes = 1, recovery = false, env = {} } = {}) {
  const [program, args] = command();
  const port = await freePorts(nodes);
  const server = new Features(program, args, { PORT: `${port}`, NODES: `${nodes}`, RECOVERY: recovery ? "1" : "", ...env });
  server.port = port;
  server.urls = Array.from({ length: nodes }, (_, node) => `http://127.0.0.1:${port + node}`);
  await until(() => server.exit || /^READY/m.test(server.output), 20_000, () => `features server prints READY; output: ${server.tail()}`);
  if (server.exit) throw new Error(`features server ended at start: ${server.tail()}`);
  return server;
}
