// A client that reads nothing of what a room is sent, in a cluster: it is let go into recovery, and costs nobody else anything.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { contents, People } from "../chat/people.mjs";
import { sumOf } from "../support/metrics.mjs";
import { startCluster } from "../support/nats.mjs";
import { connectPacket, parsePacket } from "../support/packets.mjs";
import { TcpClient } from "../support/raw.mjs";
import { until } from "../support/wait.mjs";
import { Wire } from "../support/wire.mjs";
import { row } from "./table.mjs";
import { CONFIG, DEADLINE, lasting } from "./under-load.mjs";

/** Together more than the kernel and the server keep for one connection, and less than a replay may carry. */
const COUNT = 1_000;
const PADDING = "€".repeat(3_990);
const READERS = lasting(6, 60);

/** Somebody in the lobby who stops reading after the CONNECT; what they come back with. */
async function stuck(url) {
  const peer = await TcpClient.upgrade(`${url.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`);
  await peer.frames.next();
  peer.sendText(connectPacket({ retryable: true }));
  const session = await peer.frames.find(({ payload }) => payload.toString().startsWith('42["session"'), "the session event");
  const answer = peer.frames.all.find(({ payload }) => payload.toString().startsWith("40"));
  peer.pause();
  return { peer, auth: { pid: parsePacket(answer.payload.toString()).data.pid, offset: parsePacket(session.payload.toString()).data.at(-1) } };
}

describe(`a client that stops reading, beside ${READERS} that read, on two servers`, () => {
  it("its connection ends, it is recovered on the other server with all that it missed, and the others do not notice", { timeout: DEADLINE }, async (t) => {
    const cluster = await startCluster({ config: { ...CONFIG, engine: { maxPayloadBytes: 100_000, maxSendQueueBytes: 1_000_000 } } });
    const people = new People();
    let slow;
    try {
      const readers = await Promise.all(Array.from({ length: READERS }, (_, i) => people.enter(cluster.urls[i % 2])));
      const ends = [];
      for (const { socket } of readers) socket.on("disconnect", (reason) => ends.push(reason));
      slow = await stuck(cluster.urls[1]);
      const [writer] = readers;
      let slowest = 0;
      for (let i = 0; i < COUNT; i += 20) {
        // the readers' own queues are bounded, too: let them follow
        const begin = Date.now();
        await Promise.all(Array.from({ length: 20 }, (_, n) => writer.say(`${i + n} ${PADDING}`)));
        await until(() => readers.every(({ lobby }) => lobby.length === i + 20), undefined, "the readers follow");
        slowest = Math.max(slowest, Date.now() - begin);
      }
      await until(async () => (await sumOf(cluster.servers, "overflows_total")) === 1, undefined, "the connection of the one who does not read overflows");
      const back = await Wire.connect(cluster.urls[0], { auth: slow.auth });
      assert.equal(back.pid, slow.auth.pid, "recovered");
      await until(() => back.lobby.length === COUNT, lasting(10_000), () => `all is replayed; ${back.lobby.length} are`);
      assert.deepEqual(back.lobby.map((content) => content.split(" ")[0]), contents(COUNT));
      assert.deepEqual(ends, []);
      for (const { contents: shown } of readers) assert.deepEqual(shown.map((content) => content.split(" ")[0]), contents(COUNT));
      row(t, { clients: READERS + 1, messages: COUNT, acknowledged: COUNT, reconnects: 1, recovered: 1, lost: 0, doubled: 0, "slowest ack ms": slowest });
      back.disconnect();
    } finally {
      slow?.peer.destroy();
      people.close();
      await cluster.stop();
    }
  });
});
