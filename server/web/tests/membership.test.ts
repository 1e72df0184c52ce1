import assert from "node:assert/strict";
import { test } from "node:test";
import { Membership } from "../src/membership";
import { Outbox } from "../src/outbox";
import { type Request, RoomSync } from "../src/room_sync";

const request = (() => Promise.reject(new Error("not asked"))) as Request;

function membership(onPresenceDue: () => void): Membership {
  return new Membership({
    sync: new RoomSync(request, () => {}),
    outbox: new Outbox({ load: () => [], save: () => {} }),
    request,
    isReady: () => true,
    onJoined: () => {},
    onRemoved: () => {},
    onProblem: () => {},
    onPresenceDue,
  });
}

test("after a burst of people who is here is asked for once, for signs of them get lost", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  const rooms = membership(() => {
    asked += 1;
  });
  for (let index = 0; index < 20; index += 1) {
    rooms.notePresence({ room: null, id: `id-${index}`, name: "guest" }, true);
  }
  assert.deepEqual([rooms.lobby.total, asked], [20, 0]);
  t.mock.timers.tick(20_000);
  assert.equal(asked, 1);
  t.mock.timers.tick(60_000);
  assert.equal(asked, 1);
  rooms.notePresence({ room: null, id: "id-1", name: "guest" }, false);
  t.mock.timers.tick(20_000);
  assert.equal(asked, 2);
});
