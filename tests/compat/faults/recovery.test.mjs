// Many clients, cut at random while messages flow: all are recovered, nothing is lost, nothing doubled.
// RECOVERY_CLIENTS, _SECONDS, _RATE, _WORKERS, _CUT_EVERY_MS make a shorter or longer form, RECOVERY_MODE uses one of MODES only.
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { describe, it } from "node:test";
import { startFeatures } from "../client/features.mjs";
import { Clients, MODES } from "../client/official.mjs";
import { pause, within } from "../support/wait.mjs";

const number = (name, fallback) => Number(process.env[name] ?? fallback);
const CLIENTS = number("RECOVERY_CLIENTS", 1_000);
const SECONDS = number("RECOVERY_SECONDS", 20);
const RATE = number("RECOVERY_RATE", 20);
const WORKERS = number("RECOVERY_WORKERS", 4);
const CUT_EVERY = number("RECOVERY_CUT_EVERY_MS", 6_000);

class Worker {
  #child = fork(new URL("./recovery-worker.mjs", import.meta.url));

  async ask(act, args = {}, deadline = 120_000) {
    const answer = new Promise((done, fail) => {
      this.#child.once("message", ({ answer, error }) => (error ? fail(new Error(error)) : done(answer)));
      this.#child.once("exit", (code) => fail(new Error(`worker ended with ${code} during ${act}`)));
    });
    this.#child.send({ act, ...args });
    return within(answer, deadline, `worker: ${act}`);
  }

  kill() {
    this.#child.removeAllListeners();
    this.#child.kill("SIGKILL");
  }
}

/** Publishes at the rate until told to stop; returns the last number. */
async function publish(sender, running) {
  let next = 0;
  const start = Date.now();
  while (running()) {
    await sender.timeout(30_000).emitWithAck("emit-to", { from: "socket", rooms: ["flow"], event: "m", args: [next++] });
    await pause(Math.max(0, start + (next * 1000) / RATE - Date.now()));
  }
  return next - 1;
}

async function run(nodes) {
  const server = await startFeatures({ nodes, recovery: true });
  const clients = new Clients(MODES.websocket);
  const workers = Array.from({ length: WORKERS }, () => new Worker());
  try {
    const share = Math.ceil(CLIENTS / WORKERS);
    await Promise.all(workers.map((worker, i) => worker.ask("enter", { urls: server.urls, first: i * share, count: Math.min(share, CLIENTS - i * share) })));
    const sender = await clients.connect(server.url);
    let running = true;
    const publishing = publish(sender, () => running);
    await Promise.all(workers.map((worker) => worker.ask("cut", { every: CUT_EVERY })));
    await pause(SECONDS * 1000);
    await Promise.all(workers.map((worker) => worker.ask("rest")));
    running = false;
    const last = await publishing;
    return { last, reports: (await Promise.all(workers.map((worker) => worker.ask("report", { last })))).flat() };
  } finally {
    for (const worker of workers) worker.kill();
    clients.close();
    await server.stop();
  }
}

describe(`${CLIENTS} clients cut at random, ${RATE} messages a second`, () => {
  for (const nodes of [1, 4]) {
    it(`on ${nodes} node${nodes > 1 ? "s, half of the clients returning on another" : ""}: all recovered, none lost, none doubled`, { timeout: 300_000 }, async (t) => {
      const { last, reports } = await run(nodes);
      const sum = (of) => reports.reduce((total, report) => total + of(report), 0);
      const cuts = sum((report) => report.cuts);
      const unrecovered = reports.flatMap((report) => report.unrecovered);
      t.diagnostic(`${reports.length} clients, ${last + 1} messages, ${cuts} cuts, ${sum((report) => report.recoveries)} recoveries, ${unrecovered.length} unrecovered`);
      for (const cause of unrecovered) t.diagnostic(`unrecovered: ${JSON.stringify(cause)}`);
      const wrong = reports.filter(({ lost, doubled, inverted, connected }) => lost.length || doubled.length || inverted || !connected);
      for (const report of wrong.slice(0, 20)) t.diagnostic(`wrong: ${JSON.stringify({ ...report, lost: report.lost.slice(0, 20), doubled: report.doubled.slice(0, 20), unrecovered: report.unrecovered.length })}`);
      assert.equal(reports.length, CLIENTS);
      assert.ok(cuts >= CLIENTS, `only ${cuts} cuts`);
      assert.equal(unrecovered.length, 0, "unrecovered clients");
      assert.equal(sum((report) => report.recoveries), cuts);
      assert.equal(sum(({ lost }) => lost.length), 0, "lost events");
      assert.equal(sum(({ doubled }) => doubled.length), 0, "doubled events");
      assert.equal(sum(({ inverted }) => inverted), 0, "inverted events");
      assert.ok(reports.every(({ connected }) => connected));
    });
  }
});
