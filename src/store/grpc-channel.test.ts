import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createGrpcChannel, FRAME_BYTES, GrpcRefusal, NotSent } from './grpc-channel.ts';
import type { GrpcChannel } from './grpc-channel.ts';

const framed = (words: string): Buffer => {
  const frame = Buffer.concat([Buffer.alloc(FRAME_BYTES), Buffer.from(words)]);
  frame.writeUInt32BE(words.length, 1);
  return frame;
};
const message = (): Buffer => framed('ask');
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

async function serve(t: TestContext, answer: (stream: ServerHttp2Stream, path: string) => void): Promise<GrpcChannel> {
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => undefined);
    answer(stream, String(headers[':path']));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a port has such an address.
  const { port } = server.address() as AddressInfo;
  const channel = createGrpcChannel(`http://127.0.0.1:${port}`, {});
  t.after(async () => {
    channel.close();
    for (const session of sessions) session.destroy();
    server.close();
    await once(server, 'close');
  });
  return channel;
}

const ends = (stream: ServerHttp2Stream, status: string, words = ''): void => {
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': words }));
};

test('a call is answered with one message, however it is cut, and with its refusal', async (t) => {
  const channel = await serve(t, (stream, path) => {
    if (path === '/x/bare') return stream.respond({ ':status': 200, 'grpc-status': '5', 'grpc-message': 'no%20such' }, { endStream: true });
    if (path === '/x/proxy') return stream.respond({ ':status': 502 }, { endStream: true });
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    ends(stream, path === '/x/refused' ? '8' : '0', 'no space');
    if (path === '/x/refused') return void stream.end();
    for (const byte of framed('answer')) stream.write(Buffer.of(byte));
    stream.end();
  });
  assert.equal(String(await channel.call('x/good', message(), {}, soon())), 'answer');
  const refused = (code: number, words: string) => (error: unknown) =>
    error instanceof GrpcRefusal && error.code === code && error.message === words;
  await assert.rejects(channel.call('x/refused', message(), {}, soon()), refused(8, 'no space'));
  await assert.rejects(channel.call('x/bare', message(), {}, soon()), refused(5, 'no such'));
  await assert.rejects(channel.call('x/proxy', message(), {}, soon()), refused(14, 'HTTP 502'));
});

test('a call that is not answered in time ends, and the next one has a connection of its own', async (t) => {
  const paths: string[] = [];
  const sessions = new Set<unknown>();
  const channel = await serve(t, (stream, path) => {
    paths.push(path);
    sessions.add(stream.session);
    if (path === '/x/stuck') return;
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    ends(stream, '0');
    stream.end(framed('answer'));
  });
  await assert.rejects(channel.call('x/stuck', message(), {}, AbortSignal.timeout(200)), { name: 'TimeoutError' });
  assert.equal(String(await channel.call('x/good', message(), {}, soon())), 'answer');
  assert.deepEqual(paths, ['/x/stuck', '/x/good']);
  assert.equal(sessions.size, 2);
});

test('many calls that are late on one connection take no other connection from those who have it', async (t) => {
  const sessions = new Set<unknown>();
  let stuckCalls = 0;
  const channel = await serve(t, (stream, path) => {
    sessions.add(stream.session);
    if (path === '/x/stuck') return void (stuckCalls += 1);
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    ends(stream, '0');
    stream.end(framed('answer'));
  });
  const late = Array.from({ length: 5 }, () => new AbortController());
  const stuck = late.map(({ signal }) => channel.call('x/stuck', message(), {}, signal));
  for (const each of stuck) each.catch(() => undefined);
  while (stuckCalls < late.length) await new Promise((resolve) => setImmediate(resolve));
  for (const [index, each] of late.entries()) {
    each.abort(new Error('too late'));
    await assert.rejects(stuck[index] ?? Promise.resolve(), /too late/u);
    assert.equal(String(await channel.call('x/good', message(), {}, soon())), 'answer');
  }
  assert.equal(sessions.size, 2);
});

test('calls that are late at the same moment let go of their connection once', async (t) => {
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', onWarning);
  t.after(() => process.off('warning', onWarning));
  let stuckCalls = 0;
  const channel = await serve(t, () => (stuckCalls += 1));
  const late = new AbortController();
  // More than may listen to one thing without a warning, each by a signal of its own as callers have.
  const stuck = Array.from({ length: 20 }, () => channel.call('x/stuck', message(), {}, AbortSignal.any([late.signal])));
  const ends = Promise.allSettled(stuck);
  while (stuckCalls < stuck.length) await new Promise((resolve) => setImmediate(resolve));
  late.abort(new Error('too late'));
  assert.ok((await ends).every(({ status }) => status === 'rejected'));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

test('a connection on which other answers come stays in use when one call is late', async (t) => {
  const sessions = new Set<unknown>();
  const channel = await serve(t, (stream, path) => {
    sessions.add(stream.session);
    if (path === '/x/stuck') return;
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    ends(stream, '0');
    stream.end(framed('answer'));
  });
  const late = new AbortController();
  const stuck = channel.call('x/stuck', message(), {}, late.signal);
  assert.equal(String(await channel.call('x/good', message(), {}, soon())), 'answer');
  late.abort(new Error('too late'));
  await assert.rejects(stuck, /too late/u);
  assert.equal(String(await channel.call('x/good', message(), {}, soon())), 'answer');
  assert.equal(sessions.size, 1);
});

test('a stream gives its messages until its end, which is an error unless it was asked for', async (t) => {
  const channel = await serve(t, (stream, path) => {
    if (path === '/x/never') return;
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    ends(stream, '14', 'going away');
    stream.write(Buffer.concat([framed('one'), framed('two')]));
    if (path === '/x/ends') stream.end();
  });
  const read = async (path: string, most: number, stop: AbortController, begin = soon()): Promise<string[]> => {
    const read: string[] = [];
    for await (const each of channel.stream(path, message(), {}, { begin, signal: stop.signal })) {
      read.push(String(each));
      if (read.length === most) stop.abort();
    }
    return read;
  };
  await assert.rejects(read('x/ends', 9, new AbortController()), (error) => error instanceof GrpcRefusal && error.message === 'going away');
  // The end that was asked for is that of the signal.
  await read('x/lasts', 2, new AbortController()).catch((error: unknown) => assert.equal(error instanceof GrpcRefusal, false));
  await assert.rejects(read('x/never', 9, new AbortController(), AbortSignal.timeout(200)), /does not begin/u);
});

test('where nobody listens nothing was sent', async () => {
  const channel = createGrpcChannel('http://127.0.0.1:1', {});
  await assert.rejects(channel.call('x/y', message(), {}, soon()), (error) => error instanceof NotSent);
  channel.close();
});
