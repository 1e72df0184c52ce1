// auth: Jwt with HS256. Who gets in, as whom, and what belongs to whom.
import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { signHs256 } from "../support/jwt.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { connected, reconnected, refusal } from "../client/official.mjs";
import { MODES, People, UNLIMITED } from "./people.mjs";

const KEY = randomBytes(32).toString("hex");
const now = () => Math.floor(Date.now() / 1000);
const claims = (more = {}) => ({ sub: "alice", iss: "https://issuer.example", aud: "chat", exp: now() + 600, ...more });
const token = (more = {}, key = KEY) => signHs256(claims(more), key);
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const without = (claim) => {
  const rest = claims();
  delete rest[claim];
  return signHs256(rest, KEY);
};

function hs512() {
  const unsigned = `${part({ alg: "HS512", typ: "JWT" })}.${part(claims())}`;
  return `${unsigned}.${createHmac("sha512", KEY).update(unsigned).digest("base64url")}`;
}

function rs256() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const unsigned = `${part({ alg: "RS256", typ: "JWT" })}.${part(claims())}`;
  return `${unsigned}.${sign("sha256", Buffer.from(unsigned), privateKey).toString("base64url")}`;
}

function tampered() {
  const [head, , signature] = token().split(".");
  return `${head}.${part(claims({ sub: "mallory" }))}.${signature}`;
}

describe("auth: Jwt", () => {
  let folder;
  let chat;
  let people;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "chatcluster-key-"));
    const keyFile = join(folder, "key");
    writeFileSync(keyFile, `${KEY}\n`);
    const jwt = { algorithms: ["HS256"], keyFile, issuer: "https://issuer.example", audience: "chat", clockSkew: "5s" };
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED, auth: { type: "Jwt", jwt } } });
  });
  after(async () => {
    await chat?.stop();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  const refusedWith = async (auth, code, options) => {
    const person = people.begin(chat.url, auth, options);
    const { data, message } = await refusal(person.socket);
    assert.equal(data?.code, code, JSON.stringify({ message, data }));
    assert.equal(data.retry, false);
    assert.equal(typeof data.message, "string");
    assert.deepEqual(person.events, []);
    return data;
  };

  for (const [mode, options] of Object.entries(MODES)) {
    it(`a valid token is let in under its name, by ${mode}`, async () => {
      const person = await people.enter(chat.url, { token: token({ name: "Alice A." }), name: "someone else" }, options);
      assert.equal(person.session.name, "Alice A.");
      assert.equal((await people.enter(chat.url, { token: token() }, options)).session.name, "alice");
      await refusedWith({}, 300, options);
    });
  }

  it("300: no token", async () => {
    await refusedWith({}, 300);
    await refusedWith({ name: "alice" }, 300);
  });

  const INVALID = {
    "another key": () => token({}, "0".repeat(64)),
    "another issuer": () => token({ iss: "https://other.example" }),
    "no issuer": () => without("iss"),
    "another audience": () => token({ aud: "mail" }),
    "no audience": () => without("aud"),
    "no subject": () => without("sub"),
    "an empty subject": () => token({ sub: "" }),
    "no expiry": () => without("exp"),
    "not yet valid": () => token({ nbf: now() + 600 }),
    "alg none, unsigned": () => `${part({ alg: "none", typ: "JWT" })}.${part(claims())}.`,
    "alg none, with a signature": () => `${part({ alg: "none" })}.${token().split(".").slice(1).join(".")}`,
    "HS512 with the right key": hs512,
    "RS256": rs256,
    "claims changed after signing": tampered,
    "two parts": () => token().split(".").slice(0, 2).join("."),
    "not a token": () => "let me in",
    "an empty string": () => "",
  };
  for (const [what, make] of Object.entries(INVALID)) {
    it(`301: ${what}`, async () => {
      const secret = make();
      const data = await refusedWith({ token: secret }, 301);
      if (secret.length > 8) assert.ok(!JSON.stringify(data).includes(secret), "the refusal repeats the token");
    });
  }

  it("301: a token that is not a string", async () => {
    for (const value of [7, {}, ["a"], true]) await refusedWith({ token: value }, 301);
  });

  it("302: an expired token, beyond the clock skew only", async () => {
    await refusedWith({ token: token({ exp: now() - 60 }) }, 302);
    await people.enter(chat.url, { token: token({ exp: now() - 1 }) });
  });

  it("an audience in a list is accepted", async () => {
    await people.enter(chat.url, { token: token({ aud: ["mail", "chat"] }) });
  });

  it("the identity is sub: another token of the same person recovers, another person's does not", async () => {
    const [alice, sender] = [await people.enter(chat.url, { token: token() }), await people.enter(chat.urls[1], { token: token({ sub: "bob" }) })];
    const { id } = alice.socket;
    alice.socket.auth = { token: token({ iat: now() - 5, exp: now() + 900 }) };
    people.cut(alice.socket, "silent");
    await until(() => !alice.socket.connected);
    await sender.say("for alice");
    await reconnected(alice.socket);
    assert.equal(alice.socket.recovered, true);
    assert.equal(alice.socket.id, id);
    await until(() => alice.contents.includes("for alice"));
  });

  it("someone else's pid recovers nothing and costs its owner nothing", async () => {
    const [alice, sender] = [await people.enter(chat.url, { token: token() }), await people.enter(chat.urls[1], { token: token({ sub: "bob" }) })];
    await alice.ask("room:join", "alice's");
    await sender.say("seen");
    await until(() => alice.contents.includes("seen"));
    const mallory = people.begin(chat.url, { token: token({ sub: "mallory" }), serverOffset: alice.lobby.at(-1).serverOffset }, { autoConnect: false });
    mallory.socket._pid = alice.socket._pid;
    mallory.socket._lastOffset = alice.socket._lastOffset;
    mallory.socket.connect();
    await connected(mallory.socket);
    assert.equal(mallory.socket.recovered, false);
    assert.notEqual(mallory.socket.id, alice.socket.id);
    assert.equal((await mallory.sayIn("alice's", "intrusion")).error.code, 204);
    assert.equal(alice.socket.connected, true);
    people.cut(alice.socket, "silent");
    await until(() => !alice.socket.connected);
    await reconnected(alice.socket);
    assert.equal(alice.socket.recovered, true);
  });

  it("an expired token recovers nothing and shows nothing of what was missed", async () => {
    const [alice, sender] = [await people.enter(chat.url, { token: token() }), await people.enter(chat.urls[1], { token: token({ sub: "bob" }) })];
    alice.socket.io.reconnection(false);
    people.cut(alice.socket, "silent");
    await sender.say("after the token expired");
    alice.socket.auth = { token: token({ exp: now() - 60 }) };
    const shown = alice.events.length;
    const refused = refusal(alice.socket);
    alice.socket.io.open();
    assert.equal((await refused).data.code, 302);
    assert.equal(alice.events.length, shown);
    alice.socket.auth = { token: token() };
    alice.socket.connect();
    await connected(alice.socket);
    await until(() => alice.contents.includes("after the token expired"));
    assert.equal(alice.contents.filter((text) => text === "after the token expired").length, 1);
  });

  it("message ids belong to the identity: the same id of two people is two messages, of one person's two devices one", async () => {
    const [phone, laptop, bob] = [
      await people.enter(chat.url, { token: token() }),
      await people.enter(chat.urls[1], { token: token() }),
      await people.enter(chat.url, { token: token({ sub: "bob" }) }),
    ];
    const first = await phone.say("the same", "device-0");
    assert.deepEqual(await laptop.say("the same", "device-0"), { serverOffset: first.serverOffset, duplicate: true });
    assert.equal((await bob.say("the same", "device-0")).duplicate, false);
  });

  it("the token appears nowhere in the server's output or in what others see", async () => {
    const secret = token({ sub: "quiet" });
    const [quiet, other] = [await people.enter(chat.url, { token: secret }), await people.enter(chat.url, { token: token() })];
    await quiet.say("hello");
    const seen = JSON.stringify([other.events, await other.ask("who")]);
    const signature = secret.split(".")[2];
    assert.ok(!seen.includes(signature));
    assert.ok(!chat.output.includes(signature));
    assert.ok(!chat.output.includes(KEY));
  });
});
