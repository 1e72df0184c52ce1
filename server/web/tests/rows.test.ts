import assert from "node:assert/strict";
import { test } from "node:test";
import type { Unsent } from "../src/outbox";
import type { Stored } from "../src/protocol";
import { buildRows, type MessageRow, type Row, type RowSource } from "../src/rows";

const NOON = new Date(2026, 5, 10, 12).getTime();
const MINUTE = 60_000;

const message = (serverOffset: number, author: string, at: number): Stored => ({
  serverOffset,
  author,
  at,
  content: `m${serverOffset}`,
});
const unsent = (clientOffset: string, more: Partial<Unsent> = {}): Unsent => ({
  clientOffset,
  room: null,
  content: clientOffset,
  writtenAt: NOON,
  state: "pending",
  tried: true,
  ...more,
});
const rowsOf = (source: Partial<RowSource>) =>
  buildRows({
    messages: [],
    gaps: [],
    unsent: [],
    ownName: "Ada",
    isOwn: () => false,
    clientOffsetOf: () => undefined,
    ...source,
  });
const onlyMessages = (rows: Row[]) =>
  rows.filter((row): row is MessageRow => row.kind === "message");

test("messages of one author within five minutes form a group", () => {
  const messages = [
    message(1, "Ada", NOON),
    message(2, "Ada", NOON + MINUTE),
    message(3, "Grace", NOON + 2 * MINUTE),
    message(4, "Grace", NOON + 20 * MINUTE),
  ];
  const starts = onlyMessages(rowsOf({ messages })).map((row) => row.startsGroup);
  assert.deepEqual(starts, [true, false, true, true]);
});

test("each day begins with one separator, and a group does not cross it", () => {
  const midnight = new Date(2026, 5, 11).getTime();
  const messages = [message(1, "Ada", midnight - MINUTE), message(2, "Ada", midnight + MINUTE)];
  const kinds = rowsOf({ messages }).map((row) => row.kind);
  assert.deepEqual(kinds, ["day", "message", "day", "message"]);
});

test("a gap stands before the first message after it", () => {
  const messages = [message(1, "Ada", NOON), message(9, "Ada", NOON)];
  const rows = rowsOf({ messages, gaps: [{ after: 1, before: 8 }] });
  assert.deepEqual(
    rows.map((row) => row.kind),
    ["day", "message", "gap", "message"],
  );
});

test("unsent messages come last, in the order of writing", () => {
  const rows = rowsOf({
    messages: [message(1, "Grace", NOON)],
    unsent: [unsent("a"), unsent("b")],
  });
  assert.deepEqual(
    onlyMessages(rows).map((row) => row.key),
    ["1", "a", "b"],
  );
});

test("a pending message and its echo are one row under one key", () => {
  const messages = [message(7, "Ada", NOON)];
  const rows = onlyMessages(rowsOf({ messages, unsent: [unsent("a", { seenAt: 7 })] }));
  assert.equal(rows.length, 1);
  assert.deepEqual([rows[0]?.key, rows[0]?.state, rows[0]?.isOwn], ["a", "sent", true]);
});

test("the key stays when the acknowledgement has settled the message", () => {
  const messages = [message(7, "Ada", NOON)];
  const rows = onlyMessages(rowsOf({ messages, clientOffsetOf: () => "a" }));
  assert.equal(rows[0]?.key, "a");
});

test("a pending message whose echo is not loaded stays visible", () => {
  const rows = onlyMessages(rowsOf({ unsent: [unsent("a", { seenAt: 7 })] }));
  assert.equal(rows[0]?.state, "pending");
});
