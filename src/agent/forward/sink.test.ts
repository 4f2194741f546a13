import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import type { ForwardedLine } from './line.ts';
import { openSink } from './sink.ts';

const owner = { instance: 'i1', app: 'shop', environment: 'production', entrypoint: 'web', slot: 2, role: 'service', node: 'n 1' };
const line = (sequence: number, text: string, stream: 'stdout' | 'stderr' = 'stdout'): ForwardedLine => ({
  owner,
  line: { atMs: Date.UTC(2026, 0, 1), stream, text, cursor: String(sequence) },
});
const { signal } = new AbortController();
const DEADLINE_MS = 200;
const portOf = (server: { address(): AddressInfo | string | null }): number => (server.address() as AddressInfo).port; // it listens on a port
const json = (sequence: number, text: string): object => ({
  time: '2026-01-01T00:00:00.000Z',
  ...owner,
  stream: 'stdout',
  sequence: String(sequence),
  text,
});

test('http: one request with a JSON object a line and the headers; anything but 2xx is a failure that says what', async () => {
  const seen: { headers: http.IncomingHttpHeaders; body: string }[] = [];
  let status = 204;
  const server = http.createServer((request, response) => {
    void (async () => {
      const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString();
      seen.push({ headers: request.headers, body });
      response.writeHead(status, { location: '/' }).end();
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sink = openSink({ kind: 'http', url: `http://127.0.0.1:${portOf(server)}/in` }, { authorization: 'Bearer k' });
  assert.equal(await sink.send([line(1, 'ä "quoted"'), line(2, '')], signal), 0);
  assert.equal(seen[0]?.headers.authorization, 'Bearer k');
  assert.equal(seen[0]?.headers['content-type'], 'application/x-ndjson');
  assert.deepEqual(
    seen[0]?.body
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text) as unknown),
    [json(1, 'ä "quoted"'), json(2, '')],
  );
  for (status of [500, 429, 302])
    await assert.rejects(sink.send([line(3, 'x')], signal), (error) => isFailure(error, 'unavailable'), String(status));
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  await assert.rejects(sink.send([line(3, 'x')], signal), /the request failed: /u);
  sink.close();
});

test('tcp and syslog: one connection, made anew when it is lost', async () => {
  let received = Buffer.alloc(0);
  const sockets: net.Socket[] = [];
  let wake = (): void => undefined;
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      wake();
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise<void>((resolve) => (wake = resolve));
  };
  const port = portOf(server);
  const plain = openSink({ kind: 'tcp', host: '127.0.0.1', port, format: 'json' }, {}, DEADLINE_MS);
  await plain.send([line(1, 'one')], signal);
  // The deadline is one of connecting and of writing, not of the connection.
  await new Promise((resolve) => setTimeout(resolve, 2 * DEADLINE_MS));
  await plain.send([line(2, 'two')], signal);
  await until(() => received.toString().split('\n').length === 3);
  assert.deepEqual(JSON.parse(received.toString().split('\n')[1] ?? ''), json(2, 'two'));
  assert.equal(sockets.length, 1);
  plain.close();

  received = Buffer.alloc(0);
  const syslog = openSink({ kind: 'tcp', host: '127.0.0.1', port, format: 'syslog' }, {});
  await syslog.send([line(7, 'a\nb €', 'stderr')], signal);
  const message =
    '<11>1 2026-01-01T00:00:00.000Z n_1 shop web.2 stderr [libra@32473 environment="production" role="service" instance="i1" sequence="7"] a\nb €';
  await until(() => received.includes('€'));
  assert.equal(received.toString(), `${Buffer.byteLength(message)} ${message}`);
  syslog.close();

  const broken = openSink({ kind: 'tcp', host: '127.0.0.1', port, format: 'json' }, {});
  await broken.send([line(1, 'x')], signal);
  server.close();
  sockets.at(-1)?.resetAndDestroy();
  await once(server, 'close');
  // The first one after the end may still be taken by the kernel; nobody is there for the next.
  await assert.rejects(async () => {
    for (let attempt = 0; attempt < 100; attempt += 1) await broken.send([line(2, 'y')], signal);
  }, /no connection to 127\.0\.0\.1/u);
  broken.close();
});

test('udp: a datagram a line; what is too long for one is counted as lost', async () => {
  const receiver = createSocket('udp4');
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  const sink = openSink({ kind: 'udp', host: '127.0.0.1', port: receiver.address().port, format: 'json' }, {});
  const first = once(receiver, 'message');
  assert.equal(await sink.send([line(1, 'x'.repeat(65_000)), line(2, 'two')], signal), 1);
  assert.deepEqual(JSON.parse(String((await first)[0])), json(2, 'two'));
  sink.close();
  receiver.close();
});

test('file: lines are added, also behind a rotation', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-sink-'));
  const path = join(folder, 'apps.json');
  const sink = openSink({ kind: 'file', path }, {});
  await sink.send([line(1, 'one'), line(2, 'two')], signal);
  renameSync(path, `${path}.1`);
  await sink.send([line(3, 'three')], signal);
  assert.equal(readFileSync(`${path}.1`, 'utf8').trimEnd().split('\n').length, 2);
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), json(3, 'three'));
  rmSync(folder, { recursive: true });
  await assert.rejects(sink.send([line(4, 'x')], signal), (error) => isFailure(error, 'unavailable'));
  sink.close();
});
