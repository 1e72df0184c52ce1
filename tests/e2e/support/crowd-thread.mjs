// A part of a case's clients (crowd.mjs): it does what it is asked, one thing after the other.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../compat/support/api.mjs";
import { Load } from "../../compat/nats/load.mjs";

const { urls, options } = workerData;
let { origins } = workerData;
const cluster = {
  urls,
  get backends() {
    return origins.map((origin) => new Backend(origin));
  },
};
const load = new Load(cluster, options);
const stalls = monitorEventLoopDelay({ resolution: 10 });

const methods = {
  enter: () => load.enter(),
  begin: () => load.begin(),
  flows: (count) => load.flows(count),
  watch: () => void stalls.enable(),
  allHere: () => load.allHere(),
  settle: () => load.settle(),
  sayLast: () => load.sayLast(),
  seeLast: () => load.seeLast(),
  seen() {
    stalls.disable();
    return { stall: Math.round(stalls.max / 1e6), record: load.record };
  },
};

parentPort?.on("message", async ({ origins: changed, method, args }) => {
  if (changed) return void (origins = changed);
  try {
    parentPort?.postMessage({ value: await methods[method](...args) });
  } catch (error) {
    parentPort?.postMessage({ error });
  }
});
