// `make faults`: the suites of this folder, larger and longer than in `make test`, and their figures in one table.
// Usage: node nats/long.mjs [NAME...]; NAME is part of a file's name.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { COLUMNS } from "./table.mjs";

const LARGER = { NATS_LONG: "1", NATS_CLIENTS: "2000", NATS_SERVERS: "3", NATS_RATE: "20", COMPAT_FILE_SECONDS: "3600" };
/** Files whose cases have no longer form are in `make test` alone. */
const FILES = ["faults", "upgrade", "broker", "partition", "three", "storm", "last", "log-lost", "sessions", "slow"];

const folder = mkdtempSync(join(tmpdir(), "chatcluster-table-"));
const table = join(folder, "rows");
const names = process.argv.slice(2);
const files = FILES.map((name) => `nats/${name}.test`).filter((file) => names.length === 0 || names.some((name) => file.includes(name)));
const runner = join(dirname(fileURLToPath(import.meta.url)), "..", "run.mjs");
const start = Date.now();
const rows = [];
/** Takes what has been added to the table, and says that those cases have been measured. */
function read() {
  const lines = existsSync(table) ? readFileSync(table, "utf8").split("\n").slice(rows.length, -1) : [];
  for (const line of lines) {
    rows.push(JSON.parse(line));
    console.log(`     ${((Date.now() - start) / 1000).toFixed(0)} s: ${rows.at(-1).case}`);
  }
}

const child = spawn(process.execPath, [runner, ...files], { stdio: "inherit", env: { ...LARGER, ...process.env, NATS_TABLE: table } });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill("SIGTERM"));
const progress = setInterval(read, 1_000);
const status = await new Promise((done) => child.on("close", done));
clearInterval(progress);
read();
rmSync(folder, { recursive: true });

const cells = rows.map((row) => COLUMNS.map((column) => `${row[column] ?? "-"}`));
const widths = COLUMNS.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i].length)));
const line = (row) => row.map((cell, i) => cell.padStart(widths[i])).join("  ");
console.log(`\n${line(COLUMNS)}  case`);
for (const [i, row] of cells.entries()) console.log(`${line(row)}  ${rows[i].case}`);
process.exit(status ?? 1);
