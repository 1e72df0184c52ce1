// kubectl, with a deadline on every call. KUBECONFIG names the cluster (run.mjs sets it).
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";

const DEADLINE = 30_000;

/**
 * Runs kubectl.
 * @param {string[]} args
 * @param {{input?: string, deadline?: number}} [options] `input` is its standard input
 * @returns {Promise<string>} what it prints; throws what it prints to its standard error if it fails
 */
export function kubectl(args, { input, deadline = DEADLINE } = {}) {
  return new Promise((done, failed) => {
    const child = execFile("kubectl", args, { timeout: deadline, killSignal: "SIGKILL", maxBuffer: 64 << 20 }, (error, output, problems) => {
      if (!error) return done(output);
      const why = error.killed ? `no answer within ${deadline} ms` : problems.trim();
      failed(new Error(`kubectl ${args.join(" ")}: ${why}`));
    });
    child.stdin.end(input);
  });
}

/** Applies objects, or a manifest's text. @param {string | object[]} objects @returns {Promise<string>} */
export const apply = (objects) =>
  kubectl(["apply", "--server-side", "-f", "-"], { input: typeof objects === "string" ? objects : objects.map((object) => JSON.stringify(object)).join("\n---\n") });

/** One object, or `undefined` if it is not there. @param {string} namespace @param {string} kind @param {string} name */
export async function get(namespace, kind, name) {
  const text = await kubectl(["get", "-n", namespace, kind, name, "-o", "json", "--ignore-not-found"]);
  return text === "" ? undefined : JSON.parse(text);
}

/** Those of a kind. @param {string} namespace @param {string} kind @param {string} [selector] @returns {Promise<any[]>} */
export async function list(namespace, kind, selector) {
  const text = await kubectl(["get", "-n", namespace, kind, "-o", "json", ...(selector ? ["-l", selector] : [])]);
  return JSON.parse(text).items;
}

/**
 * Watches objects until it is told to stop, and begins anew when the API server ends the watch.
 * @param {string[]} what what to get, such as `["-n", "team", "endpointslices"]`
 * @param {(object: any) => void} seen each object as it is at first, and whenever it changes
 * @param {(object: any) => void} [gone]
 * @returns {() => void} ends it
 */
export function watch(what, seen, gone = () => {}) {
  let isOver = false;
  let child;
  function begin() {
    child = spawn("kubectl", ["get", ...what, "-o", "json", "--watch", "--output-watch-events"], { stdio: ["ignore", "pipe", "ignore"] });
    // an event is a line
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { type, object } = JSON.parse(line);
      (type === "DELETED" ? gone : seen)(object);
    });
    child.on("close", () => isOver || setTimeout(begin, 200));
  }
  begin();
  return () => {
    isOver = true;
    child.kill("SIGKILL");
  };
}
