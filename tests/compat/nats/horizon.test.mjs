// Messages are known for as long as they are stored, not only as long as JetStream knows their ids.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { startCluster } from "../support/nats.mjs";
import { pause } from "../support/wait.mjs";

/** JetStream's dedup window is 30 s (crates/socketio-nats/src/stream.rs). */
const BEYOND_THE_WINDOW = 32_000;

describe("a clientOffset that is repeated when JetStream has forgotten it", () => {
  it("is acknowledged with the first position by every server, and shown to nobody again", { timeout: 60_000 }, async () => {
    const cluster = await startCluster({ servers: 3, config: { limits: UNLIMITED } });
    const people = new People();
    try {
      const persons = await Promise.all(cluster.urls.map((url) => people.enter(url)));
      const [a, b, c] = persons;
      const id = randomUUID();
      const first = await a.say("once", id);
      assert.equal(first.duplicate, false);
      // what is tested takes this long
      await pause(BEYOND_THE_WINDOW);
      await cluster.add();
      const late = await people.enter(cluster.urls[3]);
      const again = { serverOffset: first.serverOffset, duplicate: true };
      assert.deepEqual(await b.say("once", id), again, "on another server");
      assert.deepEqual(await c.say("once", id), again, "on a third one, after the second has been asked");
      assert.deepEqual(await late.say("once", id), again, "on one that was started since");
      assert.deepEqual(await a.say("once", id), again, "on the first");
      for (const person of [...persons, late]) {
        await person.settled();
        assert.deepEqual(person.contents, ["once"]);
        const { messages } = await person.ask("history", {});
        assert.deepEqual(messages.map(({ serverOffset }) => serverOffset), [first.serverOffset]);
      }
    } finally {
      people.close();
      await cluster.stop();
    }
  });
});
