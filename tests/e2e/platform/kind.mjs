// kind, where Docker runs: the nodes of kind.yaml in containers.
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const NAME = "chatcluster-e2e";
const IMAGES = join(ROOT, process.env.E2E_IMAGES ?? ".tools/images/release");
const SERVER = "registry.local/chatcluster-server";
const KUBECONFIG = join(ROOT, ".tools/kind.kubeconfig");

export const environment = { KUBECONFIG };

const kind = (...args) => execFileSync("kind", [...args, "--name", NAME], { stdio: ["ignore", "inherit", "inherit"], timeout: 600_000 });
const nodes = () => execFileSync("kind", ["get", "nodes", "--name", NAME], { encoding: "utf8" }).trim().split("\n");

/** @param {boolean} isKept whether one that is up is taken */
export function up(isKept) {
  const isThere = execFileSync("kind", ["get", "clusters"], { encoding: "utf8" }).split("\n").includes(NAME);
  if (!isThere) kind("create", "cluster", "--config", join(ROOT, "tests/e2e/platform/kind.yaml"), "--kubeconfig", KUBECONFIG, "--wait", "180s");
  else if (!isKept) throw new Error(`a kind cluster ${NAME} is there: kind delete cluster --name ${NAME}`);
  routeToPods();
}

/** The proxy runs on this machine and reaches pods by their addresses, as an ingress controller does. */
function routeToPods() {
  const text = execFileSync("kubectl", ["get", "nodes", "-o", "json"], { encoding: "utf8", env: { ...process.env, KUBECONFIG } });
  for (const { spec, status } of JSON.parse(text).items) {
    const { address } = status.addresses.find(({ type }) => type === "InternalIP");
    const route = ["ip", "route", "replace", spec.podCIDR, "via", address];
    const [program, ...args] = process.getuid?.() === 0 ? route : ["sudo", "-n", ...route];
    execFileSync(program, args, { stdio: "inherit" });
  }
}

export function load() {
  for (const name of readdirSync(IMAGES).filter((file) => file.endsWith(".tar"))) kind("load", "image-archive", join(IMAGES, name));
  for (const node of nodes()) execFileSync("docker", ["exec", node, "ctr", "-n", "k8s.io", "images", "tag", "--force", `${SERVER}:1`, `${SERVER}:2`]);
}

export function down() {
  spawnSync("kind", ["delete", "cluster", "--name", NAME], { stdio: "inherit" });
}
