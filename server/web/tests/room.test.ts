import assert from "node:assert/strict";
import { test } from "node:test";
import { Room } from "../src/room";

const people = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ id: `id-${index}`, name: `guest-${index}` }));

test("who comes and goes is counted once", () => {
  const room = new Room(null);
  room.setMembers({ members: people(2), total: 2, missing: [] });
  room.noteJoined({ id: "id-2", name: "Ada" });
  room.noteJoined({ id: "id-2", name: "Ada" });
  assert.deepEqual([room.total, room.members.size], [3, 3]);
  room.noteLeft({ id: "id-2", name: "Ada" });
  room.noteLeft({ id: "id-2", name: "Ada" });
  assert.deepEqual([room.total, room.members.size], [2, 2]);
});

test("in a crowd, people beyond the list are counted", () => {
  const room = new Room(null);
  room.setMembers({ members: people(500), total: 700, missing: [] });
  room.noteLeft({ id: "not listed", name: "Grace" });
  assert.deepEqual([room.total, room.members.size], [699, 500]);
});
