// Starts the features server of features.md: ours (CHATCLUSTER_FEATURES, default target/debug/examples/features),
// or reference.mjs with TARGET=reference.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { againstReference, startOnPorts } from "../support/servers.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const REFERENCE = fileURLToPath(new URL("./reference.mjs", import.meta.url));

function command() {
  if (againstReference) return [process.execPath, [REFERENCE]];
  const variable = process.env.CHATCLUSTER_FEATURES;
  const file = variable ? resolve(variable) : join(ROOT, "target/debug/examples/features");
  if (existsSync(file)) return [file, []];
  throw new Error(`${file} does not exist; run: cargo build -p chatcluster-socketio --example features (or set CHATCLUSTER_FEATURES)`);
}

/** @param {{nodes?: number, recovery?: boolean, env?: Record<string, string>}} [options] */
export async function startFeatures({ nodes = 1, recovery = false, env = {} } = {}) {
  const [program, args] = command();
  return startOnPorts(program, args, { name: "features", nodes, env: { RECOVERY: recovery ? "1" : "0", ...env } });
}
