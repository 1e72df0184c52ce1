// Every rule of ChatCluster, both ways, judged by the API server. The table is the one that the unit tests have, who hold it to
// be whole; nothing is made but what is to be changed.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { apply, kubectl } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";

const { parse } = createRequire(new URL("../../compat/package.json", import.meta.url))("yaml");
const TABLE = parse(readFileSync(new URL("../../../crates/chat-api/src/cluster/tests/rules.yaml", import.meta.url), "utf8"));
const NAMESPACE = "e2e-rules";
/** How many are asked at once. */
const AT_ONCE = 4;
/** Nobody acts on what is made. */
const IDLE = { reconciliation: "Paused", state: "Suspended" };

/** Fields laid over others, as the unit tests do. */
function lay(under, over) {
  if (typeof over !== "object" || over === null || Array.isArray(over) || typeof under !== "object" || Array.isArray(under)) return over;
  const all = { ...under };
  for (const [name, value] of Object.entries(over)) all[name] = lay(under[name], value);
  return all;
}

function object({ nats = "External" }, name, spec) {
  const base = nats === "External" ? { nats: { mode: "External", urls: ["nats://nats:4222"] } } : {};
  return { apiVersion: "chatcluster.dev/v1alpha1", kind: "ChatCluster", metadata: { name, namespace: NAMESPACE }, spec: { ...IDLE, ...lay(base, spec) } };
}

/** What the API server says to an object, or to its change from another one; nothing if it takes it. */
async function said(one, before) {
  const send = (args, thing) => kubectl([...args, "-f", "-"], { input: JSON.stringify(thing) });
  if (before) await send(["create"], before);
  try {
    for (;;) {
      const answer = await send(before ? ["replace", "--dry-run=server"] : ["create", "--dry-run=server"], one).then(() => "", (error) => error.message);
      // the operator writes a status meanwhile
      if (!answer.includes("the object has been modified")) return answer;
    }
  } finally {
    if (before) await kubectl(["delete", "-n", NAMESPACE, "chatcluster", one.metadata.name]);
  }
}

/** Every case of every rule: what is judged, what it was before, and whether the rule refuses it. */
function* cases() {
  let number = 0;
  for (const rule of TABLE) {
    for (const [key, isRefused] of /** @type {const} */ ([["accepts", false], ["refuses", true]])) {
      const name = () => `case-${++number}`;
      for (const spec of rule[key] ?? []) yield { rule, isRefused, one: object(rule, name(), spec) };
      for (const named of rule.names?.[key] ?? []) yield { rule, isRefused, one: object(rule, named, {}) };
      for (const [old, spec] of rule.changes?.[key] ?? []) {
        const same = name();
        yield { rule, isRefused, one: object(rule, same, spec), before: object(rule, same, old) };
      }
    }
  }
}

scenario("every rule of ChatCluster refuses what it is about, with its sentence, and nothing else", 240, async (t, open) => {
  await apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } }]);
  open({ namespace: NAMESPACE, close: () => kubectl(["delete", "namespace", NAMESPACE, "--timeout=60s"], { deadline: 65_000 }) });
  const left = cases();
  let judged = 0;
  const judge = async () => {
    for (const { rule, isRefused, one, before } of left) {
      const answer = await said(one, before);
      assert.equal(answer.includes(rule.says), isRefused, `${rule.says}: ${JSON.stringify(one)}: ${answer || "accepted"}`);
      assert.equal(answer !== "", isRefused, `${rule.says}: ${JSON.stringify(one)}: ${answer}`);
      const others = TABLE.filter((other) => other !== rule && !rule.beside?.includes(other.says));
      assert.deepEqual(others.filter(({ says }) => answer.includes(says)), [], `${rule.says}: ${JSON.stringify(one)}: ${answer}`);
      judged++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, judge));
  t.diagnostic(`${judged} cases of ${TABLE.length} rules`);
});
