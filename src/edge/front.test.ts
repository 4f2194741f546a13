import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { group, rule, startEdge, startInstance, text } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const HOST = 'app.localhost';
let edge: TestEdge;
let app: TestInstance;

before(async () => {
  edge = await startEdge({ proxied: ['127.0.0.1'], limits: { headerTimeoutMs: 300, connectionsPerAddress: 2 } });
  app = await startInstance('app', (request, response) => text(response, String(request.headers['x-forwarded-for'])));
  await edge.install({ rules: [rule(HOST, 'g')], groups: [group('g', [app.target])] });
});
after(async () => {
  await edge.stop();
  await app.kill();
});

async function send(pieces: readonly string[], from = '127.0.0.1'): Promise<string> {
  const socket = net.connect({ port: edge.port, host: '127.0.0.1', localAddress: from });
  let answer = '';
  socket.on('data', (chunk) => (answer += String(chunk)));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  for (const piece of pieces) {
    socket.write(piece);
    // The other side gets it as a piece of its own.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  return answer;
}

const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;

test('the client is whom the balancer names, however the bytes arrive', async () => {
  const header = 'PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n';
  for (const pieces of [[header + REQUEST], [header, REQUEST], ['PRO', `XY${header.slice(5)}GET `, REQUEST.slice(4)]]) {
    assert.match(await send(pieces), /^HTTP\/1\.1 200 .*\r\n\r\n203\.0\.113\.9$/s);
  }
});

test('a balancer that asks for itself has its own address', async () => {
  assert.match(await send([`PROXY UNKNOWN\r\n${REQUEST}`]), /\r\n\r\n127\.0\.0\.1$/);
});

test('a balancer without a header, or too slow with it, gets nothing', async () => {
  assert.equal(await send([REQUEST]), '');
  assert.equal(await send(['PROXY TCP4 1.1']), '');
});

test('whoever is no balancer cannot say that he is somebody else', async () => {
  assert.match(await send([`PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n${REQUEST}`], '127.0.0.2'), /^HTTP\/1\.1 400 /);
  assert.match(await send([REQUEST], '127.0.0.2'), /\r\n\r\n127\.0\.0\.2$/);
});

test('the bound on connections of one address counts the clients, not the balancer', async () => {
  const sockets = await Promise.all(
    [1, 2, 3, 4].map(async (client) => {
      const socket = net.connect(edge.port, '127.0.0.1');
      await once(socket, 'connect');
      socket.write(`PROXY TCP4 198.51.100.${client} 10.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
      const [answer] = (await once(socket, 'data')) as [Buffer]; // no encoding is set
      assert.match(String(answer), /^HTTP\/1\.1 200 /);
      return socket;
    }),
  );
  for (const socket of sockets) socket.destroy();
});
