// Licences and sources of every Rust dependency, by the lists in deny.toml, in a second and without a tool to compile.
// cargo-deny (`make deny`) reads the same file and adds the advisories; it takes minutes to build, so it is not part of `make check`.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const deny = readFileSync(new URL("../deny.toml", import.meta.url), "utf8");

/** The strings of the one-level array `key` in deny.toml. */
function list(key) {
  const body = deny.match(new RegExp(`^${key}\\s*=\\s*\\[([^\\]]*)\\]`, "m"));
  if (!body) throw new Error(`deny.toml has no list ${key}`);
  return [...body[1].matchAll(/"([^"]+)"/g)].map((match) => match[1]);
}

const allowedLicences = new Set(list("allow"));
const allowedSources = new Set(list("allow-registry").map((url) => `registry+${url}`));

/** Whether an SPDX expression can be satisfied with the allowed licences: OR of ANDs, parentheses, WITH. */
function satisfied(expression) {
  const tokens = expression.replaceAll("/", " OR ").match(/\(|\)|[^\s()]+/g) ?? [];
  let at = 0;
  const alternatives = () => {
    let value = conjunction();
    while (tokens[at] === "OR") {
      at += 1;
      const right = conjunction();
      value ||= right;
    }
    return value;
  };
  const conjunction = () => {
    let value = licence();
    while (tokens[at] === "AND") {
      at += 1;
      const right = licence();
      value &&= right;
    }
    return value;
  };
  const licence = () => {
    if (tokens[at] === "(") {
      at += 1;
      const value = alternatives();
      at += 1;
      return value;
    }
    let name = tokens[at++];
    if (tokens[at] === "WITH") {
      name += ` WITH ${tokens[at + 1]}`;
      at += 2;
    }
    return allowedLicences.has(name);
  };
  const value = alternatives();
  if (at !== tokens.length) throw new Error(`cannot read the licence expression "${expression}"`);
  return value;
}

const metadata = JSON.parse(
  execFileSync("cargo", ["metadata", "--format-version", "1", "--all-features", ...process.argv.slice(2)], {
    maxBuffer: 1 << 28,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  }),
);

const problems = [];
const versions = new Map();
for (const { name, version, license, source } of metadata.packages) {
  versions.set(name, [...(versions.get(name) ?? []), version]);
  if (source === null) continue; // our own crates
  if (!allowedSources.has(source)) problems.push(`${name} ${version}: source ${source} is not allowed`);
  if (!license) problems.push(`${name} ${version}: no licence expression`);
  else if (!satisfied(license)) problems.push(`${name} ${version}: licence "${license}" is not allowed`);
}

const doubled = [...versions].filter(([, found]) => found.length > 1);
console.log(`${metadata.packages.length} packages; in several versions: ${doubled.map(([name, found]) => `${name} (${found.join(", ")})`).join(", ") || "none"}`);
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
