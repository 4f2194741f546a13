// Programs that are not ours ask an App with and without the Edge in between, over HTTP/1.1 and HTTP/2, and get the same bytes.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import { EventSource } from 'eventsource';
import { WebSocket } from 'ws';
import { DEFAULT_TRAFFIC } from '../../src/model/traffic-policy.ts';
import { group, rule, target, until } from '../../src/edge/edge-fixture.ts';
import { startEdgeProcess } from '../fixtures/edge-process.ts';
import type { EdgeProgram } from '../fixtures/edge-process.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import { sized } from '../full-size.ts';
import { lacking } from '../requirements.ts';
import { ECHO, startForeignApp } from './foreign-app.ts';
import type { ForeignApp } from './foreign-app.ts';

const run = promisify(execFile);
const OLD = 'old.localhost';
const NEW = 'new.localhost';
const CALLS = 'calls.localhost';
const MIB = 2 ** 20;
/** Of a stream, more than twice what memory may grow by meanwhile, whatever its direction. */
const STREAM_BYTES = sized({ usual: 160, full: 1024 }) * MIB;
const GROWTH_BYTES = 64 * MIB;

let app: ForeignApp;
let edge: EdgeProgram;
let folder: string;
let file: string;
let authority: string;
const body = randomBytes(1_000_000);

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'libra-foreign-'));
  file = join(folder, 'body');
  writeFileSync(file, body);
  app = await startForeignApp();
  const issuer = makeAuthority();
  authority = join(folder, 'ca.pem');
  writeFileSync(authority, issuer.certificatePem);
  const h2c = { policy: { ...DEFAULT_TRAFFIC, protocol: 'h2c' as const } };
  edge = await startEdgeProcess({
    rules: [rule(OLD, 'old'), rule(NEW, 'new'), rule(CALLS, 'calls')],
    groups: [
      group('old', [target('old', app.http1)]),
      { ...group('new', [target('new', app.h2c)]), ...h2c },
      { ...group('calls', [target('calls', app.grpc)]), ...h2c },
    ],
    certificates: [OLD, NEW, CALLS].map((name) => issuer.issue(name)),
  });
});
after(async () => {
  await edge.stop();
  await app.stop();
  rmSync(folder, { recursive: true, force: true });
});

const stdout = async (program: string, ...words: readonly string[]): Promise<Buffer> =>
  (await run(program, words, { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 })).stdout;

describe('curl', { skip: lacking('curl') }, () => {
  const requests: Readonly<Record<string, readonly string[]>> = {
    'a body with a length': ['/bytes?n=1000000&length'],
    'a body without one': ['/bytes?n=1000000'],
    'a page that is not there': ['/nothing'],
    'the head alone': ['/bytes?n=1000&length', '--head'],
    'a body sent with a length': ['/echo', '--data-binary', '@FILE'],
    'a body sent as a stream': ['/echo', '-T', 'FILE', '-X', 'POST', '-H', 'transfer-encoding: chunked'],
    'a body that waits for leave': ['/digest', '-T', 'FILE', '-H', 'expect: 100-continue'],
  };
  for (const [name, [path = '', ...words]] of Object.entries(requests))
    test(name, async () => {
      const curl = (url: string, ...more: readonly string[]): Promise<Buffer> =>
        stdout('curl', '-sS', '--max-time', '30', ...more, ...words.map((word) => word.replace('FILE', file)), `${url}${path}`);
      const head = name === 'the head alone';
      const status = (bytes: Buffer): string =>
        head ? (/^HTTP\/[\d.]+ (\d+)[^]*?content-length: (\d+)/iu.exec(bytes.toString())?.slice(1).join() ?? '') : '';
      const compare = (through: Buffer, direct: Buffer, how: string): void => {
        if (head) assert.equal(status(through), status(direct), how);
        else assert.ok(through.equals(direct), `${how}: ${through.length} bytes through the Edge, ${direct.length} without`);
      };
      const direct1 = await curl(`http://127.0.0.1:${app.http1}`, '--http1.1');
      const direct2 = await curl(`http://127.0.0.1:${app.h2c}`, '--http2-prior-knowledge');
      if (path === '/echo') assert.ok(direct1.equals(readFileSync(file)), 'all of it came');
      for (const host of [OLD, NEW]) {
        const plain = ['--connect-to', `${host}:80:127.0.0.1:${edge.port}`];
        const secure = ['--connect-to', `${host}:443:127.0.0.1:${edge.tlsPort}`, '--cacert', authority];
        compare(await curl(`http://${host}`, '--http1.1', ...plain), direct1, `${host}, HTTP/1.1`);
        compare(await curl(`http://${host}`, '--http2-prior-knowledge', ...plain), direct2, `${host}, HTTP/2 without TLS`);
        compare(await curl(`https://${host}`, '--http1.1', ...secure), direct1, `${host}, HTTP/1.1 with TLS`);
        compare(await curl(`https://${host}`, '--http2', ...secure), direct2, `${host}, HTTP/2 with TLS`);
      }
    });

  test('the protocol is the one that was agreed on', async () => {
    const version = async (...words: readonly string[]): Promise<string> =>
      String(
        await stdout(
          'curl',
          '-sS',
          '-o',
          '/dev/null',
          '-w',
          '%{http_version}',
          '--connect-to',
          `${OLD}:443:127.0.0.1:${edge.tlsPort}`,
          '--cacert',
          authority,
          ...words,
          `https://${OLD}/nothing`,
        ),
      );
    assert.equal(await version(), '2');
    assert.equal(await version('--http1.1'), '1.1');
  });

  for (const [host, flag] of [
    [OLD, '--http1.1'],
    [OLD, '--http2'],
    [NEW, '--http2'],
  ] as const)
    test(`${STREAM_BYTES / MIB} MiB up and down at ${host} with ${flag} in flat memory`, async (t) => {
      const before = edge.rss();
      let most = before;
      const watch = setInterval(() => (most = Math.max(most, edge.rss())), 50);
      const common = ['-sS', flag, '--max-time', '110', '--connect-to', `${host}:443:127.0.0.1:${edge.tlsPort}`, '--cacert', authority];
      const beganMs = performance.now();
      const size = await stdout('curl', ...common, '-o', '/dev/null', '-w', '%{size_download}', `https://${host}/bytes?n=${STREAM_BYTES}`);
      const downMs = performance.now() - beganMs;
      assert.equal(size.toString(), String(STREAM_BYTES));
      const upload = spawn('curl', [...common, '-T', '-', `https://${host}/digest`], { stdio: ['pipe', 'pipe', 'inherit'] });
      const piece = Buffer.alloc(1024 * 1024, 'up and up ');
      const hash = createHash('sha256');
      for (let index = 0; index < STREAM_BYTES / piece.length; index += 1) {
        hash.update(piece);
        if (!upload.stdin.write(piece)) await once(upload.stdin, 'drain');
      }
      upload.stdin.end();
      let answer = '';
      for await (const chunk of upload.stdout) answer += String(chunk);
      clearInterval(watch);
      t.diagnostic(
        `down ${((STREAM_BYTES / MIB / downMs) * 1000).toFixed(0)} MiB/s; memory ${Math.round(before / 2 ** 20)} MiB, at most ${Math.round((most - before) / 2 ** 20)} MiB more`,
      );
      assert.equal(answer, `${STREAM_BYTES} ${hash.digest('hex')}\n`);
      assert.ok(most - before < GROWTH_BYTES, `memory grew by ${most - before} bytes`);
    });
});

describe('nghttp2', { skip: lacking('nghttp2') }, () => {
  for (const host of [OLD, NEW])
    test(`nghttp at ${host}`, async () => {
      const nghttp = (port: number, path: string, scheme: string, ...words: readonly string[]): Promise<Buffer> =>
        stdout('nghttp', '-H', `:authority: ${host}`, ...words, `${scheme}://127.0.0.1:${port}${path}`);
      for (const [path, ...words] of [['/bytes?n=300000'], ['/echo', '-d', file], ['/nothing']] as const) {
        const direct = await nghttp(app.h2c, path, 'http', ...words);
        assert.ok(direct.length > 0);
        assert.ok((await nghttp(edge.port, path, 'http', ...words)).equals(direct), path);
      }
    });

  for (const host of [OLD, NEW])
    test(`h2load at ${host}: nothing fails and no protocol error is found`, async () => {
      const told = String(
        await stdout(
          'h2load',
          '-n',
          '5000',
          '-c',
          '10',
          '-m',
          '20',
          '-H',
          `:authority: ${host}`,
          `http://127.0.0.1:${edge.port}/bytes?n=2000`,
        ),
      );
      assert.match(told, /requests: 5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout/u);
      assert.match(told, /status codes: 5000 2xx/u);
    });
});

test('python3-h2 finds no protocol error', { skip: lacking('python3-h2') }, async () => {
  const script = join(import.meta.dirname, '../fixtures/h2-client.py');
  for (const host of [OLD, NEW]) {
    const direct = await stdout('/usr/bin/python3', script, String(app.h2c), host, file);
    const through = await stdout('/usr/bin/python3', script, String(edge.port), host, file);
    assert.match(direct.toString(), /^GET 200 300000 [0-9a-f]{64}\nPOST 200 1000000 [0-9a-f]{64}\nGET 404 /u);
    assert.equal(through.toString(), direct.toString());
  }
});

test('ws: frames of every size, both ways', async () => {
  const talk = async (url: string, options: object): Promise<string> => {
    const socket = new WebSocket(url, { headers: { host: OLD }, ...options });
    await once(socket, 'open');
    const hash = createHash('sha256');
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
      socket.send(body.subarray(0, size));
      const [message] = (await once(socket, 'message')) as [Buffer];
      assert.ok(message.equals(body.subarray(0, size)));
      hash.update(message);
    }
    const closed = once(socket, 'close');
    socket.close(4001, 'enough');
    const [code, reason] = (await closed) as [number, Buffer];
    return `${hash.digest('hex')} ${code} ${reason.toString()}`;
  };
  const direct = await talk(`ws://127.0.0.1:${app.http1}/socket`, {});
  assert.equal(await talk(`ws://127.0.0.1:${edge.port}/socket`, {}), direct);
  assert.equal(await talk(`wss://127.0.0.1:${edge.tlsPort}/socket`, { servername: OLD, rejectUnauthorized: false }), direct);
});

/** As fetch does, of a host that is not the address. */
function fetchAs(url: URL, host: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = get(url, { headers: { ...headers, host } }, (response) => {
      const stream = Readable.toWeb(response);
      // The two declarations of one web stream do not know each other.
      resolve(
        new Response(stream as ConstructorParameters<typeof Response>[0], {
          status: response.statusCode,
          headers: { 'content-type': response.headers['content-type'] ?? '' },
        }),
      );
    });
    request.on('error', reject);
  });
}

test('EventSource: events and their ids', async () => {
  const listen = (url: string, host: string): Promise<string[]> =>
    new Promise((resolve, reject) => {
      const seen: string[] = [];
      // Its own fetch cannot say another host than the address.
      const source = new EventSource(url, { fetch: (input, init) => fetchAs(new URL(String(input)), host, init.headers) });
      source.addEventListener('message', (event) => {
        seen.push(`${event.lastEventId}=${String(event.data)}`);
        if (seen.length < 4) return;
        source.close();
        resolve(seen);
      });
      source.addEventListener('error', (event) => reject(new Error(event.message ?? 'no events')));
    });
  const direct = await listen(`http://127.0.0.1:${app.http1}/events`, OLD);
  assert.equal(direct.length, 4);
  for (const host of [OLD, NEW]) assert.deepEqual(await listen(`http://127.0.0.1:${edge.port}/events`, host), direct);
});

describe('grpc-js', () => {
  const client = (port: number, host: string): grpc.Client =>
    new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { 'grpc.default_authority': host });
  const metadata = new grpc.Metadata();
  metadata.set('x-asked', 'ahead');
  /** Everything that a call tells its caller. */
  const collect = (call: NodeJS.EventEmitter): Promise<unknown[]> =>
    new Promise((resolve) => {
      const told: unknown[] = [];
      call.on('metadata', (head: grpc.Metadata) => told.push({ head: head.get('x-head') }));
      call.on('data', (message: Buffer) => told.push(message.toString('latin1')));
      call.on('error', () => undefined);
      call.on('status', (status: grpc.StatusObject) => {
        told.push({ code: status.code, details: status.details, trailer: status.metadata.get('x-trailer') });
        resolve(told);
      });
    });
  const { requestSerialize, responseDeserialize } = ECHO.unary;
  const calls: Readonly<Record<string, (caller: grpc.Client) => Promise<unknown[]>>> = {
    unary: async (caller) => {
      let answer = '';
      const call = caller.makeUnaryRequest(
        ECHO.unary.path,
        requestSerialize,
        responseDeserialize,
        body.subarray(0, 100_000),
        metadata,
        (_error, message) => {
          answer = message?.toString('latin1') ?? '';
        },
      );
      return [...(await collect(call)), answer];
    },
    'server stream': (caller) =>
      collect(caller.makeServerStreamRequest(ECHO.server.path, requestSerialize, responseDeserialize, Buffer.from('count'), metadata)),
    'client stream': async (caller) => {
      let answer = '';
      const call = caller.makeClientStreamRequest(ECHO.client.path, requestSerialize, responseDeserialize, metadata, (_error, message) => {
        answer = message?.toString('latin1') ?? '';
      });
      const told = collect(call);
      for (let index = 0; index < 100; index += 1) call.write(Buffer.from(`part ${index} `));
      call.end();
      return [...(await told), answer];
    },
    'both streams': async (caller) => {
      const call = caller.makeBidiStreamRequest(ECHO.both.path, requestSerialize, responseDeserialize, metadata);
      const told = collect(call);
      for (let index = 0; index < 50; index += 1) {
        // The next is asked only when this one was answered: nothing may be held back.
        call.write(Buffer.from(`ping ${index}`));
        await once(call, 'data');
      }
      call.end();
      return await told;
    },
    'a status that is no success': (caller) =>
      collect(
        caller.makeUnaryRequest(ECHO.refuse.path, requestSerialize, responseDeserialize, Buffer.from('x'), metadata, () => undefined),
      ),
    'a method that is not there': (caller) =>
      collect(
        caller.makeUnaryRequest('/foreign.Echo/none', requestSerialize, responseDeserialize, Buffer.from('x'), metadata, () => undefined),
      ),
    'a deadline': async (caller) => {
      const options = { deadline: Date.now() + 300 };
      const told = await collect(
        caller.makeUnaryRequest(
          ECHO.hang.path,
          requestSerialize,
          responseDeserialize,
          Buffer.from('x'),
          metadata,
          options,
          () => undefined,
        ),
      );
      // Its text tells how long it took.
      return told.map((each) => (typeof each === 'object' && each !== null && 'code' in each ? { code: each.code } : each));
    },
  };
  for (const [name, make] of Object.entries(calls))
    test(name, async (t) => {
      const direct = client(app.grpc, CALLS);
      const through = client(edge.port, CALLS);
      t.after(() => {
        direct.close();
        through.close();
      });
      const expected = await make(direct);
      assert.deepEqual(await make(through), expected);
      t.diagnostic(JSON.stringify(expected.at(name === 'unary' || name === 'client stream' ? -2 : -1)));
    });
});

describe('Chromium', { skip: lacking('chromium') }, () => {
  for (const host of [OLD])
    test(`fetch, EventSource and WebSocket at ${host}`, async (t) => {
      const visit = async (url: string, ...words: readonly string[]): Promise<Record<string, unknown>> => {
        const from = app.results.length;
        const profile = mkdtempSync(join(folder, 'profile-'));
        const browser = spawn(
          'chromium',
          [
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--disable-dev-shm-usage',
            '--no-first-run',
            '--disable-background-networking',
            '--ignore-certificate-errors',
            '--remote-debugging-port=0',
            `--user-data-dir=${profile}`,
            ...words,
            url,
          ],
          { stdio: 'ignore' },
        );
        const ended = once(browser, 'exit');
        try {
          await until('the page has told what it found', () => app.results.length > from, 60_000);
        } finally {
          browser.kill('SIGKILL');
          await ended;
        }
        // The page's own report.
        return JSON.parse(app.results.at(-1) ?? '{}') as Record<string, unknown>;
      };
      const direct = await visit(`http://127.0.0.1:${app.http1}/page`);
      const map = `--host-resolver-rules=MAP ${host} 127.0.0.1`;
      const through = await visit(`https://${host}:${edge.tlsPort}/page`, map);
      t.diagnostic(`protocol ${String(through['protocol'])}`);
      assert.equal(direct['error'], undefined);
      assert.equal(through['protocol'], 'h2');
      // Digests of the browser need a secure context, which 127.0.0.1 is.
      assert.deepEqual({ ...through, protocol: null }, { ...direct, protocol: null });
    });
});
