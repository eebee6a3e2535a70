// POSTs a file with node:https through an agent that does what the proxy agents
// of npm do: a CONNECT by http.request, then TLS on its socket.
// usage: agent.js URL CA PAYLOAD OUT
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const tls = require("node:tls");

const [url, ca, payload, out] = process.argv.slice(2);
const target = new URL(url);
const authority = `${target.hostname}:${target.port || 443}`;
const proxy = new URL(process.env.HTTPS_PROXY);

function fail(err) {
  console.error(err.message);
  process.exit(1);
}

const connect = http.request({
  host: proxy.hostname,
  port: proxy.port,
  method: "CONNECT",
  path: authority,
  headers: {
    "Host": authority,
    "Proxy-Authorization": "Basic " + Buffer.from(`${proxy.username}:${proxy.password}`).toString("base64"),
  },
});
connect.on("error", fail);
connect.on("connect", (res, socket) => {
  if (res.statusCode !== 200) {
    fail(new Error(`${res.statusCode} ${res.statusMessage} (${res.headers["x-egress-reason"]})`));
  }
  const request = https.request(url, {
    method: "POST",
    createConnection: () => tls.connect({ socket, servername: target.hostname, ca: fs.readFileSync(ca) }),
  }, (response) => response.pipe(fs.createWriteStream(out)));
  request.on("error", fail);
  request.end(fs.readFileSync(payload));
});
connect.end();
