// POSTs a file with fetch, which finds the proxy in the environment where
// NODE_USE_ENV_PROXY is 1, and the CA in NODE_EXTRA_CA_CERTS.
// usage: env.js URL CA PAYLOAD OUT
const fs = require("node:fs");

const [url, , payload, out] = process.argv.slice(2);

fetch(url, { method: "POST", body: fs.readFileSync(payload) })
  .then((response) => response.arrayBuffer())
  .then((body) => fs.writeFileSync(out, Buffer.from(body)))
  .catch((err) => {
    console.error(err.message, err.cause ? err.cause.message : "");
    process.exit(1);
  });
