// Node's side of the comparison: the same contract as `chatcluster-server --example workload`, on Socket.IO 4.8's defaults.
// Environment: PORT, RECOVERY=1. Prints READY; SIGTERM drains.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: 25_000,
  pingTimeout: 20_000,
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

process.on("SIGTERM", () => io.close(() => process.exit(0)));
http.listen({ port: Number(process.env.PORT ?? 3000), host: "127.0.0.1", backlog: 4096 }, () => console.log("READY"));
