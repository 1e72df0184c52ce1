// HAProxy, as the ingress controller of HAProxy Technologies configures it: its defaults, the annotations of a Service that
// its documentation names, and a backend with room for servers, which are exchanged at the running proxy.
// https://www.haproxy.com/documentation/kubernetes-ingress/ingress-configuration-reference/
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";

/** What each annotation becomes. */
const ANNOTATIONS = {
  "haproxy.org/cookie-persistence": (name) => ["dynamic-cookie-key chatcluster", `cookie ${name} insert indirect nocache dynamic`],
  "haproxy.org/timeout-server": (time) => [`timeout server ${time}`],
};
/** Of other programs, which this one does not read. */
const FOREIGN = /^(kubectl\.kubernetes\.io|chatcluster\.dev)\//;
/** Servers that there is room for. */
const SLOTS = 16;
/** Stands where no server is. */
const NOBODY = "127.0.0.1:1";
const ANSWER = 5_000;
/** Columns of `show servers state`: name, address, state, port. */
const STATE = { name: 3, address: 4, state: 5, port: 18 };
const RUNNING = "2";

/** The lines of a backend. @param {Record<string, string>} annotations */
export function lines(annotations) {
  return Object.entries(annotations)
    .filter(([key]) => !FOREIGN.test(key))
    .flatMap(([key, value]) => {
      const line = ANNOTATIONS[key];
      if (!line) throw new Error(`HAProxy's controller documents no annotation ${key}`);
      return line(value);
    });
}

/** Pods and their places among the servers of the backend: who has one keeps it. */
class Slots {
  /** @type {({name: string, address: string} | undefined)[]} */
  taken = Array.from({ length: SLOTS });

  /** @param {{name: string, address: string}[]} servers */
  fill(servers) {
    const left = new Map(servers.map((server) => [server.name, server]));
    this.taken = this.taken.map((old) => {
      const same = old && left.get(old.name);
      if (same) left.delete(same.name);
      return same;
    });
    for (const server of left.values()) {
      const free = this.taken.indexOf(undefined);
      if (free < 0) throw new Error(`there is room for ${SLOTS} servers`);
      this.taken[free] = server;
    }
  }

  /** Name, address and whether it takes clients, of each. */
  get all() {
    return this.taken.map((server, i) => ({ name: `s${i + 1}`, address: server?.address ?? NOBODY, isOn: Boolean(server) }));
  }
}

const socket = (folder) => join(folder, "haproxy.sock");

/** What the proxy answers to commands. @param {string} folder @param {string[]} commands @returns {Promise<string>} */
async function say(folder, commands) {
  const connection = connect(socket(folder)).setEncoding("utf8").setTimeout(ANSWER);
  connection.on("timeout", () => connection.destroy(new Error(`HAProxy did not answer within ${ANSWER} ms`)));
  let answer = "";
  connection.on("data", (chunk) => void (answer += chunk));
  connection.end(`${commands.join(";")}\n`);
  await once(connection, "close");
  return answer;
}

/** Makes the running proxy's servers those in the slots, and looks whether they are. @param {Slots} slots @param {string} folder */
async function exchange(slots, folder) {
  const commands = slots.all.flatMap(({ name, address, isOn }) => {
    if (!isOn) return [`set server servers/${name} state maint`];
    const [ip, port] = address.split(":");
    return [`set server servers/${name} addr ${ip} port ${port}`, `set server servers/${name} state ready`];
  });
  await say(folder, commands);
  const seen = (await say(folder, ["show servers state servers"])).split("\n").map((line) => line.split(" "));
  for (const { name, address, isOn } of slots.all) {
    const line = seen.find((columns) => columns[STATE.name] === name) ?? [];
    const isRunning = line[STATE.state] === RUNNING;
    const isSo = isOn ? isRunning && `${line[STATE.address]}:${line[STATE.port]}` === address : !isRunning;
    if (!isSo) throw new Error(`HAProxy's server ${name} shall be ${isOn ? address : "out"}; it is ${line.join(" ")}`);
  }
}

/** All but the servers, which come behind it. @param {import("./data-plane.mjs").Route} route @param {{port: number, folder: string}} place */
function configuration({ host, ingress, service }, { port, folder }) {
  lines(ingress);
  return [
    "global",
    "  maxconn 8000",
    "  hard-stop-after 30m",
    `  stats socket ${socket(folder)} mode 600 level admin expose-fd listeners`,
    "defaults",
    "  mode http",
    "  option redispatch",
    "  timeout http-request 5s",
    "  timeout connect 5s",
    "  timeout client 50s",
    "  timeout queue 5s",
    "  timeout server 50s",
    "  timeout tunnel 1h",
    "  timeout http-keep-alive 1m",
    "frontend http",
    `  bind 127.0.0.1:${port}`,
    "  option forwardfor",
    ...(host ? [`  acl is_host hdr(host),field(1,:) -i ${host}`, "  use_backend servers if is_host"] : ["  default_backend servers"]),
    "backend servers",
    "  balance roundrobin",
    ...lines(service).map((line) => `  ${line}`),
    "",
  ].join("\n");
}

/** @returns {import("./data-plane.mjs").Proxy} */
export function haproxy() {
  const slots = new Slots();
  return {
    render: (route, servers, place) => {
      slots.fill(servers);
      const frame = configuration(route, place);
      return { frame, text: `${frame}${slots.all.map(({ name, address, isOn }) => `  server ${name} ${address}${isOn ? "" : " disabled"}\n`).join("")}` };
    },
    exchange: ({ folder }) => exchange(slots, folder),
    command: (file) => ["haproxy", ["-W", "-db", "-f", file]],
    reload: "SIGUSR2",
  };
}
