import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageLog } from "../src/message_log";
import type { Stored } from "../src/protocol";

const message = (serverOffset: number, content = `m${serverOffset}`): Stored => ({
  serverOffset,
  content,
  author: "Ada",
  at: serverOffset,
});
const messages = (...offsets: number[]) => offsets.map((offset) => message(offset));
const offsets = (log: MessageLog) => log.messages.map(({ serverOffset }) => serverOffset);

function logOf(...of: number[]): MessageLog {
  const log = new MessageLog();
  for (const offset of of) log.addEvent(message(offset));
  return log;
}

test("messages are ordered by position in whatever order they arrive", () => {
  assert.deepEqual(offsets(logOf(5, 9, 2, 7, 1)), [1, 2, 5, 7, 9]);
});

test("a repeated message is not new and shows once", () => {
  const log = logOf(3);
  assert.equal(log.addEvent(message(3)), false);
  assert.deepEqual(offsets(log), [3]);
});

test("an event after its acknowledgement corrects the guessed time and shows once", () => {
  const log = logOf(1);
  assert.equal(log.addAcknowledged({ ...message(2), at: 999 }), true);
  assert.equal(log.addEvent(message(2)), false);
  assert.deepEqual(log.messages[1], message(2));
});

test("an acknowledgement after its event changes nothing", () => {
  const log = logOf(1, 2);
  assert.equal(log.addAcknowledged({ ...message(2), at: 999 }), false);
  assert.deepEqual(log.messages[1], message(2));
});

test("a duplicate acknowledged from before the known range is left to its page", () => {
  const log = logOf(10, 11);
  assert.equal(log.addAcknowledged(message(4)), false);
  assert.equal(log.olderBefore, 10);
  log.addOlder({ messages: messages(3, 4, 5), more: true });
  assert.deepEqual(offsets(log), [3, 4, 5, 10, 11]);
});

test("a duplicate acknowledged inside a gap is left to its page", () => {
  const log = logOf(1);
  log.openGap(1, 50);
  log.addEvent(message(50));
  assert.equal(log.addAcknowledged(message(20)), false);
});

test("older pages move the edge back until no more exist", () => {
  const log = logOf(10);
  assert.equal(log.olderBefore, 10);
  log.addOlder({ messages: messages(7, 8, 9), more: true });
  assert.equal(log.olderBefore, 7);
  log.addOlder({ messages: [], more: false });
  assert.equal(log.more, false);
});

test("the first page of an empty log is the newest", () => {
  const log = new MessageLog();
  assert.equal(log.olderBefore, undefined);
  log.addOlder({ messages: messages(4, 5), more: false });
  assert.deepEqual(offsets(log), [4, 5]);
});

test("an own message in a log without history does not hide the history", () => {
  const log = new MessageLog();
  log.addAcknowledged(message(9));
  assert.equal(log.olderBefore, undefined);
  log.addOlder({ messages: messages(7, 8, 9), more: true });
  assert.deepEqual(offsets(log), [7, 8, 9]);
  assert.equal(log.olderBefore, 7);
});

test("a gap closes when a page reaches what lies before it", () => {
  const log = logOf(1, 2);
  log.openGap(2, 100);
  log.addEvent(message(100));
  const [gap] = log.gaps;
  assert.ok(gap);
  log.fillGap(gap, { messages: messages(60, 70), more: true });
  assert.deepEqual(log.gaps, [{ after: 2, before: 60 }]);
  const [smaller] = log.gaps;
  assert.ok(smaller);
  log.fillGap(smaller, { messages: messages(1, 2, 30), more: false });
  assert.deepEqual(log.gaps, []);
  assert.deepEqual(offsets(log), [1, 2, 30, 60, 70, 100]);
});

test("a gap below everything that is known is only history", () => {
  const log = new MessageLog();
  log.openGap(2, 100);
  assert.deepEqual(log.gaps, []);
  assert.equal(log.more, true);
});

test("the same gap reported twice is one break", () => {
  const log = logOf(1);
  log.openGap(1, 9);
  log.openGap(1, 9);
  assert.equal(log.gaps.length, 1);
});

test("a forward page returns only what is new", () => {
  const log = logOf(1, 3);
  const fresh = log.addNewer({ messages: messages(2, 3, 4), more: false });
  assert.deepEqual(
    fresh.map(({ serverOffset }) => serverOffset),
    [2, 4],
  );
});

test("trimming drops the oldest, and they can be paged in again", () => {
  const log = logOf(1, 2, 3, 4);
  log.addOlder({ messages: [], more: false });
  log.trim(2);
  assert.deepEqual(offsets(log), [3, 4]);
  assert.equal(log.more, true);
  assert.equal(log.olderBefore, 3);
});
