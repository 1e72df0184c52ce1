// A bot that answers "!seen NAME" in a room from its history, each question once: also if it is killed, or runs twice.
// node bot.mjs [ROOM]; CHAT_URL says where the server is.
import { io } from "socket.io-client";

const room = process.argv[2] ?? "help";
const socket = io(process.env.CHAT_URL ?? "http://localhost:3000", {
  auth: { name: "seen-bot" },
  // The library sends again until it is answered. Without `retryable` in auth the server stays silent where a later try may succeed.
  ackTimeout: 5_000,
  retries: Number.POSITIVE_INFINITY,
});

for (const event of ["connect_error", "disconnect"]) {
  socket.on(event, (why) => {
    console.error(`${event}: ${why.message ?? why}`);
    // The library comes back by itself, unless the server refused or ended it. Whatever runs this bot may then start it again, at no risk.
    if (!socket.active) process.exit(1);
  });
}

/** When this author last said something in the room before that position: pages backwards until it is found. */
async function lastSeen(name, before) {
  for (;;) {
    const { messages, more, error } = await socket.emitWithAck("history", { room, before, limit: 100 });
    if (error) throw new Error(error.message);
    const found = messages.findLast(({ author }) => author === name);
    if (found || !more) return found?.at;
    before = messages[0].serverOffset;
  }
}

async function answer({ content, serverOffset }) {
  const name = /^!seen (.+)$/.exec(content)?.[1];
  if (!name) return;
  const at = await lastSeen(name, serverOffset);
  const text = at ? `${name} was last seen at ${new Date(at).toISOString()}` : `I have never seen ${name}`;
  // The id is made from the question, and the text from what was said before it: whoever answers again sends the same message.
  const clientOffset = `seen-bot: answer to ${serverOffset}`;
  const { duplicate, error } = await socket.emitWithAck("room:message", room, text, clientOffset);
  if (error) throw new Error(error.message);
  console.log(`${duplicate ? "was answered already" : "answered"}: ${content}`);
}

/** What fails is left: it is looked at again when the next session begins. */
const report = (error) => console.error(error.message);

socket.on("room:message", (_room, content, serverOffset) => void answer({ content, serverOffset }).catch(report));

// A new session is in no room, and what was asked meanwhile is in the history. A recovered one is sent what it missed.
socket.on("session", async ({ recovered }) => {
  if (recovered) return;
  const joined = await socket.emitWithAck("room:join", room);
  if (joined.error) return report(joined.error);
  const page = await socket.emitWithAck("history", { room, limit: 100 });
  if (page.error) return report(page.error);
  console.log(`in ${room}`);
  for (const message of page.messages) await answer(message).catch(report);
});
