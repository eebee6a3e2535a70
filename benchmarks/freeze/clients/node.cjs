// undici, or AWS SDK v3 without second attempts: which, URL, connections, proxy or "".
'use strict';
const [which, url, count, proxy] = process.argv.slice(2);
const n = Number(count);
const ca = require('fs').readFileSync(process.env.NODE_EXTRA_CA_CERTS);

function undici() {
  const { Agent, ProxyAgent, request } = require('undici');
  const options = { connections: n, pipelining: 1 };
  const dispatcher = proxy ? new ProxyAgent({ uri: proxy, requestTls: { ca }, ...options }) : new Agent({ connect: { ca }, ...options });
  return async () => (await request(url, { dispatcher })).body.text();
}

function sdk() {
  const { S3Client, ListBucketsCommand } = require('@aws-sdk/client-s3');
  const { NodeHttpHandler } = require('@smithy/node-http-handler');
  const { Agent } = require('https');
  const requestHandler = new NodeHttpHandler({ httpsAgent: new Agent({ keepAlive: true, maxSockets: n, maxFreeSockets: n }) });
  const client = new S3Client({ region: 'eu-west-1', endpoint: url, forcePathStyle: true, maxAttempts: 1, requestHandler });
  return () => client.send(new ListBucketsCommand({}));
}

const get = which === 'undici' ? undici() : sdk();
async function allAtOnce() {
  const all = await Promise.allSettled(Array.from({ length: n }, get));
  const failed = all.filter((r) => r.status === 'rejected');
  for (const f of failed) console.error(String(f.reason).slice(0, 200));
  console.log(failed.length);
}

(async () => {
  await allAtOnce();
  await new Promise((done) => process.stdin.once('data', done));
  await allAtOnce();
  process.exit(0);
})();
