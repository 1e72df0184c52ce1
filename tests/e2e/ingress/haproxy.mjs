// HAProxy, as the ingress controller of HAProxy Technologies configures it: its defaults, and the annotations of a Service that
// its documentation names. https://www.haproxy.com/documentation/kubernetes-ingress/ingress-configuration-reference/

/** What each annotation becomes. */
const ANNOTATIONS = {
  "haproxy.org/cookie-persistence": (name) => ["dynamic-cookie-key chatcluster", `cookie ${name} insert indirect nocache dynamic`],
  "haproxy.org/timeout-server": (time) => [`timeout server ${time}`],
};
/** Of other programs, which this one does not read. */
const FOREIGN = /^(kubectl\.kubernetes\.io|chatcluster\.dev)\//;

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

/** @type {import("./data-plane.mjs").Proxy} */
export const haproxy = {
  render: ({ host, ingress, service, servers }, { port }) => {
    lines(ingress);
    return [
      "global",
      "  maxconn 8000",
      "  hard-stop-after 30m",
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
      ...servers.map(({ name, address }) => `  server ${name} ${address}`),
      "",
    ].join("\n");
  },
  command: (file) => ["haproxy", ["-W", "-db", "-f", file]],
  reload: "SIGUSR2",
};
