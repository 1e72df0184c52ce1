import assert from "node:assert/strict";
import { test } from "node:test";
import type { HistoryQuery, Stored } from "../src/protocol";
import { Room } from "../src/room";
import { type Request, RoomSync } from "../src/room_sync";

/** A server whose room holds the positions 1 to `count`. */
function server(count: number) {
  const queries: HistoryQuery[] = [];
  const all = Array.from(
    { length: count },
    (_, index): Stored => ({ serverOffset: index + 1, content: "x", author: "Ada", at: 0 }),
  );
  const page = ({ before = Number.POSITIVE_INFINITY, after, limit }: HistoryQuery) => {
    const found = all.filter((m) => m.serverOffset > (after ?? 0) && m.serverOffset < before);
    const messages = after === undefined ? found.slice(-limit) : found.slice(0, limit);
    return { messages, more: found.length > messages.length };
  };
  const answer = async (event: string, argument: unknown) => {
    if (event === "room:join") return { room: argument, serverOffset: count };
    queries.push(argument as HistoryQuery);
    return page(argument as HistoryQuery);
  };
  return { queries, request: answer as unknown as Request };
}

test("a first join asks for no history", async () => {
  const { queries, request } = server(30);
  const room = new Room("garden");
  await new RoomSync(request, () => {}).join(room);
  assert.deepEqual([room.isJoined, room.position, queries.length], [true, 30, 0]);
});

test("a join after a lost session fills page by page from the last position", async () => {
  const { queries, request } = server(250);
  const missed: number[] = [];
  const room = new Room("garden");
  room.advance(20);
  await new RoomSync(request, (_, messages) => missed.push(messages.length)).join(room);
  assert.deepEqual(
    queries.map(({ after }) => after),
    [20, 120, 220],
  );
  assert.deepEqual(missed, [100, 100, 30]);
  assert.deepEqual([room.position, room.needsFill], [250, false]);
});

test("a live message before the join's acknowledgement hides nothing that was missed", async () => {
  const { queries, request } = server(30);
  const room = new Room("garden");
  const live: Stored = { serverOffset: 31, content: "x", author: "Ada", at: 0 };
  const early = ((event: string, argument: unknown) => {
    if (event === "room:join") room.addEvent(live);
    return request(event as "room:join", argument);
  }) as Request;
  room.addEvent({ ...live, serverOffset: 20 });
  await new RoomSync(early, () => {}).join(room);
  assert.deepEqual(
    queries.map(({ after }) => after),
    [20],
  );
  assert.deepEqual(
    room.log.messages.map(({ serverOffset }) => serverOffset),
    Array.from({ length: 12 }, (_, index) => index + 20),
  );
});

test("a fill that is cut resumes where it was", async () => {
  const { queries, request } = server(250);
  const room = new Room("garden");
  room.advance(20);
  let calls = 0;
  const cut = ((event: "history", argument: unknown) => {
    calls += 1;
    return calls === 3 ? Promise.reject(new Error("cut")) : request(event, argument);
  }) as Request;
  await assert.rejects(new RoomSync(cut, () => {}).join(room));
  assert.equal(room.needsFill, true);
  await new RoomSync(request, () => {}).fill(room);
  assert.equal(room.log.messages.length, 230);
  assert.equal(new Set(queries.map(({ after }) => after)).size, queries.length);
});

test("too much missed leaves a break before the newest page", async () => {
  const { request } = server(5_000);
  const room = new Room("garden");
  room.log.addEvent({ serverOffset: 20, content: "x", author: "Ada", at: 0 });
  room.advance(20);
  await new RoomSync(request, () => {}).join(room);
  assert.deepEqual(room.log.gaps, [{ after: 1_020, before: 4_901 }]);
  assert.deepEqual([room.position, room.needsFill], [5_000, false]);
});

test("one page is loaded at a time", async () => {
  const { queries, request } = server(200);
  const room = new Room("garden");
  const sync = new RoomSync(request, () => {});
  await Promise.all([sync.loadOlder(room), sync.loadOlder(room)]);
  assert.equal(queries.length, 1);
  await sync.loadOlder(room);
  assert.equal(queries[1]?.before, 151);
});
