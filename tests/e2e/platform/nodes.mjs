// Three nodes without Docker: tests/cluster.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const SCRIPT = join(ROOT, "tests/cluster/cluster.sh");
const HOME = process.env.CLUSTER_HOME ?? join(ROOT, ".tools/kubernetes");
const KUBECONFIG = join(HOME, "run/admin.kubeconfig");
const IMAGES = join(ROOT, process.env.E2E_IMAGES ?? ".tools/images/release");
const NODES = 3;
/** What a rollout goes to is the same program. */
const SERVER = "registry.local/chatcluster-server";

export const environment = { KUBECONFIG, PATH: `${join(HOME, "bin")}:${process.env.PATH}` };

const script = (...args) => execFileSync(SCRIPT, args, { stdio: ["ignore", "inherit", "inherit"], timeout: 180_000 });

/** @param {boolean} isKept whether one that is up is taken */
export function up(isKept) {
  if (isKept && existsSync(KUBECONFIG)) return;
  script("up", `${NODES}`);
}

export function load() {
  const archives = readdirSync(IMAGES).filter((name) => name.endsWith(".tar")).map((name) => join(IMAGES, name));
  script("load", ...archives);
  for (let i = 1; i <= NODES; i++) script("in", `${i}`, "ctr", "-n", "k8s.io", "images", "tag", "--force", `${SERVER}:1`, `${SERVER}:2`);
}

/** Ends it, also from a handler of `exit`. */
export function down() {
  spawnSync(SCRIPT, ["down"], { stdio: "inherit", timeout: 60_000 });
}
