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
  room.noteLeft("id-2");
  room.noteLeft("id-2");
  assert.deepEqual([room.total, room.members.size], [2, 2]);
});

test("in a crowd, people beyond the list are counted", () => {
  const room = new Room(null);
  room.setMembers({ members: people(500), total: 700, missing: [] });
  room.noteLeft("not listed");
  assert.deepEqual([room.total, room.members.size], [699, 500]);
});

test("who comes back with the same session is in the room again, others are not", () => {
  const room = new Room("garden");
  room.setMembers({ members: people(2), total: 2, missing: [] });
  room.noteGone("id-1");
  room.noteGone("elsewhere");
  assert.deepEqual([room.total, [...room.members.keys()]], [1, ["id-0"]]);
  room.noteBack("id-1");
  room.noteBack("id-1");
  room.noteBack("elsewhere");
  assert.deepEqual([room.total, [...room.members.keys()]], [2, ["id-0", "id-1"]]);
});
