// Requests that reach another server than the one that holds their session are brought to it.
import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { contents, fill, MODES, People, UNLIMITED } from "../chat/people.mjs";
import { startCluster } from "../support/nats.mjs";
import { PollingSession, RawWebSocket, request } from "../support/raw.mjs";
import { SOON, until } from "../support/wait.mjs";
import { RoundRobin } from "./round-robin.mjs";

const UNKNOWN = { status: 400, body: '{"code":1,"message":"Session ID unknown"}' };
const answer = ({ status, body }) => ({ status, body });

/** A number of the admin listener's. */
async function metric({ adminUrl }, name, labels = "") {
  const text = await (await fetch(`${adminUrl}/metrics`, { signal: AbortSignal.timeout(SOON) })).text();
  const line = text.split("\n").find((found) => found.startsWith(`chatcluster_relay_${name}${labels} `));
  assert.ok(line, `no metric ${name}${labels} in:\n${text}`);
  return Number(line.split(" ").at(-1));
}
const relayed = (chat, kind, outcome) => metric(chat, "requests_total", `{kind="${kind}",outcome="${outcome}"}`);
const arrived = (chat, outcome = "served") => metric(chat, "arrivals_total", `{outcome="${outcome}"}`);

/** The same session, asked for at another server. */
const at = (url, session) => new PollingSession(`${url}/socket.io/`, "", session.handshake, []);
const open = (url) => PollingSession.open(`${url}/socket.io/`);

/** Waits until each server can bring requests to each other one. */
async function meet({ servers }) {
  for (const owner of servers) {
    const session = await open(owner.url);
    for (const other of servers) {
      await until(async () => (await at(other.url, session).post("3")).status === 200, 2 * SOON, `${other.url} finds ${owner.url}`);
    }
  }
}

describe("three servers behind a balancer that is not sticky", () => {
  let cluster;
  let balancer;
  let people;
  before(async () => {
    // pings that a test can wait for
    const engine = { pingInterval: "1s", pingTimeout: "20s" };
    cluster = await startCluster({ servers: 3, config: { engine, cors: { origins: ["https://chat.example"] }, limits: { ...UNLIMITED, messageCharacters: 200_000 } } });
    await meet(cluster);
  });
  after(() => cluster?.stop());
  beforeEach(async () => {
    people = new People();
    balancer = await RoundRobin.before(cluster.urls);
  });
  afterEach(async () => {
    people.close();
    await balancer.close();
  });

  it("polling clients chat, and are shown everything in one order, without a reconnect", { timeout: 60_000 }, async () => {
    const EACH = 50;
    const room = `r ${randomUUID()}`;
    const persons = [];
    for (let i = 0; i < 3; i++) persons.push(await people.enter(balancer.url, {}, MODES.polling));
    for (const person of persons) await person.ask("room:join", room);
    let ends = 0;
    for (const { socket } of persons) socket.on("disconnect", () => ends++);
    const answers = [];
    for (let i = 0; i < EACH; i++) for (const [who, person] of persons.entries()) answers.push(person.sayIn(room, JSON.stringify({ who, i })));
    const acknowledged = (await Promise.all(answers)).map(({ serverOffset }) => serverOffset);
    assert.equal(new Set(acknowledged).size, EACH * persons.length);
    for (const person of persons) await until(() => person.rooms[room]?.length === acknowledged.length, 2 * SOON, "all messages are shown");
    for (const person of persons) {
      assert.deepEqual(person.rooms[room], persons[0].rooms[room]);
      for (const who of persons.keys()) {
        const own = person.rooms[room].map(({ content }) => JSON.parse(content)).filter((said) => said.who === who);
        assert.deepEqual(own.map(({ i }) => i), contents(EACH).map(Number));
      }
    }
    assert.equal(ends, 0);
    // each session was spoken to at each server
    for (const { socket } of persons) {
      const sid = socket.io.engine.id;
      assert.deepEqual(new Set(balancer.seen.filter((seen) => seen.sid === sid).map(({ to }) => to)), new Set([0, 1, 2]));
    }
    assert.ok(balancer.seen.every(({ status }) => status === undefined || status === 200));
  });

  it("a client upgrades to WebSocket through the wrong server, and stays through pings and large messages", { timeout: 60_000 }, async () => {
    balancer.isAlwaysWrong = true;
    const before = await Promise.all(cluster.servers.map((chat) => relayed(chat, "websocket", "ok")));
    const person = await people.enter(balancer.url, {}, MODES.upgrade);
    const { engine } = person.socket.io;
    const upgrade = balancer.seen.find(({ isUpgrade, sid }) => isUpgrade && sid === engine.id);
    assert.notEqual(upgrade.to, upgrade.owner);
    assert.equal(await relayed(cluster.servers[upgrade.to], "websocket", "ok"), before[upgrade.to] + 1);
    let pings = 0;
    let ends = 0;
    engine.on("ping", () => pings++);
    person.socket.on("disconnect", () => ends++);
    const friend = await people.enter(cluster.urls[upgrade.to]);
    const text = "é".repeat(150_000);
    const { serverOffset } = await person.say(text);
    await until(() => friend.lobby.some((message) => message.serverOffset === serverOffset && message.content === text), SOON, "the friend is shown it");
    await friend.say(`${text}!`);
    await until(() => person.contents.at(-1) === `${text}!`, SOON, "the answer is shown");
    await until(() => pings >= 3, 3 * SOON, "three pings pass");
    assert.equal(ends, 0);
    assert.equal(await metric(cluster.servers[upgrade.to], "under_way"), 1);
    person.socket.disconnect();
    await until(async () => (await metric(cluster.servers[upgrade.to], "under_way")) === 0, SOON, "nothing is carried any more");
  });

  it("what the owner says is said: 413, a broken packet", async () => {
    const [owner, other] = cluster.servers;
    const session = await open(owner.url);
    const wrong = at(other.url, session);
    const arrivals = await arrived(owner);
    const large = await request(wrong.url, { method: "POST", body: "4".repeat(1_000_001) });
    assert.equal(large.status, 413);
    assert.equal(await arrived(owner), arrivals, "it is refused where it arrives");
    const broken = await at(other.url, session).post("9");
    assert.equal(broken.status, 400);
    assert.equal(JSON.parse(broken.body).code, 3);
  });

  it("a page of another origin may read relayed answers, too, and those that say that there is none", async () => {
    const session = await open(cluster.urls[0]);
    const stranger = { handshake: { sid: `AAAAAAAA${session.sid.slice(8)}` } };
    for (const asked of [session, stranger]) {
      const headers = { origin: "https://chat.example" };
      const reply = await request(at(cluster.urls[1], asked).url, { method: "POST", body: "3", headers });
      assert.equal(reply.headers["access-control-allow-origin"], "https://chat.example");
    }
    const asked = { origin: "https://chat.example", "access-control-request-method": "POST" };
    assert.equal((await request(at(cluster.urls[1], session).url, { method: "OPTIONS", headers: asked })).status, 204);
  });

  it("a session that nobody holds is unknown", async () => {
    const session = await open(cluster.urls[0]);
    const stranger = { handshake: { sid: `AAAAAAAA${session.sid.slice(8)}` } };
    const gone = await relayed(cluster.servers[1], "poll", "gone");
    assert.deepEqual(answer(await at(cluster.urls[1], stranger).poll()), UNKNOWN);
    assert.equal(await relayed(cluster.servers[1], "poll", "gone"), gone + 1);
    const missing = { handshake: { sid: `${session.sid.slice(0, -2)}AA` } };
    assert.deepEqual(answer(await at(cluster.urls[1], missing).post("3")), UNKNOWN);
    await assert.rejects(RawWebSocket.open(at(cluster.urls[1], stranger).webSocketUrl), /400/);
  });
});

describe("a poll that waits at another server", () => {
  let cluster;
  // the usual pings: none ends the poll before it has been seen
  before(async () => {
    cluster = await startCluster();
    await meet(cluster);
  });
  after(() => cluster?.stop());

  it("is answered when its session is closed there, which is unknown then", async () => {
    const [owner, other] = cluster.servers;
    const closing = await open(owner.url);
    const waiting = at(other.url, closing).poll();
    await until(async () => (await metric(other, "under_way")) === 1, SOON, "a poll waits");
    assert.deepEqual(answer(await at(other.url, closing).post("1")), { status: 200, body: "ok" });
    assert.equal((await waiting).status, 200);
    assert.deepEqual(answer(await at(other.url, closing).poll()), UNKNOWN);
  });

  it("frees what it held when its client gives it up", async () => {
    const [owner, other] = cluster.servers;
    const session = await open(owner.url);
    const waiting = at(other.url, session).poll();
    await until(async () => (await metric(other, "under_way")) === 1, SOON, "a poll waits");
    waiting.abort();
    await until(async () => (await metric(other, "under_way")) === 0, SOON, "nothing is under way");
  });
});

describe("a server that drains", () => {
  it("closes the WebSockets that it carries at its pace, and counts them", { timeout: 60_000 }, async () => {
    const [COUNT, RATE] = [4, 2];
    const cluster = await startCluster({ config: { limits: UNLIMITED, drain: { rate: RATE } } });
    const [owner, carrier] = cluster.servers;
    const drain = async (method) => (await fetch(`${carrier.adminUrl}/drain`, { method, signal: AbortSignal.timeout(SOON) })).json();
    try {
      await meet(cluster);
      const own = (await drain("GET")).sessions;
      const sessions = await Promise.all(Array.from({ length: COUNT }, () => open(owner.url)));
      const carried = await Promise.all(sessions.map((session) => RawWebSocket.open(at(carrier.url, session).webSocketUrl)));
      /** @type {number[]} */
      const ends = [];
      for (const { socket } of carried) socket.on("close", () => ends.push(Date.now()));
      assert.equal((await drain("GET")).sessions, own + COUNT);
      const begin = Date.now();
      await drain("POST");
      await until(async () => (await drain("GET")).done, 2 * SOON, "the drain is done");
      await until(() => ends.length === COUNT, SOON, "all are closed");
      // from before the first: closes that are seen late are seen close together
      const took = ends.at(-1) - begin;
      assert.ok(took >= ((own + COUNT - 1) / RATE) * 1_000, `closed within ${took} ms`);
      assert.equal((await at(owner.url, sessions[0]).post("3")).status, 200, "its owner has the session still");
    } finally {
      await cluster.stop();
    }
  });
});

describe("an owner that is killed", () => {
  let cluster;
  let people;
  beforeEach(async () => {
    people = new People();
    cluster = await startCluster({ servers: 3, config: { limits: UNLIMITED } });
    await meet(cluster);
  });
  afterEach(async () => {
    people.close();
    await cluster.stop();
  });

  it("a POST elsewhere is answered with 400 and code 1, at once and later", { timeout: 60_000 }, async () => {
    const session = await open(cluster.urls[0]);
    const wrong = at(cluster.urls[1], session);
    assert.equal((await wrong.post("3")).status, 200);
    const poll = wrong.poll();
    await until(async () => (await metric(cluster.servers[1], "under_way")) === 1, SOON, "a poll waits");
    await cluster.kill(0);
    assert.deepEqual(answer(await wrong.post("40")), UNKNOWN);
    assert.deepEqual(answer(await poll), UNKNOWN);
    const gone = await relayed(cluster.servers[1], "post", "gone");
    // membership has found it dead by then
    await until(async () => /another node is dead/.test(cluster.servers[1].output), 2 * SOON, "the server is found dead");
    assert.deepEqual(answer(await wrong.post("40")), UNKNOWN);
    assert.equal(await relayed(cluster.servers[1], "post", "gone"), gone + 1);
  });

  for (const mode of ["polling", "upgrade"]) {
    it(`its clients (${mode}) reconnect and recover, and miss nothing`, { timeout: 60_000 }, async () => {
      const balancer = await RoundRobin.before(cluster.urls);
      try {
        balancer.isAlwaysWrong = true;
        const person = await people.enter(balancer.url, {}, MODES[mode]);
        const first = person.socket.io.engine.id;
        const owner = balancer.ownerOf(first);
        const friend = await people.enter(cluster.urls[(owner + 1) % 3]);
        await fill(friend, 5);
        await person.settled();
        balancer.down.add(owner);
        await cluster.kill(owner);
        await fill(friend, 5, 5);
        await until(() => person.socket.connected && person.socket.io.engine.id !== first, 4 * SOON, "the client is back");
        await person.settled();
        assert.equal(person.socket.recovered, true);
        assert.deepEqual(person.contents, contents(10));
      } finally {
        await balancer.close();
      }
    });
  }

  it("who comes in its place is another one, and takes part with the secret kept on NATS", { timeout: 60_000 }, async () => {
    const session = await open(cluster.urls[0]);
    await cluster.kill(0);
    await cluster.again(0);
    await meet(cluster);
    assert.deepEqual(answer(await at(cluster.urls[1], session).post("3")), UNKNOWN);
    assert.deepEqual(answer(await at(cluster.urls[0], session).post("3")), UNKNOWN);
  });
});

describe("the entrance", () => {
  const SECRET = `secret-${randomUUID()}`;
  const OTHER = `other-${randomUUID()}`;
  const folder = mkdtempSync(join(tmpdir(), "chatcluster-relay-"));
  const secretFile = join(folder, "secret");
  let cluster;
  before(async () => {
    writeFileSync(secretFile, `${SECRET}\n`);
    cluster = await startCluster({ servers: 2, config: { relay: { secretFile }, logLevel: "debug" } });
    await meet(cluster);
  });
  after(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const entrance = ({ output }) => /on (http:\/\/127\.0\.0\.1:\d+)/.exec(output.split("\n").find((line) => line.includes("taking requests from the other servers")))[1];
  const tag = ({ sid }) => sid.slice(0, 8);
  const token = (session, secret = SECRET) => `v1.${createHmac("sha256", secret).update(`chatcluster relay v1.${tag(session)}`).digest("base64url")}`;
  const enter = (chat, session, headers) => request(at(entrance(chat), session).url, { method: "POST", body: "3", headers });

  it("lets in who has the secret, for this server", async () => {
    const session = await open(cluster.urls[0]);
    const reply = await enter(cluster.servers[0], session, { "x-chatcluster-relay": token(session) });
    assert.deepEqual(answer(reply), { status: 200, body: "ok" });
  });

  it("refuses a wrong token, one for another server, and none", async () => {
    const [session, other] = [await open(cluster.urls[0]), await open(cluster.urls[1])];
    const refused = await arrived(cluster.servers[0], "refused");
    const wrong = [{}, { "x-chatcluster-relay": "" }, { "x-chatcluster-relay": SECRET }, { "x-chatcluster-relay": token(session, `${SECRET}x`) }, { "x-chatcluster-relay": token(other) }];
    for (const headers of wrong) {
      assert.deepEqual(answer(await enter(cluster.servers[0], session, headers)), { status: 403, body: "" });
    }
    assert.equal(await arrived(cluster.servers[0], "refused"), refused + wrong.length);
    // the session has noticed nothing
    assert.equal((await session.post("3")).status, 200);
  });

  it("is no way to open sessions, and has no page", async () => {
    const session = await open(cluster.urls[0]);
    const headers = { "x-chatcluster-relay": token(session), "x-chatcluster-client": "192.0.2.1:1" };
    for (const path of ["/socket.io/?EIO=4&transport=polling", "/", "/livez"]) {
      assert.equal((await request(`${entrance(cluster.servers[0])}${path}`, { headers })).status, 403, path);
    }
  });

  it("makes no second hop", async () => {
    const [here, there] = [await open(cluster.urls[0]), await open(cluster.urls[1])];
    const arrivals = await arrived(cluster.servers[1]);
    const reply = await enter(cluster.servers[0], there, { "x-chatcluster-relay": token(here) });
    assert.deepEqual(answer(reply), UNKNOWN);
    assert.equal(await arrived(cluster.servers[1]), arrivals);
    // the same at the front door: what a client sends under that name is replaced
    const front = await request(at(cluster.urls[0], there).url, { method: "POST", body: "3", headers: { "x-chatcluster-relay": "x", "x-chatcluster-client": "x" } });
    assert.deepEqual(answer(front), { status: 200, body: "ok" });
  });

  it("a server with another secret is refused, and its clients are told that the session is unknown", async () => {
    writeFileSync(secretFile, OTHER);
    const stranger = await cluster.add();
    writeFileSync(secretFile, `${SECRET}\n`);
    const session = await open(cluster.urls[0]);
    await until(async () => {
      assert.deepEqual(answer(await at(stranger.url, session).post("3")), UNKNOWN);
      return (await relayed(stranger, "post", "refused")) > 0;
    }, SOON, "the stranger is refused");
    await cluster.terminate(2);
  });

  it("neither secret nor token nor session id is logged", () => {
    for (const { output } of cluster.servers) assert.doesNotMatch(output, new RegExp(`${SECRET}|${OTHER}|v1\\.[\\w-]{43}|sid=`));
  });
});

describe("settings of the relay", () => {
  let cluster;
  afterEach(() => cluster?.stop());

  it("turned off, a session is unknown elsewhere", async () => {
    cluster = await startCluster({ servers: 2, config: { relay: { enabled: false } } });
    const session = await open(cluster.urls[0]);
    assert.equal(session.sid.length, 20);
    assert.deepEqual(answer(await at(cluster.urls[1], session).post("3")), UNKNOWN);
  });

  it("one request too many is answered with 503, and the next is served when there is room", { timeout: 60_000 }, async () => {
    cluster = await startCluster({ servers: 3, config: { limits: { connections: 2 } } });
    const sessions = [await open(cluster.urls[0]), await open(cluster.urls[0]), await open(cluster.urls[1])];
    const [, , third] = cluster.servers;
    for (const session of sessions) await until(async () => (await at(third.url, session).post("3")).status === 200, 2 * SOON, "the servers meet");
    const waiting = sessions.slice(0, 2).map((session) => at(third.url, session).poll({ deadline: 10 * SOON }));
    await until(async () => (await metric(third, "under_way")) === 2, SOON, "two polls wait");
    const reply = await at(third.url, sessions[2]).post("3");
    assert.equal(reply.status, 503);
    assert.equal(reply.headers["retry-after"], "1");
    assert.equal(await relayed(third, "post", "rejected"), 1);
    waiting[0].abort();
    await until(async () => (await at(third.url, sessions[2]).post("3")).status === 200, SOON, "there is room again");
    waiting[1].abort();
  });

  it("NATS is not on the way: without it requests are still brought to servers that were known", { timeout: 60_000 }, async () => {
    cluster = await startCluster({ servers: 2 });
    await meet(cluster);
    const session = await open(cluster.urls[0]);
    await cluster.nats.kill();
    await until(() => cluster.servers.every(({ output }) => /the connection to NATS is lost/.test(output)), 2 * SOON, "both have lost NATS");
    assert.deepEqual(answer(await at(cluster.urls[1], session).post("3")), { status: 200, body: "ok" });
    await cluster.nats.restart();
  });

  it("a secret that is too short, or an address that is taken, ends the start with the field's name", async () => {
    cluster = await startCluster({ servers: 1 });
    const folder = mkdtempSync(join(tmpdir(), "chatcluster-relay-"));
    const secretFile = join(folder, "secret");
    writeFileSync(secretFile, "short");
    try {
      cluster.config = { relay: { secretFile } };
      await assert.rejects(cluster.add(), /relay\.secretFile: .* must hold 16 bytes or more/s);
      cluster.config = { relay: { listen: new URL(cluster.servers[0].adminUrl).host } };
      await assert.rejects(cluster.add(), /relay\.listen: cannot listen on/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
