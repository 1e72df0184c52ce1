// The HTTP API (docs/http-api.md): what backends say, emit, see and end, as official clients see it on another node.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { promisify } from "node:util";
import { startChatWithApi, TOKEN } from "../support/api.mjs";
import { signHs256 } from "../support/jwt.mjs";
import { until } from "../support/wait.mjs";
import { once, People, reconnected, UNLIMITED } from "./people.mjs";

const run = promisify(execFile);
const KEY = randomBytes(32).toString("hex");
const DOCS = new URL("../../../docs/http-api.md", import.meta.url);
const as = (sub, name = sub) => ({ token: signHs256({ sub, name, exp: Math.floor(Date.now() / 1000) + 600 }, KEY) });

describe("the HTTP API", () => {
  let folder;
  let chat;
  let backend;
  let people;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "chatcluster-key-"));
    const keyFile = join(folder, "key");
    writeFileSync(keyFile, KEY);
    ({ chat, backend } = await startChatWithApi({ nodes: 2, config: { limits: { ...UNLIMITED, roomsPerSocket: 2 }, auth: { type: "Jwt", jwt: { keyFile } } } }));
  });
  after(async () => {
    await chat?.stop();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  it("a message is seen by who is there, stands in the history, and is one however often it is sent", async () => {
    const [inside, outside] = [await people.enter(chat.urls[1], as("ann")), await people.enter(chat.url, as("bob"))];
    const room = `tea/ü ${randomUUID()}`;
    await inside.ask("room:join", room);
    const place = `rooms/${encodeURIComponent(room)}`;
    const answers = await Promise.all(["k1", "k1", "k1"].map((key) => backend.say(place, "hello", key, "shop")));
    const { serverOffset } = answers[0].body;
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 201]);
    assert.ok(answers.every(({ status, body }) => body.serverOffset === serverOffset && body.duplicate === (status === 200)));
    assert.equal((await backend.say(place, "other", "k1", "shop")).status, 201);
    assert.equal((await backend.say("lobby", "to all", randomUUID())).status, 201);
    await until(() => inside.contents.includes("to all") && outside.contents.includes("to all"));
    await inside.settled();
    assert.deepEqual(inside.rooms[room].map(({ content, author }) => [content, author]), [["hello", "shop"], ["other", "shop"]]);
    assert.equal(inside.rooms[room][0].serverOffset, serverOffset);
    assert.equal(outside.rooms[room], undefined);
    const { messages } = await inside.ask("history", { room });
    assert.deepEqual(messages.map(({ content, author }) => [content, author]), [["hello", "shop"], ["other", "shop"]]);
    assert.equal(messages[0].serverOffset, serverOffset);
  });

  it("a client's message is never a duplicate of a backend's", async () => {
    const ann = await people.enter(chat.url, as("ann"));
    const id = randomUUID();
    assert.equal((await backend.say("lobby", "same", id, "ann")).status, 201);
    assert.equal((await ann.say("same", id)).duplicate, false);
  });

  it("an event for a user reaches all sockets of the user and nobody else, also those that were away", async () => {
    const sub = `u/${randomUUID()}`;
    const [phone, laptop, bob] = [await people.enter(chat.url, as(sub)), await people.enter(chat.urls[1], as(sub)), await people.enter(chat.url, as("bob"))];
    const place = `users/${encodeURIComponent(sub)}`;
    const { status, body } = await backend.emit(place, "invoice", [7, { due: null }]);
    assert.equal(status, 200);
    assert.ok(body.serverOffset > 0);
    const got = (person) => person.events.filter(([event]) => event === "invoice").map(([, ...args]) => args);
    for (const person of [phone, laptop]) await until(() => got(person).length === 1);
    assert.deepEqual(got(phone), [[7, { due: null }]]);

    phone.socket.io.reconnection(false);
    people.cut(phone.socket, "hard");
    await backend.emit(place, "invoice", ["missed"]);
    phone.socket.io.reconnection(true);
    phone.socket.connect();
    await reconnected(phone.socket);
    assert.equal(phone.socket.recovered, true);
    await backend.emit(place, "invoice", ["after"]);
    for (const person of [phone, laptop]) await until(() => got(person).length === 3);
    assert.deepEqual(got(phone).slice(1), [["missed"], ["after"]]);
    await bob.settled();
    assert.deepEqual(got(bob), []);
  });

  it("the room of a user takes none of the user's rooms, and cannot be joined by name", async () => {
    const [ann, mallory] = [await people.enter(chat.url, as("ann")), await people.enter(chat.url, as("mallory"))];
    for (const room of ["one", "user:ann"]) assert.equal((await mallory.ask("room:join", room)).error, undefined);
    assert.equal((await mallory.ask("room:join", "three")).error.code, 205);
    const got = once(ann.socket, "secret");
    await backend.emit("users/ann", "secret", []);
    await got;
    await backend.emit("lobby", "fence", []);
    await until(() => mallory.events.some(([event]) => event === "fence"));
    assert.ok(!mallory.events.some(([event]) => event === "secret"));
  });

  it("an event for several rooms reaches each once, and nobody who is in an excepted one, also those that were away", async () => {
    const [one, two, off] = [randomUUID(), randomUUID(), randomUUID()];
    const [ann, bob, eve, zoe] = await Promise.all(["ann", "bob", "eve", "zoe"].map((sub, i) => people.enter(chat.urls[i % 2], as(sub))));
    for (const [person, rooms] of [[ann, [one, two]], [bob, [two]], [eve, [one, off]]]) for (const room of rooms) await person.ask("room:join", room);
    ann.socket.io.reconnection(false);
    people.cut(ann.socket, "hard");
    await backend.emit(`rooms/${one}`, "shift", ["both"], { rooms: [two, one], except: [off] });
    await backend.emit("lobby", "shift", ["all but"], { except: [off, one] });
    await backend.emit("lobby", "shift", ["all"]);
    ann.socket.io.reconnection(true);
    ann.socket.connect();
    await reconnected(ann.socket);
    const got = (person) => person.events.filter(([event]) => event === "shift").map(([, arg]) => arg);
    for (const person of [ann, bob, eve, zoe]) await until(() => got(person).includes("all"));
    assert.deepEqual([ann, bob, eve, zoe].map(got), [["both", "all"], ["both", "all but", "all"], ["all"], ["all but", "all"]]);
  });

  it("a volatile event reaches who is in the room, on whichever node, and nobody else", async () => {
    const [ann, bob] = [await people.enter(chat.urls[1], as("ann")), await people.enter(chat.url, as("bob"))];
    await ann.ask("room:join", "prices");
    const got = once(ann.socket, "price");
    assert.deepEqual(await backend.emit("rooms/prices", "price", [1], { volatile: true }), { status: 200, body: { serverOffset: null } });
    assert.equal((await got)[0], 1);
    await bob.settled();
    assert.ok(!bob.events.some(([event]) => event === "price"));
  });

  it("sockets are listed from all nodes with their names, users and rooms", async () => {
    const room = randomUUID();
    const [ann, bob] = [await people.enter(chat.url, as("ann", "Ann")), await people.enter(chat.urls[1], as("bob", "Bob"))];
    for (const person of [ann, bob]) await person.ask("room:join", room);
    const { body } = await backend.ask("GET", `/rooms/${room}/sockets`);
    assert.deepEqual(
      body.sockets.sort((a, b) => (a.name < b.name ? -1 : 1)),
      [
        { id: ann.socket.id, node: "0", name: "Ann", user: "ann", rooms: [room] },
        { id: bob.socket.id, node: "1", name: "Bob", user: "bob", rooms: [room] },
      ],
    );
    assert.equal(body.total, 2);
    assert.deepEqual(body.missing, []);
    assert.deepEqual((await backend.ask("GET", "/users/bob/sockets")).body.sockets.map(({ id }) => id), [bob.socket.id]);
    assert.equal((await backend.ask("GET", "/lobby/sockets")).body.total, 2);
  });

  it("who is sent away gets packet 41 and does not come back: by id, by room, by user", async () => {
    const room = randomUUID();
    const [ann, bob, eve, bystander] = await Promise.all(["ann", "bob", "eve", "zoe"].map((sub, i) => people.enter(chat.urls[i % 2], as(sub))));
    await bob.ask("room:join", room);
    for (const [person, path] of [
      [ann, `/sockets/${ann.socket.id}`],
      [bob, `/rooms/${room}/sockets`],
      [eve, "/users/eve/sockets"],
    ]) {
      const reason = once(person.socket, "disconnect");
      assert.deepEqual(await backend.ask("DELETE", path), { status: 200, body: { sockets: 1, missing: [] } });
      assert.equal((await reason)[0], "io server disconnect");
      assert.deepEqual(await backend.ask("DELETE", path), { status: 200, body: { sockets: 0, missing: [] } });
    }
    assert.equal(bystander.socket.connected, true);
    assert.equal(eve.socket.active, false);
  });

  it("the examples of docs/http-api.md answer what stands there", async () => {
    const ann = await people.enter(chat.urls[1], as("ann", "Ann"));
    await ann.ask("room:join", "news desk");
    const examples = [...readFileSync(DOCS, "utf8").matchAll(/```sh\n(.*?)```\n```json\n(.*?)```/gs)];
    assert.equal(examples.length, 7);
    // positions and socket ids are other ones each time
    const general = (key, value) => (key === "serverOffset" ? typeof value : key === "id" ? value.length : value);
    for (const [, command, answer] of examples) {
      const { stdout } = await run("bash", ["-euc", command], { env: { ...process.env, API: backend.base, TOKEN }, timeout: 20_000 });
      assert.deepEqual(JSON.parse(stdout, general), JSON.parse(answer, general), command);
    }
  });

  it("tokens stand in no output", () => assert.ok(!chat.output.includes(TOKEN)));
});

describe("the HTTP API of a server that ends", () => {
  it("stores while the server drains, refuses once it is done, and what it stored is there after the restart", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-data-"));
    const people = new People();
    try {
      const { chat, backend } = await startChatWithApi({ dataDir, config: { drain: { settle: "2s" } } });
      const drain = async (method) => (await fetch(`${chat.adminUrl}/drain`, { method })).json();
      assert.equal((await drain("POST")).draining, true);
      assert.equal((await backend.say("lobby", "while draining", "k")).status, 201);
      assert.equal((await drain("GET")).done, false);
      await until(async () => (await drain("GET")).done);
      const refused = await backend.say("lobby", "too late", "l");
      assert.deepEqual([refused.status, refused.body.error.code, refused.body.error.retry], [503, 103, true]);
      await chat.stop();
      const again = await startChatWithApi({ dataDir });
      const repeated = await again.backend.say("lobby", "while draining", "k");
      assert.deepEqual([repeated.status, repeated.body.duplicate], [200, true]);
      const person = await people.enter(again.chat.url);
      await until(() => person.contents.length === 1);
      people.close();
      await again.chat.stop();
    } finally {
      people.close();
      rmSync(dataDir, { recursive: true });
    }
  });
});
