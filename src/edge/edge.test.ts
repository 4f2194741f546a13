// The Edge as clients and Instances see it: routing, what crosses and what does not, streaming both ways.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import { call, group, read, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const HOST = 'app.localhost';
let edge: TestEdge;
const instances: TestInstance[] = [];

before(async () => {
  edge = await startEdge();
});
after(async () => {
  await edge.stop();
  for (const instance of instances) await instance.kill();
});

/** Puts one App with this server in force. */
async function serve(listener: http.RequestListener): Promise<TestInstance> {
  const instance = await startInstance(`i${instances.length}`, listener);
  instances.push(instance);
  await edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', [instance.target])] });
  return instance;
}

/** Sends raw bytes and gives what comes back until the other side ends. */
function raw(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(edge.port, '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.on('data', (chunk) => (answer += String(chunk)));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

test('requests go to the group of their host and longest path', async () => {
  const one = await serve((_request, response) => text(response, 'one'));
  const two = await serve((request, response) => text(response, `two ${request.url ?? ''}`));
  await edge.install({
    rules: [rule('one.localhost', 'one'), rule('one.localhost', 'two', '/two'), rule('one.localhost', 'two', '/', { 'x-beta': '1' })],
    groups: [group('one', [one.target]), group('two', [two.target])],
  });
  assert.equal(String((await call(edge.port, 'one.localhost', '/')).body), 'one');
  assert.equal(String((await call(edge.port, 'ONE.localhost.:8080', '/two/x?y=1')).body), 'two /two/x?y=1');
  assert.equal(String((await call(edge.port, 'one.localhost', '/twofold')).body), 'one');
  assert.equal(String((await call(edge.port, 'one.localhost', '/', { headers: { 'X-Beta': '1' } })).body), 'two /');
});

test('requests are spread evenly over the targets', async () => {
  const seen = new Map<string, number>();
  const held: (() => void)[] = [];
  let hold = true;
  const three = await Promise.all(
    ['x', 'y', 'z'].map((id) =>
      startInstance(id, (_request, response) => {
        seen.set(id, (seen.get(id) ?? 0) + 1);
        if (hold) held.push(() => text(response, id));
        else text(response, id);
      }),
    ),
  );
  instances.push(...three);
  const spread = group(
    'app',
    three.map((instance) => instance.target),
  );
  await edge.install({ rules: [rule(HOST, 'app')], groups: [spread] });
  const all = Array.from({ length: 30 }, () => call(edge.port, HOST, '/'));
  await until('all are under way', () => held.length === 30);
  for (const [id, count] of seen) assert.ok(count >= 7 && count <= 13, `${id} has ${count} of 30`);
  for (const release of held) release();
  await Promise.all(all);
  hold = false;
  seen.clear();
  await edge.put({ ...spread, policy: { ...DEFAULT_TRAFFIC, balance: { kind: 'round-robin' }, slowStartMs: 0 } });
  for (let index = 0; index < 9; index += 1) await call(edge.port, HOST, '/');
  assert.deepEqual([...seen.values()], [3, 3, 3]);
});

test('an Instance learns who asked and how, and a client cannot lie about it', async () => {
  await serve((request, response) => text(response, JSON.stringify(request.headers)));
  const reply = await call(edge.port, `${HOST}:8080`, '/', {
    headers: {
      'x-forwarded-for': '6.6.6.6',
      'x-forwarded-proto': 'https',
      forwarded: 'for=6.6.6.6',
      'x-real-ip': '6.6.6.6',
      connection: 'keep-alive, x-secret',
      'x-secret': 'for this hop',
      'proxy-authorization': 'Basic eA==',
      X_Forwarded_For: '6.6.6.6',
      'x-forwarded-user': 'root',
      'x-libra-user': 'root',
      'x-request-id': 'abc-1',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      tracestate: 'a=1',
    },
  });
  const seen = JSON.parse(String(reply.body)) as Record<string, string>; // the server above sends its headers
  assert.equal(seen['host'], `${HOST}:8080`);
  assert.equal(seen['x-forwarded-for'], '127.0.0.1');
  assert.equal(seen['x-forwarded-proto'], 'http');
  assert.equal(seen['x-forwarded-host'], `${HOST}:8080`);
  const never = ['forwarded', 'x-real-ip', 'x_forwarded_for', 'x-forwarded-user', 'x-libra-user', 'x-secret', 'proxy-authorization'];
  for (const name of never) assert.equal(name in seen, false, name);
  assert.notEqual(seen['x-request-id'], 'abc-1');
  assert.equal(reply.headers['x-request-id'], seen['x-request-id']);
  assert.match(String(seen['traceparent']), /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
  assert.equal(seen['tracestate'], 'a=1');
});

test('a trusted hop in front is believed about the client', async () => {
  const behind = await startEdge({ trusted: ['127.0.0.0/8'] });
  const instance = await startInstance('mirror', (request, response) => text(response, JSON.stringify(request.headers)));
  try {
    await behind.install({ rules: [rule(HOST, 'g')], groups: [group('g', [instance.target])] });
    const reply = await call(behind.port, HOST, '/', {
      headers: {
        'x-forwarded-for': '6.6.6.6, 203.0.113.9',
        'x-forwarded-proto': 'https',
        'x-forwarded-user': 'ann',
        'x-request-id': 'abc-1',
      },
    });
    const seen = JSON.parse(String(reply.body)) as Record<string, string>; // the server above sends its headers
    assert.equal(seen['x-forwarded-for'], '203.0.113.9, 127.0.0.1');
    assert.equal(seen['x-forwarded-proto'], 'https');
    assert.equal(seen['x-forwarded-user'], 'ann');
    assert.equal(seen['x-request-id'], 'abc-1');
  } finally {
    await behind.stop();
    await instance.close();
  }
});

test('headers that repeat, status and reason cross as they are; those of the hop do not', async () => {
  await serve((_request, response) => {
    response.writeHead(418, 'Short and stout', ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Connection', 'x-hop', 'X-Hop', '1']);
    response.end('tea');
  });
  const answer = await raw(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.1 418 Short and stout\r\n/);
  assert.match(answer, /Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n/);
  assert.doesNotMatch(answer, /x-hop/i);
});

test('a body of 10 MB arrives whole in both directions', async () => {
  await serve((request, response) => void read(request).then((body) => response.end(body)));
  const body = Buffer.alloc(10 * 1024 * 1024, 'abcdefghij');
  const reply = await call(edge.port, HOST, '/', { method: 'POST', body });
  assert.equal(reply.status, 200);
  assert.ok(reply.body.equals(body));
});

test('a client that does not read stops its target from sending, and memory stays flat', async () => {
  let sent = 0;
  const total = 64 * 1024 * 1024;
  const piece = Buffer.alloc(64 * 1024);
  await serve((_request, response) => {
    const pump = (): void => {
      while (sent < total) {
        sent += piece.length;
        if (!response.write(piece)) {
          response.once('drain', pump);
          return;
        }
      }
      response.end();
    };
    pump();
  });
  const request = http.get({ host: '127.0.0.1', port: edge.port, headers: { host: HOST }, agent: false });
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  // Nothing is read: what is under way fills the socket buffers of three connections, and no more.
  let before = -1;
  await until('sending stands still', () => {
    const still = before === sent && sent > 0;
    before = sent;
    return still;
  });
  assert.ok(sent < total / 2, `${sent} bytes were sent to nobody`);
  assert.equal((await read(response)).length, total);
});

test('an upload whose target does not read is held back', async () => {
  let reached = false;
  let resume = (): void => undefined;
  await serve((request, response) => {
    request.pause();
    reached = true;
    resume = () => {
      let size = 0;
      request.on('data', (chunk: Buffer) => (size += chunk.length));
      request.on('end', () => text(response, String(size)));
      request.resume();
    };
  });
  const total = 64 * 1024 * 1024;
  const piece = Buffer.alloc(64 * 1024);
  let sent = 0;
  const request = http.request({ host: '127.0.0.1', port: edge.port, method: 'PUT', headers: { host: HOST }, agent: false });
  const reply = new Promise<string>((resolve, reject) => {
    request.on('response', (response) => void read(response).then((body) => resolve(String(body))));
    request.on('error', reject);
  });
  const pump = (): void => {
    while (sent < total) {
      sent += piece.length;
      if (!request.write(piece)) {
        request.once('drain', pump);
        return;
      }
    }
    request.end();
  };
  pump();
  let before = -1;
  await until('sending stands still', () => {
    // Not before the target has it: what stands still on the way there only waits for its turn.
    const still = reached && before === sent && sent > 0 && edge.edge.health().open === 1;
    before = sent;
    return still;
  });
  assert.ok(sent < total / 2, `${sent} bytes were taken for nobody`);
  resume();
  assert.equal(await reply, String(total));
});

test('events of a stream arrive one by one as they are sent', async () => {
  let push = (_data: string): void => undefined;
  await serve((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    push = (data) => void (data === '' ? response.end() : response.write(`data: ${data}\n\n`));
  });
  const request = http.get({ host: '127.0.0.1', port: edge.port, headers: { host: HOST }, agent: false });
  const response = await new Promise<http.IncomingMessage>((resolve) => void request.on('response', resolve));
  let seen = '';
  response.on('data', (chunk) => (seen += String(chunk)));
  for (const word of ['one', 'two']) {
    push(word);
    await until(`${word} arrives`, () => seen.endsWith(`data: ${word}\n\n`));
  }
  push('');
  await until('the stream ends', () => response.complete);
});

test('trailers cross in both directions', async () => {
  await serve((request, response) => {
    void read(request).then(() => {
      response.writeHead(200, { trailer: 'x-sum' });
      response.write('body');
      response.addTrailers({ 'x-sum': `got ${request.trailers['x-up'] ?? ''}` });
      response.end();
    });
  });
  const reply = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const request = http.request({
      host: '127.0.0.1',
      port: edge.port,
      method: 'POST',
      agent: false,
      headers: { host: HOST, 'transfer-encoding': 'chunked', trailer: 'x-up' },
    });
    request.on('response', resolve);
    request.on('error', reject);
    request.write('data');
    request.addTrailers({ 'x-up': '7' });
    request.end();
  });
  await read(reply);
  assert.equal(reply.trailers['x-sum'], 'got 7');
});

test('a client that asks first sends its body only when the Instance agrees', async () => {
  let continues = 0;
  const instance = await serve((_request, response) => text(response, 'unasked'));
  instance.server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    if (request.url === '/no') return text(response, 'too large', 413);
    response.writeContinue();
    void read(request).then((body) => text(response, `${request.headers.expect ?? ''} ${body.length}`));
  });
  const ask = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const headers = { host: HOST, expect: '100-continue', 'content-length': '5' };
      const request = http.request({ host: '127.0.0.1', port: edge.port, path, method: 'POST', agent: false, headers });
      request.on('continue', () => {
        continues += 1;
        request.end('hello');
      });
      request.on('response', (response) => void read(response).then((body) => resolve(`${response.statusCode ?? 0} ${String(body)}`)));
      request.on('error', reject);
      request.flushHeaders();
    });
  assert.equal(await ask('/yes'), '200 100-continue 5');
  assert.equal(continues, 1);
  assert.equal(await ask('/no'), '413 too large');
  assert.equal(continues, 1);
});

test('HEAD, 204 and 304 have no body and leave the connection usable', async () => {
  await serve((request, response) => {
    if (request.url === '/204') return void response.writeHead(204).end();
    if (request.url === '/304') return void response.writeHead(304, { etag: '"1"' }).end();
    response.writeHead(200, { 'content-length': '5' });
    response.end(request.method === 'HEAD' ? undefined : 'hello');
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const head = await call(edge.port, HOST, '/', { method: 'HEAD', agent });
  assert.equal(head.headers['content-length'], '5');
  assert.equal((await call(edge.port, HOST, '/204', { agent })).status, 204);
  assert.equal((await call(edge.port, HOST, '/304', { agent })).headers.etag, '"1"');
  const last = await call(edge.port, HOST, '/', { agent });
  assert.equal(String(last.body), 'hello');
  assert.equal(last.reused, true);
  agent.destroy();
});

test('an HTTP/1.0 client and pipelined requests are answered in order', async () => {
  await serve((request, response) => response.end(`<${request.url ?? ''}>`));
  const old = await raw(`GET /old HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
  assert.match(old, /\r\n\r\n<\/old>$/);
  assert.doesNotMatch(old, /transfer-encoding/i);
  const piped = await raw(
    `GET /1 HTTP/1.1\r\nHost: ${HOST}\r\n\r\nGET /2 HTTP/1.1\r\nHost: ${HOST}\r\n\r\nGET /3 HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
  );
  assert.deepEqual(piped.match(/<\/\d>/g), ['</1>', '</2>', '</3>']);
});

test('the absolute form of a request target arrives as a path, and may not disagree with the Host field', async () => {
  await serve((request, response) => text(response, `${request.headers.host ?? ''} ${request.url ?? ''}`));
  const ask = (host: string): Promise<string> => raw(`GET http://${HOST}/x?y HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  assert.match(await ask(HOST.toUpperCase()), /app\.localhost \/x\?y$/);
  assert.match(await ask('evil.example'), /^HTTP\/1\.1 400 /);
});

test('a target gets the canonical path, and an encoded slash may not lead around a Route', async () => {
  const app = await serve((request, response) => text(response, request.url ?? ''));
  const ask = async (path: string): Promise<string> =>
    (await raw(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`)).split('\r\n\r\n')[1] ?? '';
  assert.equal(await ask('/a/./%62//c/%2e%2E/d%c3%A9?q=%2e%2e/'), '/a/b/d%C3%A9?q=%2e%2e/');
  assert.equal(await ask('/@scope%2fname'), '/@scope%2Fname');
  assert.match(await ask('/a/../../etc'), /above its root/);
  await edge.install({ rules: [rule(HOST, 'app'), rule(HOST, 'app', '/a/guarded')], groups: [group('app', [app.target])] });
  assert.match(await ask('/a%2fguarded/x'), /encoded slash/);
  assert.equal(await ask('/b%2fguarded/x'), '/b%2Fguarded/x');
});

test('a WebSocket carries messages of any size both ways, and its end', async () => {
  const chat = await serve((_request, response) => text(response, 'plain'));
  const sockets = new WebSocketServer({ server: chat.server });
  let closedWith = 0;
  sockets.on('connection', (socket) => {
    socket.on('message', (data: Buffer, binary) => socket.send(data, { binary }));
    socket.on('close', (code) => (closedWith = code));
  });
  const client = new WebSocket(`ws://127.0.0.1:${edge.port}/room`, { headers: { host: HOST } });
  await new Promise((resolve, reject) => {
    client.on('open', resolve);
    client.on('error', reject);
  });
  for (const size of [1, 200, 70_000, 3_000_000]) {
    const message = Buffer.alloc(size, 'm');
    const echoed = new Promise<Buffer>((resolve) => void client.once('message', (data: Buffer) => resolve(data)));
    client.send(message);
    assert.ok((await echoed).equals(message));
  }
  client.close(4000);
  await until('the end arrives', () => closedWith === 4000);
  await until('nothing is open', () => edge.edge.health().open === 0);
});

test('an Instance that refuses the upgrade is heard', async () => {
  const chat = await serve((_request, response) => text(response, 'plain'));
  chat.server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'));
  const client = new WebSocket(`ws://127.0.0.1:${edge.port}/`, { headers: { host: HOST } });
  const status = await new Promise((resolve) => {
    client.on('unexpected-response', (_request, response: http.IncomingMessage) => resolve(response.statusCode));
  });
  assert.equal(status, 403);
});

test('an ask for any other protocol is passed over', async () => {
  await serve((request, response) => text(response, request.headers.upgrade ?? 'none'));
  const answer = await raw(
    `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 200 [^]*none$/);
});

test('an early hint reaches the client before the answer', async () => {
  await serve((_request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    text(response, 'page');
  });
  const request = http.get({ host: '127.0.0.1', port: edge.port, headers: { host: HOST }, agent: false });
  const hint = await new Promise<http.InformationEvent>((resolve) => void request.on('information', resolve));
  assert.equal(hint.statusCode, 103);
  assert.equal(hint.headers['link'], '</style.css>; rel=preload; as=style');
});
