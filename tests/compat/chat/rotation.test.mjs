// auth: Jwt with keys that are exchanged under connected clients, tokens signed with private keys, and attacks on the choice of a key.
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { Backend, apiConfig, originOf } from "../support/api.mjs";
import { signed, signHs256 } from "../support/jwt.mjs";
import { metricsOf } from "../support/metrics.mjs";
import { startChat } from "../support/servers.mjs";
import { SOON, until } from "../support/wait.mjs";
import { connected, reconnected, refusal } from "../client/official.mjs";
import { People, UNLIMITED } from "./people.mjs";

const now = () => Math.floor(Date.now() / 1000);
const claims = (sub = "alice") => ({ sub, exp: now() + 600 });
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A key pair as issuers have it. */
function pair(kid, kind = "RS256") {
  const { publicKey, privateKey } = kind === "RS256" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    kid,
    pem: publicKey.export({ type: "spki", format: "pem" }),
    jwk: { ...publicKey.export({ format: "jwk" }), kid, use: "sig", alg: kind },
    token: (sub, header = {}) => signed(claims(sub), privateKey, { alg: kind, kid, ...header }),
  };
}

const set = (...pairs) => JSON.stringify({ keys: pairs.map(({ jwk }) => jwk) });

/** Files as Kubernetes shows them to a pod: all of them behind one symbolic link, which is exchanged. */
class Volume {
  #count = 0;
  folder = mkdtempSync(join(tmpdir(), "chatcluster-keys-"));

  path(name) {
    return join(this.folder, name);
  }

  write(files) {
    const data = `..${this.#count++}`;
    mkdirSync(this.path(data));
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(this.folder, data, name), content);
      if (this.#count === 1) symlinkSync(join("..data", name), this.path(name));
    }
    symlinkSync(data, this.path("..tmp"));
    renameSync(this.path("..tmp"), this.path("..data"));
  }

  remove() {
    rmSync(this.folder, { recursive: true });
  }
}

const reportOf = async ({ adminUrl }) => (await fetch(`${adminUrl}/config`, { signal: AbortSignal.timeout(SOON) })).json();
const loads = async (chat, file, outcome) => (await metricsOf(chat)).get(`chatcluster_reloads_total{file="${file}",outcome="${outcome}"}`);

describe("keys that are exchanged", () => {
  const [first, second, curve] = [pair("one"), pair("two"), pair("curve", "ES256")];
  let volume;
  let chat;
  let people;
  before(async () => {
    volume = new Volume();
    volume.write({ "jwks.json": set(first, curve) });
    const jwt = { algorithms: ["RS256", "ES256"], jwksFile: volume.path("jwks.json"), clockSkew: "0s" };
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED, auth: { type: "Jwt", jwt } } });
  });
  after(async () => {
    await chat?.stop();
    volume.remove();
  });
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  const exchange = async (content, outcome = "loaded") => {
    const count = await loads(chat, "keys", outcome);
    volume.write({ "jwks.json": content });
    await until(async () => (await loads(chat, "keys", outcome)) > count, 2 * SOON, `the new file is ${outcome}`);
  };
  const isLetIn = async (token) => {
    const { socket } = people.begin(chat.url, { token });
    const answer = await Promise.race([connected(socket).then(() => true), refusal(socket).then(({ data }) => data.code)]);
    if (answer !== true) assert.equal(answer, 301);
    return answer === true;
  };

  it("RS256 and ES256 tokens are let in by the key that they name", async () => {
    for (const key of [first, curve]) assert.equal((await people.enter(chat.url, { token: key.token("alice") })).session.name, "alice");
    assert.equal(await isLetIn(second.token("alice")), false);
    assert.equal(await isLetIn(first.token("alice", { kid: "curve" })), false);
    assert.equal(await isLetIn(second.token("alice", { kid: "one" })), false);
  });

  it("the keys of a set are exchanged one after another, and nobody is cut off", async () => {
    const [alice, bob] = [await people.enter(chat.url, { token: first.token("alice") }), await people.enter(chat.urls[1], { token: curve.token("bob") })];
    await exchange(set(first, second, curve));
    assert.deepEqual([await isLetIn(first.token("x")), await isLetIn(second.token("x"))], [true, true]);
    await exchange(set(second, curve));
    assert.deepEqual([await isLetIn(first.token("x")), await isLetIn(second.token("x"))], [false, true]);
    assert.equal(alice.sessions.length, 1);
    assert.equal(alice.socket.connected, true);
    await bob.say("for all");
    await until(() => alice.contents.includes("for all"));

    // The session is alice's, whichever key her token was signed with.
    const { id } = alice.socket;
    alice.socket.auth = { token: second.token("alice") };
    people.cut(alice.socket, "silent");
    await until(() => !alice.socket.connected);
    await reconnected(alice.socket);
    assert.deepEqual([alice.socket.recovered, alice.socket.id], [true, id]);
  });

  it("a file that cannot be used keeps the old keys, and is told once without its content", async () => {
    await exchange(set(first, curve));
    const content = `{"keys": [{"kty": "RSA", "kid": "one", "n": "c2VzYW1l", "e": "AQAB"}]}`;
    await exchange(content, "refused");
    assert.equal(await isLetIn(first.token("x")), true);
    const { files } = await reportOf(chat);
    assert.match(files[0].problem, /^auth\.jwt\.jwksFile .*2048 to 4096 bits/);
    assert.equal((await metricsOf(chat)).get('chatcluster_reload_refused{file="keys"}'), 1);
    assert.equal((await fetch(`${chat.adminUrl}/readyz`)).status, 200);
    await exchange(set(second, curve));
    assert.deepEqual((await reportOf(chat)).files, [{ name: "keys" }]);
    assert.equal(chat.output.match(/a changed file cannot be used/g)?.length, 1);
    assert.ok(!chat.output.includes("c2VzYW1l"));
    await exchange(set(first, curve));
  });

  const ATTACKS = {
    "HS256 with the public key as PEM": () => signHs256(claims(), first.pem, { kid: "one" }),
    "HS256 with the key set": () => signHs256(claims(), set(first, curve), { kid: "one" }),
    "HS256 with the modulus": () => signHs256(claims(), Buffer.from(first.jwk.n, "base64url"), { kid: "one" }),
    "alg none": () => `${part({ alg: "none", kid: "one" })}.${part(claims())}.`,
    "alg none, with a signature": () => `${part({ alg: "none", kid: "one" })}.${first.token().split(".").slice(1).join(".")}`,
    "another algorithm of the same key": () => first.token("x", { alg: "RS512" }),
    "ES256 with an empty signature": () => `${part({ alg: "ES256", kid: "curve" })}.${part(claims())}.${Buffer.alloc(64).toString("base64url")}`,
    "a key of its own in the header": () => second.token("x", { kid: undefined, jwk: second.jwk }),
    "a kid that is a path": () => second.token("x", { kid: "../../etc/passwd" }),
  };
  for (const [what, make] of Object.entries(ATTACKS)) {
    it(`301: ${what}`, async () => assert.equal(await isLetIn(make()), false));
  }
});

describe("one key in a file", () => {
  let people;
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  for (const kind of ["RS256", "ES256"]) {
    it(`${kind}: the public key as PEM, which is no secret`, async (t) => {
      const key = pair("any", kind);
      const volume = new Volume();
      t.after(() => volume.remove());
      volume.write({ key: key.pem });
      const chat = await startChat({ config: { auth: { type: "Jwt", jwt: { algorithms: [kind], keyFile: volume.path("key") } } } });
      t.after(() => chat.stop());
      await people.enter(chat.url, { token: key.token("alice") });
      for (const secret of [key.pem, key.pem.trim()]) {
        const { socket } = people.begin(chat.url, { token: signHs256(claims(), secret) });
        assert.equal((await refusal(socket)).data.code, 301);
      }
    });
  }
});

describe("configuration that is reloaded", () => {
  let people;
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  it("limits, rules of tokens and backends' tokens change under connected clients; the rest is named", async (t) => {
    const volume = new Volume();
    t.after(() => volume.remove());
    const api = apiConfig(volume.folder);
    const secret = randomBytes(32).toString("hex");
    const config = (more) => JSON.stringify({ limits: { ...UNLIMITED, messageCharacters: 10 }, ...api, ...more });
    volume.write({ "server.yaml": config(), key: secret });
    const chat = await startChat({ args: ["--config", volume.path("server.yaml")] });
    t.after(() => chat.stop());
    const reload = async (more, outcome = "loaded") => {
      const count = await loads(chat, "config", outcome);
      volume.write({ "server.yaml": config(more), key: secret });
      await until(async () => (await loads(chat, "config", outcome)) > count, 2 * SOON, `the configuration is ${outcome}`);
    };
    const early = await people.enter(chat.url, { name: "early" });
    assert.equal((await early.say("more than ten characters")).error.code, 201);

    const { hash } = (await reportOf(chat)).config;
    await reload({ limits: { ...UNLIMITED, messageCharacters: 100 }, engine: { pingInterval: "9s" } });
    assert.equal((await early.say("more than ten characters")).error, undefined);
    const report = (await reportOf(chat)).config;
    assert.notEqual(report.hash, hash);
    assert.deepEqual(report.atNextStart, ["engine.pingInterval"]);

    await reload({ limits: { messageCharacters: 0 } }, "refused");
    assert.equal((await early.say("more than ten characters, again")).error, undefined);
    assert.match((await reportOf(chat)).config.problem, /^limits\.messageCharacters: found `0`/);

    await reload({ limits: UNLIMITED, auth: { type: "Jwt", jwt: { keyFile: volume.path("key") } } });
    assert.equal((await refusal(people.begin(chat.url, { name: "late" }).socket)).data.code, 300);
    await people.enter(chat.url, { token: signHs256(claims(), secret) });
    assert.deepEqual([early.socket.connected, early.sessions.length], [true, 1]);

    const backend = new Backend(await until(() => originOf(chat)));
    assert.equal((await backend.ask("GET", "/lobby/sockets")).status, 200);
    writeFileSync(api.api.tokenFile, "a-token-that-came-later-0123456789-0123456789\n");
    await until(async () => (await backend.ask("GET", "/lobby/sockets")).status === 401, 2 * SOON, "the old token does not count");
    const headers = { authorization: "Bearer a-token-that-came-later-0123456789-0123456789" };
    assert.equal((await backend.ask("GET", "/lobby/sockets", { headers })).status, 200);
  });
});
