import assert from "node:assert/strict";
import { test } from "node:test";
import { Outbox, type OutboxStore, type Unsent } from "../src/outbox";

function memoryStore(): OutboxStore {
  let text = "[]";
  return {
    load: () => JSON.parse(text) as Unsent[],
    save: (entries) => {
      text = JSON.stringify(entries);
    },
  };
}

const refusal = { code: 201, message: "too long", retry: false };
const stored = (content: string, at = 1_000_000, author = "Ada") => ({
  serverOffset: 7,
  content,
  author,
  at,
});

test("an unsent message survives a reload with its clientOffset", () => {
  const store = memoryStore();
  new Outbox(store).add(null, "hi", "id-1", 5);
  const [entry] = new Outbox(store).entries;
  assert.equal(entry?.clientOffset, "id-1");
  assert.equal(entry?.state, "pending");
});

test("an acknowledged message is gone after a reload", () => {
  const store = memoryStore();
  const outbox = new Outbox(store);
  outbox.add(null, "hi", "id-1", 5);
  outbox.settle("id-1");
  assert.deepEqual(new Outbox(store).entries, []);
});

test("each room sends in the order of writing", () => {
  const outbox = new Outbox(memoryStore());
  outbox.add("garden", "one", "id-1", 1);
  outbox.add(null, "two", "id-2", 2);
  outbox.add("garden", "three", "id-3", 3);
  assert.equal(outbox.head("garden")?.clientOffset, "id-1");
  assert.equal(outbox.head(null)?.clientOffset, "id-2");
});

test("a refused message stays with its reason and does not hold up the next", () => {
  const store = memoryStore();
  const outbox = new Outbox(store);
  outbox.add(null, "bad", "id-1", 1);
  outbox.add(null, "good", "id-2", 2);
  outbox.refuse("id-1", refusal);
  assert.equal(outbox.head(null)?.clientOffset, "id-2");
  assert.deepEqual(new Outbox(store).entries[0]?.refusal, refusal);
  outbox.discard("id-1");
  assert.equal(outbox.entries.length, 1);
});

test("a full outbox takes no more", () => {
  const outbox = new Outbox(memoryStore());
  const taken = Array.from({ length: 501 }, (_, index) => outbox.add(null, "x", `id-${index}`, 1));
  assert.equal(taken.filter(Boolean).length, 500);
});

test("an event that looks like the message under way is taken for its echo", () => {
  const outbox = new Outbox(memoryStore());
  outbox.add(null, "hi", "id-1", 1_000_000);
  outbox.markTried("id-1");
  outbox.matchEcho(null, stored("hi"), "Ada");
  assert.equal(outbox.head(null)?.seenAt, 7);
});

test("what cannot be the echo is not taken for it", () => {
  const outbox = new Outbox(memoryStore());
  outbox.add(null, "hi", "id-1", 1_000_000);
  outbox.matchEcho(null, stored("hi"), "Ada"); // not sent yet
  outbox.markTried("id-1");
  outbox.matchEcho("garden", stored("hi"), "Ada");
  outbox.matchEcho(null, stored("hi", 1_000_000, "Grace"), "Ada");
  outbox.matchEcho(null, stored("ho"), "Ada");
  outbox.matchEcho(null, stored("hi", 1_000_000 - 3_600_000), "Ada"); // said an hour before
  assert.equal(outbox.head(null)?.seenAt, undefined);
});
