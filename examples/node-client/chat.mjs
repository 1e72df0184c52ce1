// A chat in the terminal that loses nothing and shows nothing twice, whatever happens to the connection.
// node chat.mjs [NAME]; CHAT_URL says where the server is.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { io } from "socket.io-client";

const socket = io(process.env.CHAT_URL ?? "http://localhost:3000", {
  // retryable: this program reads refusals and knows when to send again.
  auth: { name: process.argv[2], serverOffset: 0, retryable: true },
});

socket.on("chat message", (content, serverOffset, { author }) => {
  // Where the server begins if it must open a new session for us. A short cut needs no help: the client library recovers it.
  socket.auth.serverOffset = serverOffset;
  // The server passes content on as it came; an escape sequence in it would command this terminal.
  console.log(`${author}: ${content.replace(/\p{Cc}/gu, " ")}`);
});
socket.on("session", ({ name, recovered, serverOffset }) => {
  socket.auth.serverOffset = serverOffset;
  console.log(`-- here as ${name}${recovered ? ", recovered" : ""}`);
});
socket.on("history gap", ({ after, before }) => console.log(`-- too much was missed: positions ${after} to ${before} are in the history only`));

socket.on("disconnect", (reason) => {
  console.log(`-- cut off: ${reason}`);
  // The library comes back by itself, unless it was the server that ended the session.
  if (reason === "io server disconnect") socket.connect();
});
socket.on("connect_error", async (error) => {
  if (socket.active) return console.log(`-- no connection, trying again: ${error.message}`);
  if (!error.data?.retry) {
    console.error(`refused: ${error.message}`);
    process.exit(1);
  }
  await pause(1_000);
  socket.connect();
});

/** Sends until the server says that the message is stored, or that it never will be. */
async function send(content) {
  const clientOffset = randomUUID(); // the same on each try: however often it arrives, it is stored once
  for (;;) {
    const answer = await socket.timeout(5_000).emitWithAck("chat message", content, clientOffset).catch(() => undefined);
    if (!answer) continue; // no answer in time, or cut off: while there is no connection, the next try waits for it
    if (!answer.error) return;
    if (!answer.error.retry) return console.log(`-- not sent: ${answer.error.message}`);
    await pause(1_000);
  }
}

// One line after the other: what is tried again must not be overtaken.
for await (const line of createInterface({ input: process.stdin })) await send(line);
socket.off("disconnect").disconnect();
