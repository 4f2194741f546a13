// HTTP/2 through a real Edge: clients of node:http2 in front, Instances of HTTP/1.1 and of h2c behind, and every pairing of the two.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { IncomingMessage, ServerResponse } from 'node:http';
import net from 'node:net';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../lib/clock.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import { call, group, read, rule, startEdge, startInstance, target, text, until } from './edge-fixture.ts';
import type { TestEdge } from './edge-fixture.ts';

const HOST = 'app.localhost';

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders | null;
  /** Of what came before the head. */
  readonly informational: readonly IncomingHttpHeaders[];
  /** RST_STREAM; 0 for a whole answer. */
  readonly code: number;
}

interface Ask {
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | string;
  readonly trailers?: OutgoingHttpHeaders;
}

function ask(session: ClientHttp2Session, path: string, options: Ask = {}): Promise<Answer> {
  return new Promise((resolve) => {
    const withTrailers = options.trailers !== undefined;
    const stream = session.request(
      { ':path': path, ':authority': HOST, ':method': options.body === undefined ? 'GET' : 'POST', ...options.headers },
      { waitForTrailers: withTrailers, endStream: options.body === undefined },
    );
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders | null = null;
    const informational: IncomingHttpHeaders[] = [];
    const parts: Buffer[] = [];
    stream.on('response', (head) => {
      headers = head;
    });
    stream.on('headers', (head) => informational.push(head));
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('wantTrailers', () => stream.sendTrailers(options.trailers ?? {}));
    stream.on('data', (chunk: Buffer) => parts.push(chunk));
    stream.on('error', () => undefined);
    stream.on('close', () => resolve({ headers, body: Buffer.concat(parts), trailers, informational, code: stream.rstCode ?? 0 }));
    if (options.body !== undefined) stream.end(options.body);
  });
}

/** An h2c server on a free port. */
async function startH2(t: TestContext, onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => unknown): Promise<number> {
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => undefined);
    onStream(stream, headers);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

const h2c = { ...DEFAULT_TRAFFIC, protocol: 'h2c' as const };

describe('HTTP/2 in front', () => {
  let edge: TestEdge;
  let session: ClientHttp2Session;
  before(async () => {
    edge = await startEdge({ h2c: true, limits: { bodyIdleMs: 1_000 } });
    session = http2.connect(`http://127.0.0.1:${edge.port}`, { maxSessionMemory: 100 });
  });
  after(async () => {
    session.destroy();
    await edge.stop();
  });
  const connect = (t: TestContext): ClientHttp2Session => {
    const made = http2.connect(`http://127.0.0.1:${edge.port}`);
    made.on('error', () => undefined);
    t.after(() => made.destroy());
    return made;
  };
  type Listener = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;
  const serve = async (t: TestContext, listener: Listener): Promise<void> => {
    const app = await startInstance('i1', (request, response) => void listener(request, response));
    t.after(() => app.kill());
    await edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', [app.target])] });
  };

  test('a request crosses with its fields, its cookie crumbs in one, its body and its trailers, and so does the answer', async (t) => {
    await serve(t, async (request, response) => {
      const body = await read(request);
      response.writeHead(201, { 'x-told': 'a', 'set-cookie': ['one=1', 'two=2'], trailer: 'x-sum' });
      response.write(JSON.stringify([request.method, request.url, request.headers, request.trailers, body.toString()]));
      response.addTrailers({ 'x-sum': '42' });
      response.end();
    });
    const answer = await ask(session, '/a/../b?c=%20', {
      headers: { cookie: ['one=1', 'two=2'], 'x-real-ip': '6.6.6.6', 'x-mine': 'é' },
      body: 'body',
      trailers: { 'x-after': 'all' },
    });
    assert.equal(answer.code, 0);
    assert.equal(answer.headers[':status'], 201);
    assert.deepEqual(answer.headers['set-cookie'], ['one=1', 'two=2']);
    assert.equal(answer.trailers?.['x-sum'], '42');
    const told: unknown = JSON.parse(answer.body.toString());
    assert.ok(Array.isArray(told));
    const [method, url, headers, trailers, body] = told as [string, string, Record<string, string>, Record<string, string>, string];
    assert.deepEqual([method, url, body], ['POST', '/b?c=%20', 'body']);
    assert.equal(headers['host'], HOST);
    assert.equal(headers['cookie'], 'one=1; two=2');
    assert.equal(headers['x-mine'], 'é');
    assert.equal(headers['x-real-ip'], undefined);
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers['x-forwarded-proto'], 'http');
    assert.equal(headers['transfer-encoding'], 'chunked');
    assert.equal(trailers['x-after'], 'all');
  });

  for (const bytes of [5, 60_000])
    test(`a body of ${bytes} bytes that comes in one piece with the beginning of its connection is a body as any other`, async (t) => {
      await serve(t, async (request, response) => {
        const body = await read(request);
        // Longer than it takes until what a client costs is looked at.
        await systemClock.sleep(500);
        response.end(body);
      });
      const socket = net.connect(edge.port, '127.0.0.1');
      let held: Buffer[] | null = [];
      const inOnePiece = new Duplex({
        read: () => undefined,
        write: (chunk: Buffer, _encoding, done) => {
          if (held === null) socket.write(chunk);
          else held.push(chunk);
          done();
        },
      });
      socket.on('data', (chunk: Buffer) => inOnePiece.push(chunk));
      socket.on('close', () => inOnePiece.destroy());
      const made = http2.connect(`http://127.0.0.1:${edge.port}`, { createConnection: () => inOnePiece });
      made.on('error', () => undefined);
      t.after(() => made.destroy());
      const body = Buffer.alloc(bytes, 'body ');
      const answer = ask(made, '/', { body });
      await until('all of it was said', () => (held ?? []).reduce((sum, chunk) => sum + chunk.length, 0) > bytes + 50);
      socket.write(Buffer.concat(held));
      held = null;
      const { headers, body: back } = await answer;
      assert.equal(headers[':status'], 200);
      assert.ok(back.equals(body));
    });

  test('HTTP/1.1 is spoken on the same port', async (t) => {
    await serve(t, (_request, response) => text(response, 'old'));
    assert.equal((await call(edge.port, HOST, '/')).body.toString(), 'old');
    assert.equal((await ask(session, '/')).body.toString(), 'old');
  });

  test('hints and leave to send come before the answer', async (t) => {
    await serve(t, async (request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      text(response, String((await read(request)).length));
    });
    const answer = await ask(session, '/', { headers: { expect: '100-continue' }, body: 'abc' });
    assert.equal(answer.body.toString(), '3');
    assert.deepEqual(
      answer.informational.map((head) => head[':status']),
      [100, 103],
    );
    assert.equal(answer.informational[1]?.['link'], '</a.css>; rel=preload');
  });

  for (const [name, head] of [
    ['with a length', { 'content-length': '100' }],
    ['without one', {}],
  ] as const)
    test(`an answer ${name} that breaks off never ends as if it were whole`, async (t) => {
      await serve(t, (_request, response) => {
        response.writeHead(200, head);
        response.write('part');
        setImmediate(() => response.destroy());
      });
      const answer = await ask(session, '/');
      assert.notEqual(answer.code, 0);
    });

  test('a request that breaks off never ends as if it were whole', async (t) => {
    let whole = 0;
    let broken = 0;
    await serve(t, (request, response) => {
      request.resume();
      request.on('end', () => {
        whole += 1;
      });
      request.on('close', () => {
        if (!request.complete) broken += 1;
      });
      request.on('error', () => undefined);
      response.on('error', () => undefined);
    });
    for (const headers of [{}, { 'content-length': '100' }]) {
      const stream = session.request({ ':path': '/', ':authority': HOST, ':method': 'POST', ...headers });
      stream.on('error', () => undefined);
      stream.write('part');
      await until('it is open', () => edge.edge.health().open === 1);
      stream.destroy(new Error('enough'));
      await until('it is over', () => edge.edge.health().open === 0);
      // The same without an error, and without the end of the stream that the library would send.
      const polite = session.request({ ':path': '/', ':authority': HOST, ':method': 'POST', ...headers });
      polite.on('error', () => undefined);
      polite.write('part');
      await until('it is open', () => edge.edge.health().open === 1);
      polite._final = (done) => done();
      polite.close(0);
      await until('it is over', () => edge.edge.health().open === 0);
    }
    await until('all were noticed', () => broken === 4);
    assert.equal(whole, 0);
  });

  test('a body that is longer or shorter than it said is refused', async (t) => {
    let bodies = 0;
    await serve(t, async (request, response) => {
      await read(request).then(
        () => {
          bodies += 1;
        },
        () => undefined,
      );
      if (!response.destroyed) text(response, 'ok');
    });
    for (const length of ['2', '6']) {
      // The library may take it for an error of the whole connection.
      const other = connect(t);
      const answer = await ask(other, '/', { headers: { 'content-length': length }, body: 'four' });
      assert.notEqual(answer.code, 0, `content-length: ${length}`);
    }
    assert.equal(bodies, 0);
    assert.equal((await ask(session, '/', { headers: { 'content-length': '4' }, body: 'four' })).body.toString(), 'ok');
  });

  test('an answer before the end of its request stops the rest of it, and the connection serves on', async (t) => {
    await serve(t, (_request, response) => text(response, 'no', 413));
    const stream = session.request({ ':path': '/', ':authority': HOST, ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('part');
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    assert.equal(head[':status'], 413);
    stream.resume();
    await once(stream, 'close');
    assert.equal(stream.rstCode, 0);
    assert.equal((await ask(session, '/')).headers[':status'], 413);
  });

  test('a client that falls silent in its body gets 408', async (t) => {
    await serve(t, (request) => void request.resume());
    const stream = session.request({ ':path': '/', ':authority': HOST, ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('part');
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    assert.equal(head[':status'], 408);
    stream.destroy();
  });

  test('ten thousand pieces up and down at once are the same pieces', async (t) => {
    await serve(t, (request, response) => void request.pipe(response));
    const body = Buffer.alloc(10_000_000, 'libra and her scales ');
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(session, '/', { body })));
    for (const answer of answers) assert.ok(answer.body.equals(body));
  });

  test('a client that reads nothing of one answer gets another one', async (t) => {
    let sent = 0;
    await serve(t, (request, response) => {
      if (request.url === '/small') return text(response, 'small');
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024))) sent += 64 * 1024;
      };
      response.on('drain', pour);
      response.on('error', () => undefined);
      pour();
    });
    const stream = session.request({ ':path': '/', ':authority': HOST });
    stream.on('error', () => undefined);
    stream.pause();
    await once(stream, 'response');
    assert.equal((await ask(session, '/small')).body.toString(), 'small');
    assert.ok(sent < 16 * 1024 * 1024, `${sent} bytes were taken from the Instance`);
    stream.destroy(new Error('enough'));
    await until('it is over', () => edge.edge.health().open === 0);
  });

  const refused: readonly (readonly [string, OutgoingHttpHeaders])[] = [
    ['no host', { ':authority': '' }],
    ['two hosts', { host: 'other.localhost' }],
    ['a path that is none', { ':path': 'http://app.localhost/' }],
    ['a scheme of no web', { ':scheme': 'ftp' }],
    ['a host with a user', { ':authority': `me@${HOST}` }],
  ];
  for (const [name, headers] of refused)
    test(`${name} is refused`, async (t) => {
      await serve(t, (_request, response) => text(response, 'reached'));
      const answer = await ask(connect(t), '/', { headers });
      assert.notEqual(answer.body.toString(), 'reached');
      assert.ok(Number(answer.headers[':status']) === 400 || answer.code !== 0);
      assert.equal((await ask(session, '/')).body.toString(), 'reached');
    });

  test('a WebSocket over Extended CONNECT is one of HTTP/1.1 behind', async (t) => {
    const app = await startInstance('ws', (_request, response) => text(response, 'no WebSocket', 200));
    t.after(() => app.kill());
    const sockets = new WebSocketServer({ server: app.server, path: '/chat', handleProtocols: () => 'talk' });
    sockets.on('connection', (socket) => socket.on('message', (message) => socket.send(message, { binary: false })));
    await edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', [app.target])] });
    const upgrade = {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':authority': HOST,
      ':scheme': 'http',
      'sec-websocket-version': '13',
    };
    const stream = session.request({ ...upgrade, ':path': '/chat', 'sec-websocket-protocol': 'talk' }, { endStream: false });
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    assert.equal(head[':status'], 200);
    assert.equal(head['sec-websocket-protocol'], 'talk');
    assert.equal(head['sec-websocket-accept'], undefined);
    // A text frame "hi", masked with zeros; it comes back without a mask.
    stream.write(Buffer.from('8182000000006869', 'hex'));
    const [frame] = (await once(stream, 'data')) as [Buffer];
    assert.equal(frame.toString('hex'), '81026869');
    stream.end(Buffer.from('88820000000003e8', 'hex'));
    await once(stream, 'close');
    await until('it is over', () => edge.edge.health().open === 0);
    const none = await ask(session, '/', { headers: upgrade, body: '' });
    assert.equal(none.headers[':status'], 400);
  });

  test('what an Instance answers instead of opening a WebSocket opens none', async (t) => {
    await serve(t, (_request, response) => text(response, 'a page'));
    const upgrade = { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', 'sec-websocket-version': '13' };
    const answer = await ask(session, '/', { headers: upgrade, body: '' });
    assert.equal(answer.headers[':status'], 502);
    assert.equal(answer.body.length, 0);
  });

  test('a client that asks for something else than a WebSocket is refused', async (t) => {
    await serve(t, (_request, response) => text(response, 'reached'));
    const stream = connect(t).request({
      ':method': 'CONNECT',
      ':protocol': 'connect-udp',
      ':authority': HOST,
      ':path': '/',
      ':scheme': 'http',
    });
    stream.on('error', () => undefined);
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    assert.equal(head[':status'], 501);
    stream.destroy();
  });
});

describe('HTTP/2 behind', () => {
  let edge: TestEdge;
  let session: ClientHttp2Session;
  before(async () => {
    edge = await startEdge({ h2c: true, limits: { connectTimeoutMs: 1_000 } });
    session = http2.connect(`http://127.0.0.1:${edge.port}`);
  });
  after(async () => {
    session.destroy();
    await edge.stop();
  });
  const serve = async (port: number): Promise<void> =>
    edge.install({ rules: [rule(HOST, 'app')], groups: [{ ...group('app', [target(`i${port}`, port)]), policy: h2c }] });

  test('requests of both protocols share connections', async (t) => {
    const ports = new Set<number>();
    const port = await startH2(t, (stream, headers) => {
      ports.add(stream.session?.socket.remotePort ?? 0);
      const parts: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => parts.push(chunk));
      stream.on('end', () => {
        stream.respond({ ':status': 200, 'x-told': 'b' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(
          `${headers[':method']} ${headers[':path']} ${headers[':authority']} ${String(headers['te'])} ${Buffer.concat(parts).toString()}`,
        );
      });
    });
    await serve(port);
    const old = await call(edge.port, HOST, '/old?q', { method: 'PUT', body: 'one' });
    assert.equal(old.body.toString(), `PUT /old?q ${HOST} undefined one`);
    assert.equal(old.trailers['grpc-status'], '0');
    const answers = await Promise.all(
      Array.from({ length: 150 }, (_, index) => ask(session, `/${index}`, { body: 'two', headers: { te: 'trailers' } })),
    );
    for (const [index, answer] of answers.entries()) {
      assert.equal(answer.body.toString(), `POST /${index} ${HOST} trailers two`);
      assert.equal(answer.trailers?.['grpc-status'], '0');
    }
    assert.ok(ports.size <= 3, `${ports.size} connections`);
  });

  test('an answer of trailers alone stays one', async (t) => {
    await serve(
      await startH2(t, (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
      }),
    );
    const answer = await ask(session, '/', { body: 'x' });
    assert.equal(answer.headers['grpc-status'], '12');
    assert.equal(answer.body.length, 0);
    assert.equal(answer.code, 0);
  });

  test('an answer that is reset never ends as if it were whole, whatever the code', async (t) => {
    let code = 0;
    await serve(
      await startH2(t, (stream) => {
        stream.respond({ ':status': 200 });
        stream.write('part');
        // Only what stands behind: no END_STREAM may be sent by the server of this test.
        stream._final = (done) => done();
        setImmediate(() => stream.close(code));
      }),
    );
    for (code of [0, 2, 8]) {
      assert.notEqual((await ask(session, '/')).code, 0, `code ${code} in front of HTTP/2`);
      await assert.rejects(call(edge.port, HOST, '/'), `code ${code} in front of HTTP/1.1`);
    }
  });

  test('what the target has not begun is tried again, with its body', async (t) => {
    let asked = 0;
    await serve(
      await startH2(t, (stream) => {
        asked += 1;
        if (asked === 1) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
        stream.respond({ ':status': 200 });
        stream.pipe(stream);
      }),
    );
    const answer = await ask(session, '/', { body: 'again' });
    assert.equal(answer.body.toString(), 'again');
    assert.equal(asked, 2);
  });

  test('a request that breaks off is reset', async (t) => {
    let whole = 0;
    const codes: number[] = [];
    await serve(
      await startH2(t, (stream) => {
        stream.resume();
        stream.on('end', () => {
          if (stream.rstCode === 0) whole += 1;
        });
        stream.on('close', () => codes.push(stream.rstCode ?? 0));
      }),
    );
    const stream = session.request({ ':path': '/', ':authority': HOST, ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('part');
    await until('it is open', () => edge.edge.health().open === 1);
    stream.destroy(new Error('enough'));
    await until('the Instance has heard of it', () => codes.length === 1);
    assert.notEqual(codes[0], 0);
    assert.equal(whole, 0);
  });

  test('a connection that ends goodbye is followed by another, and one that breaks fails what it cannot repeat', async (t) => {
    let sessions = 0;
    const seen = new Set<unknown>();
    await serve(
      await startH2(t, (stream, headers) => {
        if (!seen.has(stream.session)) sessions += 1;
        seen.add(stream.session);
        if (headers[':path'] === '/die') return stream.session?.destroy();
        stream.respond({ ':status': 200 });
        stream.end('ok');
        if (headers[':path'] === '/bye') stream.session?.close();
      }),
    );
    assert.equal((await ask(session, '/bye')).body.toString(), 'ok');
    assert.equal((await ask(session, '/')).body.toString(), 'ok');
    assert.equal(sessions, 2);
    assert.equal((await ask(session, '/die', { body: 'x' })).headers[':status'], 502);
    assert.equal((await ask(session, '/')).body.toString(), 'ok');
  });

  test('a target that does not speak HTTP/2 is a 502 that says so', async (t) => {
    const app = await startInstance('old', (_request, response) => text(response, 'old'));
    t.after(() => app.kill());
    await serve(app.port);
    const answer = await call(edge.port, HOST, '/');
    assert.equal(answer.status, 502);
    const silent = net.createServer(() => undefined);
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', resolve);
    });
    t.after(() => silent.close());
    const address = silent.address();
    assert.ok(address !== null && typeof address === 'object');
    await serve(address.port);
    assert.equal((await call(edge.port, HOST, '/')).status, 502);
  });

  test('a WebSocket of HTTP/1.1 is one of HTTP/2 behind', async (t) => {
    let head: IncomingHttpHeaders = {};
    await serve(
      await startH2(t, (stream, headers) => {
        head = headers;
        stream.respond({ ':status': 200, 'sec-websocket-protocol': 'talk' });
        // Frames of the client are masked, so what comes back has to be made anew: "hi".
        stream.once('data', () => stream.write(Buffer.from('81026869', 'hex')));
        stream.on('end', () => stream.end());
      }),
    );
    const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/chat`, 'talk', { headers: { host: HOST } });
    await once(socket, 'open');
    assert.equal(head[':method'], 'CONNECT');
    assert.equal(head[':protocol'], 'websocket');
    assert.equal(head[':path'], '/chat');
    assert.equal(head['sec-websocket-key'], undefined);
    socket.send('hello');
    const [message] = (await once(socket, 'message')) as [Buffer];
    assert.equal(message.toString(), 'hi');
    socket.terminate();
    await until('it is over', () => edge.edge.health().open === 0);
  });
});

test('an Edge that stops lets HTTP/2 clients finish and tells them to go', async (t) => {
  const edge = await startEdge({ h2c: true });
  const held: ServerResponse[] = [];
  const app = await startInstance('i1', (_request, response) => void held.push(response));
  t.after(() => app.kill());
  await edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', [app.target])] });
  const session = http2.connect(`http://127.0.0.1:${edge.port}`);
  const slow = ask(session, '/slow');
  await until('the Instance has it', () => held.length === 1);
  const goaway = once(session, 'goaway');
  const stopped = edge.edge.stop({ drainMs: 10_000 });
  const [code] = (await goaway) as [number];
  assert.equal(code, 0);
  for (const response of held) text(response, 'slow');
  assert.equal((await slow).body.toString(), 'slow');
  await once(session, 'close');
  await stopped;
});
