// Node's side of the comparison: the same contract as `chatcluster-server --example workload`, on Socket.IO 4.8's defaults.
// Environment: PORT, RECOVERY=1; ADAPTER=redis | redis-streams with REDIS_URL joins other nodes. Prints READY; SIGTERM drains.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

/** The adapter that the environment names, with its defaults, as its documentation sets it up. */
function adapter() {
  const name = process.env.ADAPTER;
  if (!name) return undefined;
  const client = new Redis(process.env.REDIS_URL);
  if (name === "redis") return createAdapter(client, client.duplicate());
  if (name === "redis-streams") return createStreamsAdapter(client);
  throw new Error(`ADAPTER=${name} is not known`);
}

const joined = adapter();
const http = createServer();
const io = new Server(http, {
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: 25_000,
  pingTimeout: 20_000,
  ...(joined && { adapter: joined }),
  ...(process.env.RECOVERY === "1" && { connectionStateRecovery: {} }),
});

io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack("ok");
  });
  socket.on("echo", (data, ack) => ack(data));
  socket.on("pub", (room, data) => io.to(room).emit("m", data));
});

// Connections to Redis keep the process alive.
process.on("SIGTERM", () => io.close(() => process.exit(0)));
http.listen({ port: Number(process.env.PORT ?? 3000), host: "127.0.0.1", backlog: 4096 }, () => console.log("READY"));
