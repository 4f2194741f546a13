// Bad input through the real command line and API: manifests, folders, archives and requests that are wrong or hostile are refused at
// once with everything that is wrong with them, nothing is written outside, and no request ends in an internal error.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { packTar } from 'modern-tar';
import type { TarEntry } from 'modern-tar';
import type { Endpoint } from '../../src/api/endpoint.ts';
import { table } from '../../src/api/table.ts';
import { isFailure } from '../../src/lib/failure.ts';
import type { Failure } from '../../src/lib/failure.ts';
import { newToken } from '../../src/lib/id.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';
import type { CliResult } from '../platform.ts';
import { lacking } from '../requirements.ts';

const BUNDLE_BYTES = 1_000_000;
/** Far more than any refusal takes, far less than a hang. */
const QUICK_MS = 10_000;

const platform = new Platform({ env: { LIBRA_BUNDLE_BYTES: String(BUNDLE_BYTES) } });

async function timed<T>(work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  const tookMs = performance.now() - began;
  assert.ok(tookMs < QUICK_MS, `it took ${Math.round(tookMs)} ms`);
  return result;
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  try {
    await work;
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    return error;
  }
  return assert.fail('it was accepted');
}

interface BadManifest {
  readonly name: string;
  readonly text: string;
  /** Each problem as the command line prints it: place, path, words. */
  readonly says: readonly RegExp[];
}

const bomb = (): string => {
  const lines = ['app: bomb', 'env:', '  A0: &a0 boom'];
  for (let level = 1; level < 30; level += 1) {
    lines.push(`  A${level}: &a${level} [${Array.from({ length: 10 }, () => `*a${level - 1}`).join(', ')}]`);
  }
  return `${lines.join('\n')}\n`;
};

const manifests: readonly BadManifest[] = [
  {
    name: 'broken YAML',
    text: 'app: shop\nentrypoints:\n  web: { command: [node, server.mjs }\n',
    says: [/libra\.yaml:3:\d+:? .*not valid YAML/u],
  },
  { name: 'tabs', text: 'app: shop\nentrypoints:\n\tweb: { command: node server.mjs }\n', says: [/libra\.yaml:3:\d+:? .*tabs/u] },
  {
    name: 'wrong types, all of them told',
    text: 'app: 7\nenv: [a, b]\nentrypoints:\n  web:\n    command: node server.mjs\n    instances: two\n    port: 99999\n    resources: { memory: lots }\n',
    says: [
      /libra\.yaml:1:6:? app/u,
      /libra\.yaml:2:6:? env/u,
      /libra\.yaml:6:16:? .*instances/u,
      /libra\.yaml:7:11:? .*port/u,
      /libra\.yaml:8:26:? .*memory/u,
    ],
  },
  {
    name: 'unknown keys with the nearest known one',
    text: 'app: shop\nentrypoint: {}\nentrypoints:\n  web:\n    comand: node server.mjs\n    health: { htpp: /healthz }\n',
    says: [/libra\.yaml:2:1:? .*entrypoints/u, /libra\.yaml:5:5:? .*command/u, /libra\.yaml:6:15:? .*http/u],
  },
  {
    name: 'duplicate keys',
    text: 'app: shop\napp: store\nentrypoints:\n  web: { command: node server.mjs, port: 80, port: 81 }\n',
    says: [/libra\.yaml:2:1:? .*app.* twice/u, /libra\.yaml:4:46:? .*port.* twice/u],
  },
  { name: 'an alias bomb', text: bomb(), says: [/libra\.yaml:1:1:? .*(alias|cannot be read)/iu] },
  {
    name: 'deep nesting',
    text: `app: shop\nenv: ${'['.repeat(20_000)}${']'.repeat(20_000)}\n`,
    says: [/libra\.yaml:\d+:\d+:? .*nested too deeply/u],
  },
  { name: 'bytes that are no text', text: 'app: \u0000\u0001\u0002\n', says: [/libra\.yaml:1:\d+/u] },
  { name: 'nothing', text: '', says: [/libra\.yaml:1:1/u] },
];

before(() => platform.start());
after(() => platform.dispose());

describe('a manifest with', () => {
  for (const { name, text, says } of manifests) {
    test(`${name} is refused with every place, by the command line and the API`, async () => {
      const folder = writeApp(platform, 'bad', { 'libra.yaml': text, 'server.mjs': '' });
      for (const verb of ['deploy', 'plan']) {
        const result = await timed(() => platform.cli(verb, folder));
        assert.equal(result.code, 2, result.stdout + result.stderr);
        for (const line of says) assert.match(result.stderr, line);
        assert.match(result.stderr, /next:/u);
      }
      const refused = await timed(() =>
        failureOf(
          platform.client().releases.create({ params: { app: 'shop' }, body: { manifest: text }, idempotencyKey: newToken('test') }),
        ),
      );
      assert.equal(refused.code, 'manifest_invalid');
      // The API tells the same places as the command line.
      const told = (refused.details?.['problems'] ?? []) as readonly {
        file: string;
        line: number;
        column: number;
        path: string;
        message: string;
      }[]; // as the server makes them
      const lines = told
        .map((problem) => `${problem.file}:${problem.line}:${problem.column} ${problem.path}: ${problem.message}`)
        .join('\n');
      for (const line of says) assert.match(lines, line);
    });
  }

  test('10 MB is refused unread', async () => {
    const text = `app: shop\n${`# ${'x'.repeat(98)}\n`.repeat(100_000)}`;
    const folder = writeApp(platform, 'bad', { 'libra.yaml': text });
    const result = await timed(() => platform.cli('deploy', folder));
    assert.equal(result.code, 2, result.stderr);
    assert.match(result.stderr, /libra\.yaml/u);
    assert.match(result.stderr, /256 ?Ki|262144/u);
    const refused = await timed(() =>
      failureOf(platform.client().releases.create({ params: { app: 'shop' }, body: { manifest: text }, idempotencyKey: newToken('test') })),
    );
    assert.ok(refused.code === 'too_large' || refused.code === 'invalid_input', refused.code);
  });

  test('any of that leaves nothing behind', async () => {
    assert.deepEqual((await platform.client().apps.list({})).items, []);
  });
});

const LISTING = `
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
const found = readdirSync('.', { recursive: true }).map(String).sort();
createServer((request, response) => response.end(JSON.stringify(found))).listen(Number(process.env.PORT), process.env.HOST);
`;

describe('a folder', () => {
  const app = { 'libra.yaml': 'app: files\nentrypoints:\n  web: { command: node server.mjs }\n', 'server.mjs': LISTING };
  const deploying = (change: (folder: string) => void, files: Readonly<Record<string, string>> = app): Promise<CliResult> => {
    const folder = writeApp(platform, 'files', files);
    change(folder);
    return timed(() => platform.cli('deploy', folder));
  };
  const refused = async (says: RegExp, change: (folder: string) => void): Promise<void> => {
    const result = await deploying(change);
    assert.equal(result.code, 1, result.stdout + result.stderr);
    assert.match(result.stderr, says);
    assert.match(result.stderr, /next:/u);
  };

  test('with a link out of it is refused by name', async () => {
    await refused(/secret-link .*leads out of the folder, to \/etc\/passwd/u, (folder) =>
      symlinkSync('/etc/passwd', join(folder, 'secret-link')),
    );
    await refused(/up .*leads out of the folder/u, (folder) => symlinkSync('../..', join(folder, 'up')));
  });

  test('with a pipe is refused by name', async () => {
    await refused(/queue .*pipe/u, (folder) => execFileSync('mkfifo', [join(folder, 'queue')]));
  });

  test('with a device is refused by name', { skip: lacking('root') }, async () => {
    await refused(/disk .*device/u, (folder) => execFileSync('mknod', [join(folder, 'disk'), 'c', '1', '3']));
  });

  test('over the size limit is refused with the limit', async () => {
    await refused(new RegExp(`${BUNDLE_BYTES}|1 ?M|977 ?Ki`, 'u'), (folder) =>
      writeFileSync(join(folder, 'large'), Buffer.concat([Buffer.alloc(16), createNoise(BUNDLE_BYTES)])),
    );
  });

  test('of more than 100,000 files is refused with the limit', async () => {
    // In memory where there is such a place: a disk takes long for so many.
    const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'libra-many-'));
    try {
      for (const [name, text] of Object.entries(app)) writeFileSync(join(folder, name), text);
      for (let part = 0; part < 101; part += 1) {
        mkdirSync(join(folder, String(part)));
        for (let index = 0; index < 1000; index += 1) writeFileSync(join(folder, String(part), String(index)), '');
      }
      const result = await platform.cli('deploy', folder);
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, /more than 100,?000 files/u);
      assert.match(result.stderr, /\.libraignore/u);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('comes along without what is ignored, and hard links come as files', async () => {
    const result = await deploying((folder) => linkSync(join(folder, 'kept.txt'), join(folder, 'linked.txt')), {
      ...app,
      '.gitignore': '*.log\n/dist\n!important.log\n',
      '.libraignore': 'docs/\n',
      'kept.txt': 'kept',
      'debug.log': 'x',
      'important.log': 'x',
      'dist/out.js': 'x',
      'lib/dist/in.js': 'x',
      'docs/page.md': 'x',
      'node_modules/left-pad/index.js': 'x',
      'lib/node_modules/inner/index.js': 'x',
      '.git/config': 'x',
    });
    assert.equal(result.code, 0, result.stdout + result.stderr);
    const found = JSON.parse((await platform.get('files.localhost')).body) as string[];
    assert.deepEqual(
      found.filter((name) => !name.startsWith('.') && name !== 'libra.yaml' && name !== 'server.mjs'),
      ['important.log', 'kept.txt', 'lib', 'lib/dist', 'lib/dist/in.js', 'linked.txt'],
    );
    assert.equal(
      found.some((name) => name.startsWith('.git/')),
      false,
    );
  });
});

/** Bytes that do not compress, the same every time. */
function createNoise(bytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let index = 0; index * 32 < bytes; index += 1) parts.push(createHash('sha256').update(String(index)).digest());
  return Buffer.concat(parts).subarray(0, bytes);
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const file = (name: string, body = 'evil'): TarEntry => ({
  header: { name, size: Buffer.byteLength(body), type: 'file', mode: 0o644, mtime: new Date(0) },
  body,
});
const special = (name: string, type: 'symlink' | 'link' | 'fifo' | 'character-device' | 'block-device', linkname = ''): TarEntry => ({
  header: { name, size: 0, type, linkname, mtime: new Date(0) },
});

describe('an archive', () => {
  /** Where hostile entries try to write; must stay empty. */
  const outside = mkdtempSync(join(tmpdir(), 'libra-outside-'));
  after(() => rmSync(outside, { recursive: true }));
  const climb = `${'../'.repeat(12)}${outside.slice(1)}`;

  const upload = async (bytes: Uint8Array, digest = digestOf(bytes)): Promise<string> => {
    await platform.client().blobs.upload({
      params: { digest },
      query: { offset: 0, final: true },
      body: (async function* () {
        yield bytes;
      })(),
    });
    return digest;
  };
  const releaseOf = async (bytes: Uint8Array): Promise<Failure> => {
    const bundle = await upload(bytes);
    const body = { manifest: 'app: hostile\nentrypoints:\n  web: { command: node server.mjs }\n', bundle };
    return await timed(() =>
      failureOf(platform.client().releases.create({ params: { app: 'hostile' }, body, idempotencyKey: newToken('test') })),
    );
  };

  const hostile: Readonly<Record<string, readonly TarEntry[]>> = {
    'with a path that climbs out': [file('server.mjs'), file(`${climb}/evil`)],
    'with an absolute path': [file(`${outside}/evil`)],
    'with a link out of it': [special('door', 'symlink', outside)],
    'that writes through its own link': [special('door', 'symlink', outside), file('door/evil')],
    'that writes through a link made later': [file('door/evil'), special('door', 'symlink', outside)],
    'with a hard link to the outside': [special('door', 'link', '/etc/passwd')],
    'with a hard link that climbs out': [special('door', 'link', `${'../'.repeat(12)}etc/passwd`)],
    'with a device': [special('disk', 'block-device')],
    'with a character device': [special('null', 'character-device')],
    'with a pipe': [special('queue', 'fifo')],
    'with the same file twice': [file('a'), file('a')],
  };
  for (const [name, entries] of Object.entries(hostile)) {
    test(`${name} is refused by name, plain and zipped, and nothing is written outside`, async () => {
      const bytes = await packTar([...entries]);
      for (const archive of [bytes, gzipSync(bytes)]) {
        const failure = await releaseOf(archive);
        assert.equal(failure.code, 'bundle_invalid', failure.message);
        const names = entries.flatMap(({ header }) =>
          header.linkname === undefined || header.linkname === '' ? header.name : [header.name, header.linkname],
        );
        assert.ok(
          names.some((entry) => failure.message.includes(entry)),
          failure.message,
        );
      }
      assert.deepEqual(readdirSync(outside), []);
    });
  }

  test('that is cut off, empty or none at all is refused', async () => {
    const bytes = await packTar([file('server.mjs', 'x'.repeat(5000))]);
    for (const part of [bytes.subarray(0, 3000), gzipSync(bytes).subarray(0, 60), new Uint8Array(0), Buffer.from('no archive')]) {
      const failure = await releaseOf(part);
      assert.equal(failure.code, 'bundle_invalid', `${part.length}: ${failure.message}`);
    }
  });

  test('with more entries than a bundle may have is refused', async () => {
    const bytes = gzipSync(await packTar(Array.from({ length: 100_001 }, (_, index) => file(String(index), ''))));
    const failure = await releaseOf(bytes);
    assert.match(failure.message, /100,?000/u);
    assert.ok(failure.code === 'too_large' || failure.code === 'bundle_invalid', failure.code);
  });

  test('whose digest is another one is refused and not kept', async () => {
    const digest = digestOf(Buffer.from('something else'));
    const failure = await failureOf(upload(await packTar([file('a')]), digest));
    assert.equal(failure.code, 'bundle_invalid', failure.message);
    const state = await platform.client().blobs.stat({ params: { digest } });
    assert.equal(state.complete, false);
    const body = { manifest: 'app: hostile\nentrypoints:\n  web: { command: node server.mjs }\n', bundle: digest };
    assert.equal(
      (await failureOf(platform.client().releases.create({ params: { app: 'hostile' }, body, idempotencyKey: newToken('test') }))).code,
      'not_found',
    );
  });

  test('over the size limit is refused with the limit, however it is sent', async () => {
    const bytes = createNoise(BUNDLE_BYTES + 10_000);
    const failure = await failureOf(upload(bytes));
    assert.equal(failure.code, 'too_large', failure.message);
    const digest = digestOf(bytes);
    await platform.client().blobs.upload({
      params: { digest },
      query: { offset: 0, final: false },
      body: (async function* () {
        yield bytes.subarray(0, 900_000);
      })(),
    });
    const rest = platform.client().blobs.upload({
      params: { digest },
      query: { offset: 900_000, final: true },
      body: (async function* () {
        yield bytes.subarray(900_000);
      })(),
    });
    assert.equal((await failureOf(rest)).code, 'too_large');
  });

  test('refused so often leaves no App, no Release and no files behind', async () => {
    assert.equal(
      (await platform.client().apps.list({})).items.some((item) => item.name === 'hostile'),
      false,
    );
    assert.equal(existsSync(join(outside, 'evil')), false);
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => name === 'evil'),
      [],
    );
  });
});

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly body?: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The status of one raw request; 0 where the connection was closed instead. */
function send({ method, path, body, headers }: Sent): Promise<number> {
  const { hostname, port } = new URL(platform.addresses.api);
  return new Promise((resolve) => {
    const call = request(
      {
        host: hostname,
        port,
        path,
        method,
        agent: false,
        timeout: QUICK_MS,
        headers,
      },
      (response) => {
        // The head of an event stream is all that is asked for.
        response.destroy();
        resolve(response.statusCode ?? 0);
      },
    );
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    call.on('timeout', () => call.destroy(new Error('no answer')));
    call.on('error', (error: Error) => resolve(error.message === 'no answer' ? 599 : 0));
    call.end(body);
  });
}

describe('garbage', () => {
  const every = Object.entries(table).flatMap(([noun, verbs]) =>
    Object.entries(verbs).map(([verb, endpoint]: [string, Endpoint]) => ({ name: `${noun}.${verb}`, endpoint })),
  );
  const words = ['%00', '..%2f..%2fetc', '%F0%9F%92%A9', 'x'.repeat(3000), '__proto__', '-1', '%ff%fe', 'NaN', "'%20or%201=1"];
  const queries = [
    'limit=-1',
    'limit=x&limit=2',
    'cursor=%00',
    'cursor=bm9uc2Vuc2U',
    'garbage=1',
    '%',
    'offset=1e400',
    'tail=-5&follow=maybe',
    '__proto__=1',
    `x=${'y'.repeat(9000)}`,
  ];
  const bodies: readonly (Buffer | string)[] = [
    'null',
    '[]',
    '"text"',
    '17',
    '{"garbage":1}',
    '{"__proto__":{"admin":true}}',
    '{"constructor":{"prototype":{}},"x":1}',
    '{',
    '',
    '\u0000',
    `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
    `{"manifest":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`,
    Buffer.from([0xff, 0xfe, 0x00, 0x80]),
    '{"manifest":1e999,"release":-0.5,"cause":"deploy","name":"\\ud800","values":[],"value":{},"instances":1e308,"entrypoints":null}',
  ];

  /** What does its work without being told anything: garbage goes to the name of nothing there. */
  const acting = new Set(['system.shutdown', 'environments.stop', 'environments.delete', 'nodes.drain', 'nodes.cordon', 'apps.delete']);
  const real: Readonly<Record<string, string>> = {
    app: 'files',
    environment: 'production',
    entrypoint: 'web',
    node: 'test-node',
    deployment: '1',
    release: '1',
    digest: `sha256:${'0'.repeat(64)}`,
  };

  /** Of an Instance that may call all Services of the platform. */
  let instanceToken = '';
  before(async () => {
    const uses = 'uses: [librad.kv, librad.locks, librad.config, librad.discovery]';
    const folder = writeApp(platform, 'caller', serverApp({ text: 'caller', app: 'caller', more: uses }));
    assert.equal((await platform.cli('deploy', folder)).code, 0);
    const { stdout } = await platform.cli('exec', '-a', 'caller', '--', 'sh', '-c', 'cat "$LIBRA_IDENTITY_FILE"');
    instanceToken = stdout.trim();
  });
  const tokenFor = ({ permission }: Endpoint): string => {
    if (permission.startsWith('librad.')) return instanceToken;
    const isNodes = permission === 'agent.sync' || permission === 'machine.renew';
    const file = isNodes ? 'node.token' : permission === 'dataplane.sync' ? 'edge.token' : 'owner.token';
    return readFileSync(join(platform.data, file), 'utf8').trim();
  };

  for (const { name, endpoint } of every) {
    test(`at ${name} is never answered with 500`, async () => {
      const token = tokenFor(endpoint);
      const fill = (word: string | null): string => endpoint.path.replace(/\{([^}]+)\}/gu, (_, key: string) => word ?? real[key] ?? 'none');
      const path = fill(acting.has(name) ? 'none' : null);
      const sent: Sent[] = [];
      if (endpoint.path.includes('{')) for (const word of words) sent.push({ method: endpoint.method, path: fill(word) });
      if (name !== 'system.shutdown') for (const query of queries) sent.push({ method: endpoint.method, path: `${path}?${query}` });
      for (const body of endpoint.method === 'GET' ? [] : bodies) {
        if (body === '' && name === 'system.shutdown') continue;
        for (const type of ['application/json', 'text/plain', 'application/json; charset=utf-16']) {
          sent.push({
            method: endpoint.method,
            path,
            body,
            headers: { 'content-type': type, 'content-length': String(Buffer.byteLength(body)) },
          });
        }
      }
      if (name !== 'system.shutdown') {
        const odd = {
          'if-match': '"\u00ff',
          'idempotency-key': '../'.repeat(50),
          'last-event-id': '%%%',
          range: 'bytes=9-1',
          connection: 'close',
        };
        const upgrade = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-key': 'short', 'sec-websocket-version': '99' };
        sent.push({ method: endpoint.method, path, headers: odd }, { method: endpoint.method, path, headers: upgrade });
      }
      let understood = 0;
      for (const each of sent) {
        const status = await send({ ...each, headers: { authorization: `Bearer ${token}`, ...each.headers } });
        assert.ok(status < 500, `${each.method} ${each.path.slice(0, 200)} ${String(each.body).slice(0, 80)} → ${status}`);
        assert.ok(status !== 401 && status !== 403, `the credential serves: ${status}`);
        if (status > 0) understood += 1;
      }
      assert.ok(understood > 0, 'it was asked at all');
    });
  }

  test('leaves the platform as it was', async () => {
    assert.equal((await platform.get('files.localhost')).status, 200);
    const folder = writeApp(platform, 'after', serverApp({ text: 'still works', app: 'after' }));
    assert.equal((await platform.cli('deploy', folder)).code, 0);
    await until('the new App answers', 10_000, async () => (await platform.get('after.localhost')).body === 'still works');
  });
});
