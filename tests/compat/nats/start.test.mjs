// Chat servers before NATS is there, when it goes away, and with settings that do not fit.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { freshPrefix, joining, Nats, startCluster, startNats } from "../support/nats.mjs";
import { RawWebSocket, request } from "../support/raw.mjs";
import { freePorts, startChat } from "../support/servers.mjs";
import { never, pause, SOON, until } from "../support/wait.mjs";

const CONFIG = { limits: UNLIMITED };
/** Longer than a server takes to try NATS again. */
const RECONNECT = 15_000;

const status = async (url) => (await fetch(url, { signal: AbortSignal.timeout(SOON) }).catch(() => ({ status: 0 }))).status;

/** What the admin listener says of NATS: undefined if nothing is wrong with it. */
async function troubleWithNats({ adminUrl }) {
  const answer = await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(SOON) });
  const { ready, checks } = await answer.json();
  const check = checks.find(({ name }) => name === "nats");
  assert.ok(check, `no check is named nats: ${JSON.stringify(checks)}`);
  assert.equal(answer.status, ready ? 200 : 503);
  if (check.reason !== undefined) assert.equal(ready, false);
  return check.reason;
}

const ready = (chat) => until(async () => (await status(`${chat.url}/readyz`)) === 200, RECONNECT, `${chat.url} is ready`);

describe("a server that is started before NATS", () => {
  let nats;
  let people;
  beforeEach(async () => {
    people = new People();
    nats = new Nats(await freePorts());
  });
  afterEach(async () => {
    people.close();
    await nats.stop();
  });
  const start = () => startChat({ config: CONFIG, args: joining(nats, freshPrefix()), awaits: "life" });

  it("is alive and not ready, says why, refuses handshakes with 503, and serves once NATS is there", { timeout: 60_000 }, async () => {
    const chat = await start();
    try {
      assert.equal(await status(`${chat.url}/livez`), 200);
      assert.equal(await status(`${chat.adminUrl}/livez`), 200);
      assert.equal(await status(`${chat.url}/readyz`), 503);
      assert.match(await troubleWithNats(chat), /./);
      const polling = await request(`${chat.url}/socket.io/?EIO=4&transport=polling`);
      assert.equal(polling.status, 503);
      assert.equal(JSON.parse(polling.body).code, 4, polling.body);
      await assert.rejects(RawWebSocket.open(`${chat.url}/socket.io/?EIO=4&transport=websocket`), /503/);
      const waiting = people.begin(chat.url);
      await nats.start();
      await ready(chat);
      assert.equal(await troubleWithNats(chat), undefined);
      await until(() => waiting.socket.connected, 2 * SOON, "the client that kept trying is let in");
      const { serverOffset } = await waiting.say("at last");
      await until(() => waiting.lobby.at(-1)?.serverOffset === serverOffset);
    } finally {
      people.close();
      await chat.stop();
    }
  });

  it("drains before it has found NATS, and lets nobody in when it has", { timeout: 60_000 }, async () => {
    const chat = await start();
    try {
      const drain = async (method) => (await fetch(`${chat.adminUrl}/drain`, { method })).json();
      await drain("POST");
      await until(async () => (await drain("GET")).done, SOON, "the drain is done");
      await nats.start();
      await until(() => /joined too late/.test(chat.output), RECONNECT, "it joins");
      const polling = await request(`${chat.url}/socket.io/?EIO=4&transport=polling`);
      assert.equal(polling.status, 503);
      assert.match(polling.body, /draining/);
      assert.equal(await status(`${chat.url}/readyz`), 503);
    } finally {
      await chat.stop();
    }
    assert.deepEqual(chat.exit, { code: 0, signal: null });
  });

  it("ends at once on SIGTERM while it waits", async () => {
    const chat = await start();
    await chat.stop();
    assert.deepEqual(chat.exit, { code: 0, signal: null });
  });

  it("is not held up by others that wait with it: all become ready", { timeout: 60_000 }, async () => {
    const prefix = freshPrefix();
    const chats = await Promise.all([0, 1, 2].map(() => startChat({ config: CONFIG, args: joining(nats, prefix), awaits: "life" })));
    try {
      await nats.start();
      await Promise.all(chats.map(ready));
      const persons = await Promise.all(chats.map(({ url }) => people.enter(url)));
      const { serverOffset } = await persons[0].say("everybody");
      await until(() => persons.every(({ lobby }) => lobby.at(-1)?.serverOffset === serverOffset), 2 * SOON, "all see the message");
    } finally {
      people.close();
      await Promise.all(chats.map((chat) => chat.stop()));
    }
  });
});

// beside each other: each waits for its own servers most of the time
describe("servers that lose NATS", { concurrency: true }, () => {
  for (const [how, away, back] of [
    ["is killed", (nats) => nats.kill(), (nats) => nats.restart()],
    ["stands still", (nats) => nats.pause(), (nats) => nats.resume()],
  ]) {
    it(`say so when it ${how}, keep their clients, and are ready again when it is back`, { timeout: 60_000 }, async () => {
      const cluster = await startCluster({ config: CONFIG });
      const people = new People();
      try {
        const [a, b] = await Promise.all(cluster.urls.map((url) => people.enter(url)));
        const ended = [];
        for (const { socket } of [a, b]) socket.on("disconnect", (reason) => ended.push(reason));
        await away(cluster.nats);
        for (const chat of cluster.servers) {
          await until(() => troubleWithNats(chat), RECONNECT, "the server says that NATS is away");
          assert.equal(await status(`${chat.url}/readyz`), 503);
          assert.equal(await status(`${chat.url}/livez`), 200);
        }
        let answer;
        const saying = (async () => {
          // what is refused may be sent again with the same id
          while (!answer?.serverOffset && a.socket.connected) {
            answer = await a.say("while it was away", "1d0f5c1e-the-same-id-each-time").catch(() => undefined);
            if (answer?.error) await pause(100);
          }
        })();
        await back(cluster.nats);
        await Promise.all(cluster.servers.map(ready));
        await saying;
        await until(() => [a, b].every(({ lobby }) => lobby.at(-1)?.serverOffset === answer.serverOffset), 2 * SOON, "both see the message");
        for (const person of [a, b]) await person.settled();
        for (const person of [a, b]) assert.deepEqual(person.contents, ["while it was away"]);
        assert.deepEqual(ended, []);
      } finally {
        people.close();
        await cluster.stop();
      }
    });
  }

  // Refused, the official client would stay away.
  it("let in who came while it stood still, once it is back", { timeout: 60_000 }, async () => {
    const cluster = await startCluster({ config: CONFIG });
    const people = new People();
    try {
      await cluster.nats.pause();
      const { socket } = people.begin(cluster.urls[0]);
      const refusals = [];
      socket.on("connect_error", (error) => {
        refusals.push(`${error.message} ${JSON.stringify(error.data)}`);
      });
      await never(() => refusals.length > 0 || socket.connected, 3_000, "the client is answered although its session cannot be stored");
      cluster.nats.resume();
      await until(() => socket.connected, 2 * SOON, () => `the client is let in; it was refused with ${refusals}`);
    } finally {
      people.close();
      await cluster.stop();
    }
  });

  it("refuse a message that cannot be logged, with retry and within a bound; sent again with the same id it is one", { timeout: 60_000 }, async () => {
    const cluster = await startCluster({ config: CONFIG });
    const people = new People();
    try {
      const [a, b] = await Promise.all(cluster.urls.map((url) => people.enter(url)));
      await cluster.nats.kill();
      const message = ["chat message", "said in vain", "5b0c8b1e-the-same-id-each-time"];
      const refused = await a.socket.timeout(20_000).emitWithAck(...message);
      assert.equal(refused.error?.retry, true, JSON.stringify(refused));
      // 105 if it was sent before the server noticed: then it may be stored.
      assert.ok([101, 105].includes(refused.error.code), JSON.stringify(refused));
      await cluster.nats.restart();
      await Promise.all(cluster.servers.map(ready));
      const answers = await Promise.all([a, b].map(({ socket }) => socket.timeout(20_000).emitWithAck(...message)));
      assert.ok(answers[0].serverOffset > 0, JSON.stringify(answers));
      assert.equal(answers[0].serverOffset, answers[1].serverOffset);
      for (const person of [a, b]) {
        await person.settled();
        assert.deepEqual(person.contents, ["said in vain"]);
      }
    } finally {
      people.close();
      await cluster.stop();
    }
  });
});

describe("settings that do not fit", () => {
  /** The server ends by itself, with an error; what it printed. */
  async function refusal(options) {
    const started = await startChat(options).catch((error) => error);
    if (!(started instanceof Error)) {
      await started.kill();
      assert.fail("the server has started");
    }
    assert.match(started.message, /process ended with \{"code":[1-9]/);
    return started.message;
  }

  for (const urls of [["http://127.0.0.1:4222"], ["nats://user:secret@127.0.0.1:4222"], [""]]) {
    it(`nats.urls: ${JSON.stringify(urls)} is refused at start, by its name`, async () => {
      const said = await refusal({ config: { nats: { urls } } });
      assert.match(said, /nats\.urls/);
      assert.ok(!said.includes("secret"), "the password is shown");
    });
  }

  it("a prefix that cannot be one is refused at start, by its name", async () => {
    assert.match(await refusal({ config: { nats: { urls: ["nats://127.0.0.1:4222"], prefix: "a > b" } } }), /nats\.prefix/);
  });

  it("another history.retention than the cluster's is refused at start, by its name, and hurts nobody", { timeout: 60_000 }, async () => {
    const nats = await startNats();
    const people = new People();
    const cluster = await startCluster({ servers: 1, config: { ...CONFIG, history: { retention: "48h" } }, nats });
    try {
      const said = await refusal({ config: { history: { retention: "72h" } }, args: joining(nats, cluster.prefix) });
      assert.match(said, /retention/);
      assert.ok(said.includes(cluster.prefix), "the stream is not named");
      const person = await people.enter(cluster.urls[0]);
      assert.ok((await person.say("still here")).serverOffset > 0);
      // with the same it joins
      await cluster.add();
      const other = await people.enter(cluster.urls[1]);
      await other.settled();
      assert.deepEqual(other.contents, ["still here"]);
    } finally {
      people.close();
      await cluster.stop();
      await nats.stop();
    }
  });
});
