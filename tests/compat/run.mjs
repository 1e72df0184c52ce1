// Runs the suites file by file, one summary line each. Usage: npm test [-- NAME...]; NAME is part of a path, such as faults/ or order.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = dirname(fileURLToPath(import.meta.url));
const SUITES = ["protocol", "client", "chat", "examples", "python", "browser", "faults", "nats"];
const FILE_DEADLINE = Number(process.env.COMPAT_FILE_SECONDS ?? 600) * 1000;

const names = process.argv.slice(2);
const files = SUITES.flatMap((suite) =>
  readdirSync(join(FOLDER, suite), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.mjs"))
    .map((entry) => `${suite}/${entry.name}`)
    .sort(),
).filter((file) => names.length === 0 || names.some((name) => file.includes(name)));

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    for (const child of running) child.kill("SIGTERM");
    process.exit(1);
  });
}

/** Runs one file and returns what its reporter says. */
function run(file) {
  const start = Date.now();
  return new Promise((done) => {
    const child = spawn(process.execPath, ["--test", "--test-reporter=spec", file], { cwd: FOLDER, stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    let output = "";
    const keep = (chunk) => void (output += chunk);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += `\nnot finished within ${FILE_DEADLINE / 1000} s`;
      child.kill("SIGKILL");
    }, FILE_DEADLINE);
    child.on("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      const count = (what) => Number(new RegExp(`^ℹ ${what} (\\d+)`, "m").exec(output)?.[1] ?? 0);
      done({ file, output, ok: code === 0 && count("pass") > 0, pass: count("pass"), fail: count("fail"), skipped: count("skipped"), todo: count("todo"), seconds: (Date.now() - start) / 1000 });
    });
  });
}

const line = ({ ok, file, pass, fail, skipped, todo, seconds }) =>
  `${ok ? "ok  " : "FAIL"} ${file.padEnd(34)} ${`${pass}`.padStart(4)} passed${fail ? `, ${fail} failed` : ""}${skipped ? `, ${skipped} skipped` : ""}${todo ? `, ${todo} todo` : ""}  ${seconds.toFixed(1)} s`;

/** The part of the reporter's output that says what failed. */
function failures(output) {
  const at = output.indexOf("✖ failing tests:");
  // a failed hook cancels its tests one by one: the hook's own error, further down, is what counts
  const cancelled = /\ntest at [^\n]*\n✖ [^\n]*\n {2}'test did not finish before its parent and was cancelled'\n/g;
  return (at >= 0 ? output.slice(at) : output).replace(cancelled, "").trimEnd();
}

if (files.length === 0) {
  console.error(`no test file matches ${names.join(", ")}`);
  process.exit(1);
}
const start = Date.now();
const results = [];
for (const [i, file] of files.entries()) {
  if (process.stdout.isTTY) process.stdout.write(`[${i + 1}/${files.length}] ${file} ...\r`);
  const result = await run(file);
  results.push(result);
  console.log(line(result));
  const notes = result.output.match(/^ *ℹ .*$/gm)?.filter((note) => !/^ℹ/.test(note)) ?? [];
  for (const note of notes.slice(0, 40)) console.log(`     ${note.trim()}`);
  if (!result.ok) console.log(failures(result.output));
}
const failed = results.filter(({ ok }) => !ok);
const total = (of) => results.reduce((sum, result) => sum + of(result), 0);
console.log(`\n${results.length - failed.length} of ${results.length} files passed, ${total(({ pass }) => pass)} tests passed, ${total(({ fail }) => fail)} failed, ${((Date.now() - start) / 1000).toFixed(0)} s`);
for (const { file } of failed) console.log(`FAIL ${file}`);
process.exit(failed.length > 0 ? 1 : 0);
