// A case: a limit of time, and what is left of it for the reader when it fails.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { kubectl } from "./kubectl.mjs";

const FOLDER = process.env.E2E_ARTIFACTS ?? "artifacts";
/** Where operator and NATS are. */
const SYSTEM = ["chatcluster-system", "messaging"];
const OBJECTS = "chatclusters,statefulsets,pods,services,endpointslices,ingresses,configmaps,poddisruptionbudgets,networkpolicies,leases";

/**
 * A test on the cluster. What it opened is closed in reverse order, after everything of a failure was kept.
 * @param {string} name
 * @param {number} limit seconds
 * @param {(t: import("node:test").TestContext, open: <T>(thing: T & {close: () => unknown, namespace?: string}) => T) => Promise<void>} run
 */
export function scenario(name, limit, run) {
  test(name, { timeout: limit * 1000 }, async (t) => {
    const opened = [];
    const open = (thing) => (opened.push(thing), thing);
    try {
      await run(t, open);
      for (const { problem } of opened) if (problem) throw problem;
    } catch (error) {
      const folder = await keep(name, opened.map(({ namespace }) => namespace).filter(Boolean));
      for (const { output, reloads, exchanges } of opened) if (output) writeFileSync(join(folder, "proxy.log"), `${reloads} reloads, ${exchanges} exchanges\n${output}`);
      t.diagnostic(`events, logs and objects: ${folder}`);
      throw error;
    } finally {
      for (const thing of opened.reverse()) await thing.close();
    }
  });
}

/** Writes what there is of these namespaces into a folder, and returns that. */
async function keep(name, namespaces) {
  const folder = join(FOLDER, name.replaceAll(/[^a-z0-9]+/gi, "-").slice(0, 80));
  mkdirSync(folder, { recursive: true });
  for (const namespace of [...namespaces, ...SYSTEM]) {
    const place = join(folder, namespace);
    mkdirSync(place, { recursive: true });
    const write = async (file, args) => writeFileSync(join(place, file), await kubectl(args).catch((error) => error.message));
    await write("events.txt", ["get", "-n", namespace, "events", "--sort-by=.lastTimestamp", "-o", "wide"]);
    await write("objects.yaml", ["get", "-n", namespace, OBJECTS, "-o", "yaml"]);
    await write("pods.txt", ["get", "-n", namespace, "pods", "-o", "wide"]);
    // an API server that does not answer is told of in the files
    const pods = (await kubectl(["get", "-n", namespace, "pods", "-o", "name"]).catch(() => "")).split("\n").filter(Boolean);
    for (const pod of pods) {
      const file = pod.replace("pod/", "");
      await write(`${file}.log`, ["logs", "-n", namespace, pod, "--all-containers", "--timestamps"]);
      await write(`${file}.previous.log`, ["logs", "-n", namespace, pod, "--all-containers", "--previous"]);
    }
  }
  return folder;
}
