// Starts the page: the outbox first, then the connection, then the view.
import { render } from "preact";
import type { io as connectTo } from "socket.io-client";
import { Chat } from "./chat";
import { newClientOffset } from "./client_offset";
import { openOutboxStore } from "./outbox_store";
import { App } from "./view/app";

// Set by /socket.io/socket.io.js, the official bundle, as Socket.IO serves it.
declare const io: typeof connectTo | undefined;

async function start(root: HTMLElement): Promise<void> {
  if (typeof io === "undefined") {
    root.textContent = "The chat could not be loaded: /socket.io/socket.io.js is missing.";
    return;
  }
  const chat = new Chat(io, await openOutboxStore(newClientOffset));
  render(<App chat={chat} />, root);
  chat.start();
}

const root = document.getElementById("app");
if (root) void start(root);
