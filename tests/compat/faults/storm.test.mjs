// SIGKILL in a storm of writes: every acknowledged message is in the history afterwards, none twice.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { startChat } from "../support/servers.mjs";
import { pause, until } from "../support/wait.mjs";

const ROUNDS = Number(process.env.STORM_ROUNDS ?? 4);
const SENDERS = 8;
const WINDOW = 40;

/** One sender with `WINDOW` messages in flight, until the connection ends; unanswered ones stay in `open`. */
async function storm(person, name, acknowledged, open) {
  let next = 0;
  const lane = async () => {
    while (person.socket.connected) {
      const content = `${name}-${next++}`;
      const id = `client-offset-of-${content}`;
      open.set(content, id);
      const answer = await person.socket.timeout(10_000).emitWithAck("chat message", content, id).catch(() => undefined);
      if (!answer || answer.error) return;
      acknowledged.set(content, answer.serverOffset);
      open.delete(content);
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, lane));
}

async function wholeHistory(person) {
  const all = [];
  let page;
  do {
    page = await person.ask("history", { after: all.at(-1)?.serverOffset ?? 0, limit: 100 });
    all.push(...page.messages);
  } while (page.more);
  return all;
}

describe("kill -9 during a write storm", () => {
  it(`${ROUNDS} times: every acknowledged message is stored at its position, none twice, and retries end well`, { timeout: 180_000 }, async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-storm-"));
    const config = { limits: UNLIMITED };
    const acknowledged = new Map();
    const open = new Map();
    let chat = await startChat({ nodes: 2, dataDir, config });
    const first = chat.port;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const people = new People({ reconnection: false });
        const persons = await Promise.all(
          Array.from({ length: SENDERS }, (_, i) => people.enter(chat.urls[i % 2], { serverOffset: Number.MAX_SAFE_INTEGER })),
        );
        const before_ = acknowledged.size;
        const storms = persons.map((person, i) => storm(person, `${round}-${i}`, acknowledged, open));
        await until(() => acknowledged.size > before_ + 500, 30_000, () => `500 acknowledgements; got ${acknowledged.size - before_}`);
        await pause(Math.random() * 300);
        await chat.kill();
        people.close();
        await Promise.all(storms);
        t.diagnostic(`round ${round}: ${acknowledged.size - before_} acknowledged, ${open.size} unanswered so far`);
        chat = await startChat({ nodes: 2, dataDir, config, port: first });
        const readers = new People();
        const reader = await readers.enter(chat.urls[1], { serverOffset: Number.MAX_SAFE_INTEGER });
        const stored = await wholeHistory(reader);
        const positions = new Map(stored.map(({ content, serverOffset }) => [content, serverOffset]));
        assert.equal(positions.size, stored.length, "a message is stored twice");
        const lost = [...acknowledged].filter(([content, position]) => positions.get(content) !== position);
        assert.deepEqual(lost.slice(0, 10), [], `${lost.length} acknowledged messages are lost or moved`);
        readers.close();
      }
      const people = new People();
      const person = await people.enter(chat.url, { serverOffset: Number.MAX_SAFE_INTEGER });
      for (const [content, id] of open) assert.ok((await person.say(content, id)).serverOffset > 0);
      const stored = await wholeHistory(person);
      const names = new Set(stored.map(({ content }) => content));
      assert.equal(names.size, stored.length, "a retry was stored twice");
      assert.equal(names.size, acknowledged.size + open.size);
      people.close();
    } finally {
      if (!chat.exit) await chat.stop();
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
