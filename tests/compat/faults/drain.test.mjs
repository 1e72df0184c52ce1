// POST /drain and `chatcluster-server drain`: clients go elsewhere, the process stays until it is told to stop.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { MODES, once, People, UNLIMITED } from "../chat/people.mjs";
import { connectPacket } from "../support/packets.mjs";
import { RawWebSocket } from "../support/raw.mjs";
import { drainCommand, freePorts, startChat } from "../support/servers.mjs";
import { SOON, until } from "../support/wait.mjs";

const EXIT_0 = { code: 0, signal: null };
const DEADLINE_S = 30;
const config = (drain) => ({ limits: UNLIMITED, drain: { deadline: `${DEADLINE_S}s`, ...drain } });
const status = async (url, options = {}) => (await fetch(url, { signal: AbortSignal.timeout(SOON), ...options })).status;
const state = async (chat) => (await fetch(`${chat.adminUrl}/drain`, { signal: AbortSignal.timeout(SOON) })).json();
const handshake = (url) => `${url}/socket.io/?EIO=4&transport=polling`;

describe("drain", () => {
  let people;
  /** @type {import("../support/servers.mjs").Chat} */
  let chat;
  beforeEach(() => void (people = new People()));
  afterEach(async () => {
    people.close();
    if (chat && !chat.exit) await chat.kill();
  });

  /** @param {number} count @returns {Promise<any[]>} people by all transports, who do not come back */
  async function crowd(count) {
    const modes = Object.values(MODES);
    const entering = Array.from({ length: count }, async (_, i) => {
      const person = await people.enter(chat.urls[i % chat.urls.length], {}, { reconnection: false, ...modes[i % modes.length] });
      person.ended = once(person.socket, "disconnect", 2 * DEADLINE_S * 1000);
      return person;
    });
    return Promise.all(entering);
  }

  it("the command returns when all clients are gone; the process goes on until SIGTERM, which ends it at once", async () => {
    const SETTLE_S = 3;
    chat = await startChat({ nodes: 2, config: config({ settle: `${SETTLE_S}s`, rate: 10 }) });
    const persons = await crowd(9);
    const raw = await RawWebSocket.open(`${chat.url}/socket.io/?EIO=4&transport=websocket`, { answerPings: true });
    raw.send(connectPacket());
    await raw.inbox.find((text) => String(text).startsWith("40"));
    assert.deepEqual(await state(chat), { draining: false, sessions: 10, done: false });

    const begun = Date.now();
    const command = drainCommand(chat.adminUrl);
    await until(async () => (await status(`${chat.adminUrl}/readyz`)) === 503);
    assert.equal(await status(`${chat.urls[1]}/readyz`), 503);
    // Who is sent here late is still let in, and has to go with the others.
    const late = await status(handshake(chat.url));
    if (Date.now() - begun < SETTLE_S * 1000) assert.equal(late, 200);
    await Promise.race(persons.map(({ ended }) => ended));
    assert.ok(Date.now() - begun >= SETTLE_S * 1000, "clients were closed before the settle was over");
    for (const url of chat.urls) assert.equal(await status(handshake(url)), 503);
    assert.equal(await status(`${chat.adminUrl}/livez`), 200);

    assert.deepEqual(await command.exited(DEADLINE_S * 1000), EXIT_0);
    assert.match(command.output, /^draining, sessions left: 1[01]\n(draining, sessions left: \d+\n)*drained, sessions left: 0\n$/);
    for (const person of persons) assert.match((await person.ended)[0], /^transport (close|error)$/);
    await raw.closed(SOON);
    assert.ok(raw.inbox.all.every((text) => !String(text).startsWith("41")));

    assert.deepEqual(await state(chat), { draining: true, sessions: 0, done: true });
    for (const url of [...chat.urls, chat.adminUrl]) {
      assert.equal(await status(`${url}/livez`), 200);
      assert.equal(await status(`${url}/readyz`), 503);
    }
    assert.equal(await status(handshake(chat.url)), 503);
    const again = drainCommand(chat.adminUrl);
    assert.deepEqual(await again.exited(SOON), EXIT_0);
    assert.equal(again.output, "drained, sessions left: 0\n");

    chat.signal("SIGTERM");
    assert.deepEqual(await chat.exited(2_000), EXIT_0);
    assert.equal(chat.output.match(/deadline_seconds/g)?.length, 1, "drained more than once");
  });

  it("the remaining connections are shown by step", async () => {
    chat = await startChat({ config: config({ settle: "2s", rate: 1 }) });
    const remaining = async (step) => {
      const text = await (await fetch(`${chat.adminUrl}/metrics`, { signal: AbortSignal.timeout(SOON) })).text();
      return Number(text.match(`\nchatcluster_drain_remaining\\{step="${step}"\\} (\\d+)\n`)?.[1]);
    };
    await crowd(4);
    assert.deepEqual([await remaining("settle"), await remaining("close")], [0, 0]);
    assert.equal(await status(`${chat.adminUrl}/drain`, { method: "POST" }), 202);
    await until(async () => (await remaining("settle")) === 4);
    await until(async () => (await remaining("close")) > 0);
    assert.equal(await remaining("settle"), 0);
  });

  it("SIGTERM in the middle of a drain joins it, and ends the process when it is done", async () => {
    chat = await startChat({ config: config({ rate: 2 }) });
    const persons = await crowd(4);
    assert.equal(await status(`${chat.adminUrl}/drain`, { method: "POST" }), 202);
    chat.signal("SIGTERM");
    await Promise.all(persons.map(({ ended }) => ended));
    assert.deepEqual(await chat.exited(DEADLINE_S * 1000), EXIT_0);
    assert.match(chat.output, /drained/);
    assert.equal(chat.output.match(/deadline_seconds/g)?.length, 1, "drained more than once");
  });

  it("a second signal in the middle of a drain is not made to wait", async () => {
    chat = await startChat({ config: config({ settle: `${DEADLINE_S - 5}s` }) });
    await crowd(1);
    assert.equal(await status(`${chat.adminUrl}/drain`, { method: "POST" }), 202);
    chat.signal("SIGTERM");
    await until(() => chat.output.includes("told to stop: when the drain is done"));
    chat.signal("SIGTERM");
    assert.deepEqual(await chat.exited(5_000), EXIT_0);
    assert.doesNotMatch(chat.output, /drained/);
  });

  it("a web page cannot drain a server on its user's machine", async () => {
    chat = await startChat();
    const headers = { Origin: "https://page.example" };
    assert.equal(await status(`${chat.adminUrl}/drain`, { method: "POST", headers }), 403);
    assert.equal((await state(chat)).draining, false);
    assert.equal(await status(`${chat.url}/drain`, { method: "POST" }), 404, "clients can ask for a drain");
    assert.equal((await state(chat)).draining, false);
  });

  it("a server that is not there is an error of the command", async () => {
    const address = `127.0.0.1:${await freePorts()}`;
    const command = drainCommand(`http://${address}`);
    assert.deepEqual(await command.exited(SOON), { code: 1, signal: null });
    assert.match(command.output, new RegExp(`^chatcluster-server: cannot reach the admin listener at ${address}: Connection refused`));
  });
});
