// nginx 1.29.6 or newer, whose `sticky` is open source, with what the annotations of the retired community controller ask for:
// its defaults, and the keys of its documentation. https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/

/** Where `make e2e` puts it. */
const NGINX = process.env.E2E_NGINX ?? "nginx";
const PREFIX = "nginx.ingress.kubernetes.io/";
const FOREIGN = /^(kubectl\.kubernetes\.io|chatcluster\.dev)\//;
/** Of the location. */
const LOCATION = {
  "proxy-read-timeout": (seconds) => `proxy_read_timeout ${seconds}s;`,
  "proxy-send-timeout": (seconds) => `proxy_send_timeout ${seconds}s;`,
  "proxy-body-size": (bytes) => `client_max_body_size ${bytes};`,
  "proxy-buffering": (value) => `proxy_buffering ${value};`,
};
/** Of the cookie: words behind `sticky cookie NAME`. */
const COOKIE = {
  "session-cookie-path": (path) => `path=${path}`,
  "session-cookie-samesite": (value) => `samesite=${value.toLowerCase()}`,
  "session-cookie-secure": (value) => (value === "true" ? "secure" : ""),
  "session-cookie-max-age": (seconds) => `expires=${seconds}s`,
  // nginx chooses another server when the cookie's is gone, and says so with a new cookie
  "session-cookie-change-on-failure": () => "",
};
const AFFINITY = new Set(["affinity", "affinity-mode", "session-cookie-name"]);

/** What the annotations ask for. @param {Record<string, string>} annotations */
export function directives(annotations) {
  /** @type {{location: string[], cookie: string[], sticky: string[]}} */
  const found = { location: [], cookie: [], sticky: [] };
  for (const [key, value] of Object.entries(annotations)) {
    if (FOREIGN.test(key)) continue;
    const name = key.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
    if (name && LOCATION[name]) found.location.push(LOCATION[name](value));
    else if (name && COOKIE[name]) found.cookie.push(COOKIE[name](value));
    else if (!name || !AFFINITY.has(name)) throw new Error(`the community's controller documents no annotation ${key}`);
  }
  if (annotations[`${PREFIX}affinity`] === "cookie") {
    const words = [annotations[`${PREFIX}session-cookie-name`] ?? "INGRESSCOOKIE", ...found.cookie.filter(Boolean)];
    found.sticky = [`sticky cookie ${words.join(" ")};`];
  }
  return found;
}

/** @returns {import("./data-plane.mjs").Proxy} */
export const nginx = () => ({
  render: ({ host, ingress, service }, servers, { port, folder }) => {
    directives(service);
    const { location, sticky } = directives(ingress);
    const text = `
daemon off;
worker_processes 1;
worker_shutdown_timeout 240s;
worker_rlimit_nofile 16384;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 8000; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream servers {
    zone servers 256k;
    ${sticky.join("\n    ")}
    ${servers.map(({ address }) => `server ${address};`).join("\n    ") || "server 192.0.2.2:9 down;"}
    keepalive 320;
  }
  server {
    listen 127.0.0.1:${port};
    ${host ? `server_name ${host};` : ""}
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      ${location.join("\n      ")}
    }
  }
}
`;
    return { text };
  },
  command: (file, folder) => [NGINX, ["-p", folder, "-c", file]],
  reload: "SIGHUP",
});
