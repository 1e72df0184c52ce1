// The log is purged, deleted, lost with NATS's disk, or set back to an older state, while servers run and people are there:
// nobody is recovered wrongly, nobody is shown anything twice, and what is still there is shown to all.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { MODES, People } from "../chat/people.mjs";
import { jetStream } from "../support/jetstream.mjs";
import { notRecovered, sumOf } from "../support/metrics.mjs";
import { startCluster } from "../support/nats.mjs";
import { until } from "../support/wait.mjs";
import { row } from "./table.mjs";
import { CONFIG, DEADLINE, lasting, lobbyOf, LONG } from "./under-load.mjs";

/** On each server. */
const COUNT = lasting(6, 100);
/** Until the servers have noticed, and read the log again. */
const NOTICED = lasting(20_000);
/** Until a server has removed from its history what the log has lost: it does so each minute. */
const TRIMMED = 65_000;
/** Somebody who names the position up to which they have the lobby, and stays on their server. */
async function enter(people, url, index) {
  let serverOffset = 0;
  const auth = (done) => done({ retryable: true, serverOffset: serverOffset || undefined });
  const person = people.begin(url, {}, { ...MODES[Object.keys(MODES)[index % 3]], auth });
  person.socket.on("chat message", (_, position) => (serverOffset = Math.max(serverOffset, position)));
  /** @type {{recovered: boolean, shown: number}[]} each connection but the first, and how much was shown before it */
  person.returns = [];
  let connections = 0;
  person.socket.on("connect", () => {
    if (connections++ > 0) person.returns.push({ recovered: person.socket.recovered, shown: person.lobby.length });
  });
  person.socket.on("connect_error", ({ data }) => data?.retry && setTimeout(() => person.socket.connect(), 100));
  await until(() => person.sessions.length > 0, undefined, "a client connects");
  return person;
}

describe(`people on two servers, ${COUNT} each, whose log is hurt`, () => {
  let cluster;
  let people;
  /** Those on server 0, and those on server 1. */
  let on;
  let said;
  beforeEach(async () => {
    people = new People({ reconnectionDelay: 50, reconnectionDelayMax: 500 });
    cluster = await startCluster({ servers: 1, config: CONFIG });
    await cluster.addBehindProxy();
    on = await Promise.all(cluster.urls.map((url) => Promise.all(Array.from({ length: COUNT }, (_, i) => enter(people, url, i)))));
    said = 0;
  });
  afterEach(async () => {
    people?.close();
    await cluster?.stop();
  });

  /** Says some things on server 0, which whoever is able to has been shown when it resolves. */
  async function talk(to = on.flat()) {
    const contents = Array.from({ length: 10 }, () => `${said++}`);
    for (const content of contents) assert.ok((await on[0][said % COUNT].say(content)).serverOffset > 0);
    await until(() => to.every((person) => person.contents.includes(contents.at(-1))), NOTICED, () => `all are shown ${contents.at(-1)}; ${to.filter((person) => !person.contents.includes(contents.at(-1))).length} are not`);
    return contents;
  }

  const ready = async () => {
    for (const { url } of cluster.servers) await until(async () => (await fetch(`${url}/readyz`)).status === 200, NOTICED, `${url} is ready`);
  };
  const allReturn = (persons, deadline = NOTICED) => until(() => persons.every(({ returns, socket }) => returns.length > 0 && socket.connected), deadline, () => `all come back as new; ${persons.filter(({ returns }) => returns.length === 0).length} do not`);

  /** Everybody was shown everything at most once and in order, and all servers have the same history, which is returned. */
  async function histories() {
    const [first, ...others] = await Promise.all(cluster.urls.map(lobbyOf));
    for (const other of others) assert.deepEqual(other, first, "the histories of the servers");
    for (const { contents } of on.flat()) assert.equal(new Set(contents).size, contents.length, `something was shown twice: ${contents}`);
    return first.map((line) => line.split(" ")[1]);
  }

  /** What the log has lost goes from the histories, too. */
  async function trimmed(contents) {
    if (!LONG) return;
    for (const url of cluster.urls) await until(async () => (await lobbyOf(url)).length === contents.length, TRIMMED, `the history of ${url} is trimmed`);
    assert.deepEqual(await histories(), contents);
  }

  /** These came back as new, once, for this cause, and were shown since what is said to be there of the history: no silent hole. */
  async function assertNew(t, persons, since, cause = "epoch") {
    const found = await notRecovered(cluster.living);
    const returns = persons.flatMap((person) => person.returns);
    t.diagnostic(`not recovered: ${JSON.stringify(found)}`);
    const recovered = returns.filter((end) => end.recovered);
    row(t, { clients: 2 * COUNT, messages: said, reconnects: returns.length, recovered: recovered.length, doubled: 0 });
    assert.deepEqual(recovered, [], "recovered although the log was hurt");
    assert.equal(returns.length, persons.length, "each has come back once");
    assert.deepEqual(found, { [cause]: returns.length }, "each is counted by its cause");
    for (const person of persons) assert.deepEqual(person.contents.slice(person.returns[0].shown), since);
  }

  it("purged after all have read it: nobody notices", { timeout: DEADLINE }, async (t) => {
    await talk();
    await jetStream(cluster.nats, `STREAM.PURGE.${cluster.log}`);
    const after = await talk();
    await trimmed(after);
    assert.deepEqual(on.flat().flatMap(({ returns }) => returns), []);
    assert.deepEqual(await notRecovered(cluster.living), {});
    row(t, { clients: 2 * COUNT, messages: said, reconnects: 0, recovered: 0, lost: 0, doubled: 0 });
  });

  it("purged before one server has read its end: its clients are not recovered there, and the others do not notice", { timeout: DEADLINE }, async (t) => {
    await talk();
    await cluster.proxy.cut();
    await talk(on[0]);
    await jetStream(cluster.nats, `STREAM.PURGE.${cluster.log}`);
    const after = await talk(on[0]);
    await cluster.proxy.heal();
    await allReturn(on[1]);
    await ready();
    after.push(...(await talk()));
    await assertNew(t, on[1], after, "gap");
    assert.equal(await sumOf(cluster.living, "nats_log_restarts_total"), 1);
    assert.deepEqual(on[0].flatMap(({ returns }) => returns), []);
    await trimmed(after);
  });

  it("deleted: it is made anew, and nobody is recovered", { timeout: DEADLINE }, async (t) => {
    await talk();
    await jetStream(cluster.nats, `STREAM.DELETE.${cluster.log}`);
    await allReturn(on.flat());
    await ready();
    const after = await talk();
    await assertNew(t, on.flat(), after);
    assert.deepEqual(await histories(), after);
  });

  async function loseAll() {
    await talk();
    await cluster.nats.kill();
    cluster.nats.loseStore();
    await cluster.nats.restart();
  }

  // The stream and the buckets of the epoch and of the sessions are all made anew.
  it("lost with all that NATS had: it is made anew, and nobody is recovered", { timeout: DEADLINE }, async (t) => {
    await loseAll();
    await allReturn(on.flat(), lasting(8_000));
    await ready();
    const after = await talk();
    await assertNew(t, on.flat(), after);
    assert.deepEqual(await histories(), after);
  });

  it("lost with all that NATS had, and the servers are started again: nobody is recovered", { timeout: DEADLINE }, async (t) => {
    await talk();
    await cluster.nats.kill();
    // Before NATS is back: else its people would have new sessions, which may be recovered.
    for (const index of cluster.servers.keys()) await cluster.kill(index);
    cluster.nats.loseStore();
    await cluster.nats.restart();
    for (const index of cluster.servers.keys()) await cluster.again(index);
    await allReturn(on.flat());
    await ready();
    const after = await talk();
    await assertNew(t, on.flat(), after);
    assert.deepEqual(await histories(), after);
  });

  it("set back to an older state: what was said since is gone from all histories, and nobody is recovered", { timeout: DEADLINE }, async (t) => {
    const kept = await talk();
    await cluster.nats.end();
    cluster.nats.copyStore();
    await cluster.nats.restart();
    await ready();
    await talk();
    await cluster.nats.end();
    cluster.nats.restoreStore();
    await cluster.nats.restart();
    await allReturn(on.flat());
    await ready();
    const after = await talk();
    await assertNew(t, on.flat(), after);
    assert.equal(await sumOf(cluster.living, "nats_log_restarts_total"), 2);
    assert.deepEqual(await histories(), [...kept, ...after]);
  });

  // Written at once, it would end above what the servers have read: they would read on, and take positions that were given
  // out twice for known.
  it("set back by less than what waits to be logged: what is then acknowledged is shown to all", { timeout: DEADLINE }, async (t) => {
    const kept = await talk();
    await cluster.nats.end();
    cluster.nats.copyStore();
    await cluster.nats.restart();
    await ready();
    for (const content of ["gone-1", "gone-2"]) await on[0][0].say(content);
    await until(() => on.flat().every(({ contents }) => contents.includes("gone-2")), undefined, "all are shown what will be gone");
    await cluster.nats.end();
    cluster.nats.restoreStore();
    const waiting = on.flat().flatMap((person, i) => Array.from({ length: 5 }, (_, n) => [person, `waited-${i}-${n}`]));
    const answers = await Promise.all(
      waiting.map(async ([person, content], i) => {
        // NATS is back when all wait; one that is refused, or whose connection ends, is not acknowledged
        const answer = person.say(content);
        if (i === waiting.length - 1) await cluster.nats.restart();
        return { content, serverOffset: (await answer.catch(() => undefined))?.serverOffset };
      }),
    );
    await ready();
    // What was not acknowledged, because connections ended, may be logged all the same.
    await until(async () => (await sumOf(cluster.living, "nats_publishes_waiting")) === 0, NOTICED, "all that waited has its fate");
    const after = await talk();
    const acknowledged = answers.filter(({ serverOffset }) => serverOffset);
    const unseen = acknowledged.filter(({ content }) => !on.flat().every(({ contents }) => contents.includes(content)));
    const returns = on.flat().reduce((sum, person) => sum + person.returns.length, 0);
    t.diagnostic(`${acknowledged.length} of ${answers.length} that waited are acknowledged, ${unseen.length} of them not shown to all, ${returns} clients came back`);
    assert.deepEqual(unseen, [], "acknowledged, and not shown to all");
    const all = await histories();
    assert.deepEqual(all.filter((content) => !content.startsWith("waited")), [...kept, ...after]);
    assert.deepEqual(acknowledged.filter(({ content }) => !all.includes(content)), [], "acknowledged, and not in the history");
  });
});
