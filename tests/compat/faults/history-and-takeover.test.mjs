// History, replay and takeover at their seams: a slow replay, messages during the backfill, a backfill larger than a queue,
// two takeovers at once, a successor on the same connection, attachments of someone who never connected.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { UNLIMITED } from "../chat/people.mjs";
import { connectPacket, parsePacket, TYPE } from "../support/packets.mjs";
import { PollingSession, RawWebSocket } from "../support/raw.mjs";
import { startChat } from "../support/servers.mjs";
import { pause, SOON, until } from "../support/wait.mjs";
import { Wire } from "../support/wire.mjs";

const numbers = (count, first = 0) => Array.from({ length: count }, (_, i) => first + i);
const webSocket = (chat) => RawWebSocket.open(`${chat.url}/socket.io/?EIO=4&transport=websocket`, { answerPings: true });

/** Runs `test` with a chat server of its own. */
async function withChat(config, test) {
  const chat = await startChat({ config: { limits: UNLIMITED, ...config } });
  const open = [];
  const kept = (closable) => (open.push(closable), closable);
  try {
    await test(chat, kept);
  } finally {
    for (const closable of open) closable.terminate();
    await chat.stop();
  }
}

/** A connection that has been let in and shown everything stored. */
async function enter(chat, kept, auth) {
  const wire = await Wire.connect(chat.url, { auth });
  kept(wire.socket);
  await until(() => wire.session, 2 * SOON, () => `the session event; got ${wire.packets.all.length} packets, open: ${wire.socket.isOpen}`);
  return wire;
}

/** A connection that has sent CONNECT and not been answered yet. */
async function knock(chat, kept, auth) {
  const socket = kept(await webSocket(chat));
  await socket.inbox.next();
  const wire = new Wire(socket);
  socket.send(connectPacket(auth));
  return wire;
}

/** Stores lobby messages, in order; returns their positions. @param {Wire} sender @param {string[]} contents @returns {Promise<number[]>} */
async function store(sender, contents) {
  const answers = await Promise.all(contents.map((content) => sender.ask("chat message", content)));
  return answers.map(([{ serverOffset, error }]) => {
    assert.equal(error, undefined);
    return serverOffset;
  });
}

/** Packets of Socket.IO read by polling. @param {PollingSession} session */
const poll = async (session) => (await session.receive(2 * SOON)).map((packet) => (packet.startsWith("4") ? parsePacket(packet) : packet));

/** The messages of a lobby's history that a newcomer is shown. */
const PAGE = 200;

describe("history", () => {
  it("without recovery, what is logged during the backfill follows it, none left out", async () => {
    await withChat({ recovery: { enabled: false } }, async (chat, kept) => {
      const sender = await enter(chat, kept);
      const [first] = await store(sender, numbers(2_000).map(String));
      let next = 2_000;
      let going = true;
      const flow = (async () => {
        for (; going; await sender.say(`${next++}`)) for (let i = 0; i < 9; i++) sender.emit("chat message", `${next++}`);
      })();
      try {
        for (let round = 0; round < 6; round++) {
          const reader = await enter(chat, kept, { serverOffset: first });
          const fence = next;
          await until(() => Number(reader.lobby.at(-1)) > fence, 2 * SOON, "live messages follow");
          const shown = reader.lobby.map(Number);
          const hole = shown.findIndex((n, i) => n !== i + 1);
          assert.equal(hole, -1, `after ${shown[hole - 1]} came ${shown[hole]}`);
          reader.cut();
        }
      } finally {
        going = false;
        await flow;
      }
    });
  });

  it("more of it than a send queue holds is shown completely, by websocket and by polling", async () => {
    await withChat({}, async (chat, kept) => {
      const sender = await enter(chat, kept);
      // six bytes of JSON for each character: 4.8 MB for 200 messages
      const content = "\u0001".repeat(4_000);
      await store(sender, numbers(200).map(() => content));
      const reader = await enter(chat, kept);
      assert.equal(reader.lobby.length, 200);
      const session = await PollingSession.open(`${chat.url}/socket.io/`);
      await session.post(connectPacket());
      const packets = [];
      const named = (name) => packets.filter(({ type, data }) => type === TYPE.event && data[0] === name);
      while (named("session").length === 0) packets.push(...(await poll(session)));
      assert.equal(named("chat message").length, 200);
    });
  });

  it("a room that is joined while it is on its way has no hole", async () => {
    await withChat({}, async (chat, kept) => {
      const sender = await enter(chat, kept);
      // more than the kernel holds for a reader that does not read
      const long = numbers(100).map(() => "\u0001".repeat(4_000));
      const [first] = await store(sender, long);
      for (let round = 0; round < 5; round++) await store(sender, long);
      await sender.ask("room:join", "r");
      const reader = await knock(chat, kept, { serverOffset: first });
      await until(() => reader.answer, SOON, "the answer to CONNECT");
      reader.socket.socket._socket.pause();
      await sender.sayIn("r", "before");
      const joined = reader.ask("room:join", "r");
      const page = reader.ask("history", { room: "r" });
      await until(async () => (await sender.ask("who", "r"))[0].total === 2, SOON, "the reader is in the room");
      await sender.sayIn("r", "after");
      reader.socket.socket._socket.resume();
      await joined;
      const [{ messages }] = await page;
      await until(() => reader.rooms.length > 0, 2 * SOON, "a live message");
      const live = reader.named("room:message").map(({ 1: content }) => content);
      assert.deepEqual([...messages.map(({ content }) => content), ...live], ["before", "after"]);
    });
  });

  it("does not go on to the successor on the same connection after a DISCONNECT", async () => {
    await withChat({}, async (chat, kept) => {
      const sender = await enter(chat, kept);
      const stored = numbers(PAGE).map((n) => `${n} ${"x".repeat(2_000)}`);
      const positions = await store(sender, stored);
      for (let round = 0; round < 10; round++) {
        const wire = await knock(chat, kept);
        const answers = () => wire.packets.all.filter(({ type }) => type === TYPE.connect);
        // at once, not when a test gets round to it: the first socket's history must still be on its way
        wire.socket.socket.on("message", (data) => {
          if (data.toString().startsWith("40") && answers().length === 1) wire.socket.send("41", connectPacket());
        });
        await until(() => answers().length === 2, SOON, "the second answer to CONNECT");
        positions.push(await sender.say(`fence ${round}`));
        await wire.sees(`fence ${round}`);
        const since = wire.packets.all.slice(wire.packets.all.indexOf(answers()[1]));
        const shown = since.filter(({ type, data }) => type === TYPE.event && data[0] === "chat message").map(({ data }) => data[2]);
        assert.equal(shown.length, new Set(shown).size, `${shown.length - new Set(shown).size} messages shown twice`);
        // A page of history, and the fence behind it; or in it, if it was stored before the page was read.
        assert.ok(shown.length === PAGE || shown.length === PAGE + 1, `${shown.length} messages shown`);
        assert.deepEqual(shown, positions.slice(-shown.length));
        wire.cut();
      }
    });
  });
});

describe("a replay slower than the window", () => {
  const ENGINE = { pingInterval: "1s", pingTimeout: "1500ms" };
  const SPAN = 2_000 + 1_000 + 5 * 1_500 + 10_000; // recovery.window, the longest silence, 10 s: the window's age limit
  const PACE = 700; // a poll brings about 17 of these messages: 600 last longer than SPAN

  it("ends the session instead of leaving out what aged; coming back shows the rest", { timeout: 60_000 }, async () => {
    await withChat({ recovery: { window: "2s" }, engine: ENGINE }, async (chat, kept) => {
      const sender = await enter(chat, kept);
      const away = await enter(chat, kept);
      await store(sender, ["0"]);
      await away.sees("0");
      away.cut();
      await store(sender, numbers(600, 1).map((n) => `${n} ${"x".repeat(3_900)}`));
      const aged = Date.now() + SPAN + 1_000;
      const session = await PollingSession.open(`${chat.url}/socket.io/`);
      await session.post(connectPacket(away.credentials));
      const shown = [];
      let [last, recovered, ended, next, isAged] = [{}, undefined, undefined, 601, false];
      // beside the polls: a ping that one of them brings late is answered in time all the same; a pong that nobody asked for means nothing
      const pongs = (async () => {
        for (; !ended; await pause(100)) await session.post("3").catch(() => {});
      })();
      try {
        await until(
          async () => {
            const { status, body } = await session.poll();
            const packets = status === 200 ? body.split("\x1e") : ["1"];
            for (const packet of packets.filter((packet) => packet.startsWith("4")).map(parsePacket)) {
              if (packet.type === TYPE.connect) recovered = packet.data.pid === away.pid;
              if (packet.type === TYPE.event && packet.data[0] === "session") ended ||= "replayed to its end";
              if (packet.type !== TYPE.event || packet.data[0] !== "chat message") continue;
              shown.push(Number.parseInt(packet.data[1], 10));
              last = { offset: packet.data.at(-1), serverOffset: packet.data[2] };
            }
            if (packets.some((packet) => packet === "1" || packet === "41")) ended ||= "by the server";
            if (ended) return true;
            if (isAged) return false;
            // something new makes the window look at its age: the last time when all of it has aged
            const isLast = Date.now() >= aged;
            await store(sender, [`${next++}`]);
            isAged = isLast;
            await pause(PACE);
            return false;
          },
          SPAN + 2 * SOON,
          () => `the session ends; ${shown.length} messages shown, the last ${shown.at(-1)}`,
        );
      } finally {
        ended ??= "by the test";
        await pongs;
      }
      assert.equal(recovered, true);
      assert.deepEqual(shown, numbers(shown.length, 1));
      assert.equal(ended, "by the server");
      const back = await enter(chat, kept, { pid: away.pid, ...last });
      assert.equal(back.session.recovered, false);
      assert.deepEqual(back.lobby.map((content) => Number.parseInt(content, 10)), numbers(next - 1 - shown.length, shown.length + 1));
    });
  });
});

describe("takeover", () => {
  it("of one session by two connections at once leaves one of them", async () => {
    await withChat({}, async (chat, kept) => {
      const sender = await enter(chat, kept);
      for (let round = 0; round < 3; round++) {
        const gone = await enter(chat, kept);
        await sender.say(`${round} before`);
        await gone.sees(`${round} before`);
        // one position further than the log is: both wait until it gets there
        const [tag, epoch, position] = gone.offset.split(".");
        const auth = { pid: gone.pid, offset: [tag, epoch, (Number.parseInt(position, 36) + 1).toString(36)].join(".") };
        gone.cut();
        const rivals = await Promise.all([knock(chat, kept, auth), knock(chat, kept, auth)]);
        await webSocket(chat).then(kept);
        await sender.say(`${round} release`);
        const isLive = ({ socket, packets }) => socket.isOpen && !packets.all.some(({ type }) => type === TYPE.disconnect);
        await until(() => rivals.every((rival) => rival.answer || !isLive(rival)), SOON, "both are decided");
        // Who comes too late is closed, if it had the session for a moment, or is somebody new, if it never did.
        const holders = () => rivals.filter((rival) => isLive(rival) && rival.sid === gone.sid);
        await until(() => holders().length === 1, SOON, () => `one connection has the session; ${holders().length} have it`);
        await sender.say(`${round} after`);
        const [winner] = holders();
        await winner.sees(`${round} after`);
        for (const rival of rivals) {
          if (isLive(rival)) await until(() => rival.session?.recovered === (rival === winner), SOON, "each is told whether it has the session");
          rival.cut();
        }
      }
    });
  });
});

describe("attachments", () => {
  it("of a client that has not connected are not waited for: it is closed", async () => {
    await withChat({}, async (chat, kept) => {
      const socket = kept(await webSocket(chat));
      await socket.inbox.next();
      socket.send('4510-["x"]');
      await socket.closed();
    });
  });
});
