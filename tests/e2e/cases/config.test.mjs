// What servers take over while they run rolls no pod; what they cannot does.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { People } from "../../compat/chat/people.mjs";
import { until } from "../../compat/support/wait.mjs";
import { untruths } from "../support/chat-cluster.mjs";
import { apply } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

/** A token of HS256 for somebody. @param {string} key @param {string} sub */
function token(key, sub) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 600 })}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

const OLD = "the-key-before-the-rotation-of-keys";
const NEW = "the-key-after-the-rotation-of-keys-";

scenario("another log level and another key reach running pods: no pod is replaced, no connection ends", 480, async (_, open) => {
  const secret = (namespace, key) => apply([{ apiVersion: "v1", kind: "Secret", metadata: { name: "keys", namespace }, stringData: { key } }]);
  const { cluster, plane } = await serve(open, "config", { replicas: 2, auth: { type: "Jwt", jwt: { keySecretRef: { name: "keys", key: "key" } } } }, { before: (namespace) => secret(namespace, OLD) });
  const people = open(new People({ withCredentials: true }));
  const ends = [];
  const alice = await people.enter(plane.url, { token: token(OLD, "alice") });
  alice.socket.on("disconnect", (reason) => ends.push(reason));
  const uids = async () => (await cluster.pods()).map(({ metadata, status }) => `${metadata.uid} ${status.containerStatuses[0].restartCount}`).sort();
  const before = await uids();

  await cluster.change({ server: { logLevel: "Debug" } });
  await until(async () => (await cluster.read()).status.conditions.some(({ reason }) => reason === "ConfigLoading"), 30_000, "it says that pods have not read it yet");
  await cluster.is("Ready", "True", undefined, 150_000);
  assert.deepEqual(await uids(), before, "no pod was replaced");

  await secret(cluster.namespace, NEW);
  const bob = () => people.enter(plane.url, { token: token(NEW, "bob") });
  await until(() => bob().then(() => true), 150_000, "the new key is accepted");
  // each kubelet brings it in its own time
  const isRefused = () => people.enter(plane.url, { token: token(OLD, "carol") }).then(() => false, () => true);
  for (let refused = 0; refused < 4; ) refused = await until(isRefused, 150_000, "the old one is not").then(() => refused + 1);
  assert.deepEqual(await uids(), before, "no pod was replaced");
  assert.deepEqual(ends, [], "who was there stays");

  await cluster.change({ server: { logLevel: "Debug", pingIntervalMilliseconds: 20_000 } });
  await until(async () => (await uids()).every((uid) => !before.includes(uid)), 150_000, "what cannot be taken over rolls the pods");
  await cluster.is("Ready", "True", undefined, 90_000);
  assert.deepEqual(untruths(cluster), []);
});
