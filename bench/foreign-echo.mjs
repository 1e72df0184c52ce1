// The echo load by a client that is not ours: the official socket.io-client, so that no ratio hangs on our own load client.
// Arguments: PORT SOCKETS; each socket keeps one echo in flight until standard input ends.
// Prints READY, then the number of echoes so far, once in 50 ms.
import { io } from "socket.io-client";

const [port, sockets] = process.argv.slice(2).map(Number);
const data = "x".repeat(64);
let answered = 0;

function fail(message) {
  console.error(message);
  process.exit(1);
}

function echo(socket) {
  socket.emit("echo", data, (answer) => {
    if (answer !== data) fail(`echo answered ${answer}`);
    answered += 1;
    echo(socket);
  });
}

/** A socket with a connection of its own. */
function open() {
  return new Promise((resolve) => {
    const socket = io(`http://127.0.0.1:${port}`, { transports: ["websocket"], forceNew: true, reconnection: false });
    socket.on("connect", () => resolve(socket));
    socket.on("connect_error", (error) => fail(error.message));
    socket.on("disconnect", (reason) => fail(`disconnected: ${reason}`));
  });
}

const opened = await Promise.all(Array.from({ length: sockets }, open));
console.log("READY");
opened.forEach(echo);
setInterval(() => console.log(answered), 50);
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
