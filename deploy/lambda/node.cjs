// Preloaded into Node by the wrapper: agents that know no proxy get one.
//
// AWS SDK v3, and other libraries, make an http.Agent or https.Agent of their own, which reads
// no variables even with NODE_USE_ENV_PROXY. All agents open their connections by
// createConnection of one of two prototypes; here these go through a tunnel of the proxy. Agents
// that Node has given a proxy itself (options.proxyEnv) are left to it, and so is what NO_PROXY
// names. fetch does not use agents: it needs Node 22.21 or 24.5 and NODE_USE_ENV_PROXY.
'use strict';
const http = require('http');
const https = require('https');
const net = require('net');
const tls = require('tls');

const proxy = process.env.https_proxy ? new URL(process.env.https_proxy) : null;
const past = (process.env.no_proxy || '').split(',').filter(Boolean);

// goesPast reports whether NO_PROXY has a host: as it stands, or below a ".suffix".
const goesPast = (host) =>
  past.some((p) => host === p || (p.startsWith('.') && (host.endsWith(p) || host === p.slice(1))));

// The proxy's answer to a CONNECT is not longer.
const maxHead = 64 * 1024;

// open asks the proxy for a tunnel and calls done with an error or its socket. The error has
// the proxy's status line, which says why it refuses.
function open(host, port, done) {
  const authority = (net.isIPv6(host) ? `[${host}]` : host) + ':' + port;
  const socket = net.connect(Number(proxy.port || 80), proxy.hostname);
  let head = Buffer.alloc(0);
  const finish = (error) => {
    socket.removeListener('data', read);
    socket.removeListener('error', finish);
    socket.removeListener('end', closed);
    if (error) socket.destroy();
    done(error, socket);
  };
  const closed = () => finish(new Error('the proxy has closed the connection'));
  const read = (more) => {
    head = Buffer.concat([head, more]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) {
      if (head.length > maxHead) finish(new Error('the answer of the proxy is too long'));
      return;
    }
    const line = head.toString('latin1', 0, head.indexOf('\r\n'));
    const [, status, phrase] = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(line) || [];
    if (!/^2/.test(status || '')) {
      finish(Object.assign(new Error(phrase || line), { code: 'EPROXY', statusCode: Number(status) }));
      return;
    }
    socket.pause();
    const rest = head.subarray(end + 4);
    if (rest.length > 0) socket.unshift(rest);
    finish(null);
  };
  socket.on('data', read);
  socket.once('error', finish);
  socket.once('end', closed);
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
}

// tunnel puts the proxy before createConnection of a kind of agent.
function tunnel(Agent, port, secure) {
  const direct = Agent.prototype.createConnection;
  Agent.prototype.createConnection = function (options, done) {
    const host = options && options.host;
    const own = this.options && this.options.proxyEnv;
    if (!host || own || options.socketPath || typeof done !== 'function' || goesPast(host)) {
      return direct.apply(this, arguments);
    }
    open(host, options.port || port, (error, socket) => {
      if (error) return done(error);
      if (!secure) return done(null, socket);
      const servername = options.servername || (net.isIP(host) ? '' : host);
      done(null, tls.connect({ ALPNProtocols: ['http/1.1'], ...options, socket, servername }));
    });
  };
}

if (proxy) {
  tunnel(http.Agent, 80, false);
  tunnel(https.Agent, 443, true);
}
