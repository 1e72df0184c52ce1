// docs/e2e.md: a whole run, as it was.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";

const HEAD = readFileSync(new URL("./report-head.md", import.meta.url), "utf8");

/** @param {unknown} value */
const shown = (value) => (Array.isArray(value) ? value.join(" / ") : typeof value === "number" ? `${Math.round(value * 10) / 10}` : `${value}`);

/**
 * Writes it.
 * @param {string} file
 * @param {import("./table.mjs").Table} table
 * @param {{platform: string, kubernetes: string, clients: string, rate: number, profile: string, seconds: number}} run
 */
export function write(file, { rows }, { platform, kubernetes, clients, rate, profile, seconds }) {
  const machine = `${cpus().length} processors (${cpus()[0].model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GiB, nodes, proxy and all clients on it`;
  const lines = rows.map(({ name, outcome, seconds: each, figures }) => {
    const said = Object.entries(figures).map(([key, value]) => `${key}: ${shown(value)}`);
    return `| ${name.replaceAll("|", "/")} | ${outcome} | ${each.toFixed(0)} | ${said.join("; ")} |`;
  });
  writeFileSync(file, `${HEAD}
## The run
${new Date().toISOString().slice(0, 10)}, Kubernetes ${kubernetes} (${platform === "kind" ? "kind" : "three nodes without Docker"}), ${clients} clients, ${rate} messages a second, programs of the profile ${profile}; ${machine}. ${rows.filter(({ outcome }) => outcome === "passed").length} of ${rows.length} cases passed, in ${seconds.toFixed(0)} s.

| case | outcome | s | figures |
| --- | --- | --- | --- |
${lines.join("\n")}
`);
}
