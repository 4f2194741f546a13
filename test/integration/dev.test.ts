// The development environment with real processes: `libra dev` on "laptops" beside an App that is deployed, and with nothing deployed.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { startConnectProxy, startLibraDev, startLocalServer } from '../fixtures/laptop.ts';
import type { LibraDev, LocalServer } from '../fixtures/laptop.ts';
import { Platform, until } from '../platform.ts';

const HOST = 'shop--staging.localhost';
const STAGING = ['-e', 'staging'] as const;

let platform: Platform;
let folder = '';
const servers: LocalServer[] = [];
const running = new Set<LibraDev>();

before(async () => {
  platform = new Platform();
  await platform.start();
  folder = writeApp(platform, 'shop', serverApp({ text: 'deployed' }));
  const deployed = await platform.cliIn(folder, 'deploy', ...STAGING);
  assert.equal(deployed.code, 0, deployed.stderr);
});
after(async () => {
  for (const dev of running) await dev.stop();
  for (const server of servers) server.close();
  await platform.dispose();
});

const local = async (name: string): Promise<LocalServer> => {
  const server = await startLocalServer(name);
  servers.push(server);
  return server;
};
const dev = (words: readonly string[], env: Readonly<Record<string, string>> = {}, where = folder): LibraDev => {
  const started = startLibraDev(platform, where, words, env);
  running.add(started);
  return started;
};
/** The laptop of `key` with a server that answers with its name, connected and in force. */
const laptop = async (key: string, more: readonly string[] = []): Promise<{ readonly dev: LibraDev; readonly server: LocalServer }> => {
  const server = await local(key);
  const started = dev(['--port', String(server.port), '--key', key, ...STAGING, ...more]);
  await started.connected;
  await until(
    `${key} gets its requests`,
    10_000,
    async () => (await platform.get(HOST, '/', { headers: { 'x-libra-session': key } })).body === key,
  );
  return { dev: started, server };
};
const body = async (host: string, headers: Readonly<Record<string, string>> = {}): Promise<string> =>
  (await platform.get(host, '/', { headers })).body;

test('a personal session gets what names its key, by all four ways, and nothing else', async () => {
  const { dev: ana, server } = await laptop('ana');
  assert.equal((await ana.connected).url, `http://ana--${HOST}:${platform.edgePort}`);
  assert.equal(await body(HOST), 'deployed');
  for (const [host, headers] of [
    [`ana--${HOST}`, {}],
    [HOST, { 'x-libra-session': 'ana' }],
    [HOST, { cookie: 'a=b; libra-session=ana' }],
    [HOST, { baggage: 'x=1, libra-session=ana;p=1' }],
  ] as const)
    assert.equal(await body(host, headers), 'ana');
  const intercepted = await platform.get(`ana--${HOST}`);
  assert.equal(intercepted.headers['cache-control'], 'no-store');
  // What the program calls in turn belongs to the session too.
  const said = JSON.parse((await platform.get(`ana--${HOST}`, '/headers')).body) as Record<string, string>;
  assert.deepEqual([said['x-libra-session'], said['baggage']], ['ana', 'libra-session=ana']);
  assert.equal(await body(HOST, { 'x-libra-session': 'nobody' }), 'deployed');
  assert.ok(server.seen.length > 4);

  const list = await platform.cliIn(folder, 'dev', 'ls');
  assert.match(list.stdout, /staging +web +personal +ana +owner \(.*\) +yes/u);
  const refused = await platform.cliIn(folder, 'dev', '--port', '1', '--key', 'ana', ...STAGING);
  assert.equal(refused.code, 5);
  assert.match(refused.stderr, /The key ana is in use for shop\/staging web: its requests go to the session of owner \(/u);
  assert.equal(await ana.stop(), 0);
  assert.equal((await platform.get(`ana--${HOST}`)).status, 404);
  assert.equal(await body(HOST, { 'x-libra-session': 'ana' }), 'deployed');
  assert.doesNotMatch((await platform.cliIn(folder, 'dev', 'ls')).stdout, /ana/u);
});

test('two developers and everybody else on one App: thousands of requests, none of them at the wrong place', async () => {
  const [ana, bob] = await Promise.all([laptop('ana'), laptop('bob')]);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 12 });
  const ask = (key: string | null): Promise<string> =>
    new Promise((resolve, reject) => {
      const headers = { host: HOST, ...(key === null ? {} : { 'x-libra-session': key }) };
      const request = http.get({ host: '127.0.0.1', port: platform.edgePort, headers, agent }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve(text));
      });
      request.on('error', reject);
    });
  const wrong: string[] = [];
  const total = Number(process.env['LIBRA_TEST_DEV_REQUESTS'] ?? 3_000);
  const loop = async (from: number): Promise<void> => {
    for (let index = from; index < total; index += 12) {
      const key = [null, 'ana', 'bob'][index % 3] ?? null;
      const answer = await ask(key);
      if (answer !== (key ?? 'deployed')) wrong.push(`${key ?? 'nobody'} got ${answer}`);
    }
  };
  await Promise.all(Array.from({ length: 12 }, (_, from) => loop(from)));
  agent.destroy();
  assert.deepEqual(wrong, []);
  assert.deepEqual([await ana.dev.stop(), await bob.dev.stop()], [0, 0]);
});

test('a laptop that is killed is replaced by what is deployed within two seconds, and nothing unsafe is sent twice', async () => {
  const { dev: ana, server } = await laptop('ana');
  const headers = { 'x-libra-session': 'ana' };
  const hanging = platform.get(HOST, '/hang', { method: 'POST', headers, body: 'once' });
  await until('the laptop has it', 5_000, () => server.seen.includes('POST /hang'));
  ana.child.kill('SIGKILL');
  const killedMs = performance.now();
  const { status } = await hanging;
  assert.equal(status, 502, 'what may have had an effect is told as broken');
  assert.equal(await body(HOST, headers), 'deployed');
  assert.ok(performance.now() - killedMs < 2_000, `${performance.now() - killedMs} ms`);
  assert.equal(server.seen.filter((line) => line === 'POST /hang').length, 1);
  // The program that is not there is no reason to wait either: nothing was sent, so that any method goes elsewhere.
  const again = await laptop('ana');
  again.server.close();
  // A connection that was kept may break under a request that has left already, as any program's may.
  await until('the connections to it are gone', 5_000, async () => (await body(HOST, headers)) === 'deployed');
  const posted = await platform.get(HOST, '/echo', { method: 'POST', headers, body: 'posted' });
  assert.deepEqual([posted.status, again.server.seen.includes('POST /echo')], [200, false]);
  await again.dev.stop();
});

test('bytes of every kind pass as they are: large bodies both ways, event streams, upgrades', async () => {
  const { dev: ana } = await laptop('ana');
  const sent = randomBytes(20_000_000);
  const came = createHash('sha256');
  await new Promise<void>((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port: platform.edgePort, path: '/echo', method: 'POST', headers: { host: `ana--${HOST}` }, agent: false },
      (response) => {
        response.on('data', (chunk: Buffer) => came.update(chunk));
        response.on('end', resolve);
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(sent);
  });
  assert.equal(came.digest('hex'), createHash('sha256').update(sent).digest('hex'));

  const events = http.get({ host: '127.0.0.1', port: platform.edgePort, path: '/events', headers: { host: `ana--${HOST}` }, agent: false });
  const [stream] = (await once(events, 'response')) as [http.IncomingMessage];
  const [first] = (await once(stream, 'data')) as [Buffer];
  assert.equal(first.toString(), 'data: first\n\n');
  stream.destroy();

  const socket = net.connect(platform.edgePort, '127.0.0.1');
  socket.write(
    `GET /socket HTTP/1.1\r\nHost: ana--${HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n`,
  );
  const [head] = (await once(socket, 'data')) as [Buffer];
  assert.match(head.toString(), /^HTTP\/1\.1 101 /u);
  const frame = Buffer.from([0x81, 0x85, 1, 2, 3, 4, 0x69, 0x67, 0x6f, 0x68, 0x6e]);
  socket.write(frame);
  const [echoed] = (await once(socket, 'data')) as [Buffer];
  assert.deepEqual(echoed, frame);
  socket.destroy();
  await ana.stop();
});

test('a restart of librad and a lost connection change nothing: the same session under the same URL, through a proxy in the way', async () => {
  const server = await local('ana');
  const other = new Platform({ env: { LIBRA_DOMAIN: 'apps.test' } });
  await other.start();
  const through = await startConnectProxy(() => other.edgePort);
  try {
    const source = writeApp(other, 'shop', serverApp({ text: 'deployed' }));
    const started = startLibraDev(other, source, ['--port', String(server.port), '--key', 'ana'], { HTTPS_PROXY: through.url });
    running.add(started);
    const { id } = await started.connected;
    assert.deepEqual(through.asked, [`libra.apps.test:${other.edgePort}`]);
    const reached = (): Promise<boolean> => other.get('ana--shop--dev.apps.test').then(({ body: text }) => text === 'ana');
    await until('it is reached', 10_000, reached);
    // Nothing is deployed: it has the common host too.
    assert.equal((await other.get('shop--dev.apps.test')).body, 'ana');
    const cutMs = performance.now();
    through.cut();
    await until('it is back', 5_000, async () => through.asked.length >= 2 && (await reached()));
    assert.ok(performance.now() - cutMs < 3_000, `${performance.now() - cutMs} ms`);
    await other.kill();
    assert.equal(await reached(), true, 'while control is away');
    await other.start();
    await until('it is reached still', 10_000, reached);
    const { items } = await other.client().sessions.list({ params: { app: 'shop', environment: 'dev' } });
    assert.deepEqual(
      items.map((one) => [one.id, one.connected]),
      [[id, true]],
    );
    // A link that is lost without a word, beside something that is deployed: that serves within two seconds.
    const deployed = await other.cliIn(source, 'deploy', '-e', 'dev');
    assert.equal(deployed.code, 0, deployed.stderr);
    const asked = through.asked.length;
    assert.equal(await reached(), true);
    through.freeze();
    const frozenMs = performance.now();
    assert.equal((await other.get('ana--shop--dev.apps.test')).body, 'deployed');
    assert.ok(performance.now() - frozenMs < 2_000, `${performance.now() - frozenMs} ms`);
    through.cut();
    await until('it is back by itself', 5_000, reached);
    assert.ok(through.asked.length > asked);
    // Somebody ends it.
    const revoked = await other.cliIn(source, 'dev', 'revoke', id);
    assert.equal(revoked.code, 0, revoked.stderr);
    await until('libra dev has ended', 10_000, () => started.child.exitCode !== null);
    assert.equal(started.child.exitCode, 4);
    assert.match(started.text(), /it has ended/u);
  } finally {
    through.close();
    await other.dispose();
  }
});

test('a program on a laptop calls Services as its App may, and its calls belong to its session, whatever it passes on', async () => {
  const billing = writeApp(platform, 'billing', {
    'libra.yaml': `app: billing
entrypoints:
  web: { command: node server.mjs, resources: { cpu: 0.1, memory: 64Mi } }
provides:
  invoices: { entrypoint: web, path: /api, allow: [desk/dev] }
  closed: { entrypoint: web }
`,
    'server.mjs': `import http from 'node:http';
http.createServer((request, response) => response.end(JSON.stringify({ from: 'deployed', url: request.url, headers: request.headers }))).listen(Number(process.env.PORT), '127.0.0.1');
`,
  });
  const deployed = await platform.cliIn(billing, 'deploy', '-e', 'dev');
  assert.equal(deployed.code, 0, deployed.stderr);
  const desk = writeApp(platform, 'desk', {
    'libra.yaml': `app: desk
uses: [billing.invoices, billing.closed, librad.kv]
entrypoints:
  web: { command: node server.mjs }
`,
    // As an Instance does it; it passes nothing of a request on.
    'server.mjs': `import http from 'node:http';
import { readFile } from 'node:fs/promises';
http.createServer(async (request, response) => {
  const [, service = '', rest = ''] = request.url.split('/');
  try {
    const identity = await readFile(process.env.LIBRA_IDENTITY_FILE, 'utf8');
    const answer = await fetch(process.env['LIBRA_SERVICE_' + service] + '/' + rest, { method: request.method, headers: { 'x-libra-identity': identity } });
    response.writeHead(answer.status).end(await answer.text());
  } catch (error) {
    response.writeHead(599).end(String(error.cause ?? error));
  }
}).listen(Number(process.env.PORT), process.env.HOST);
`,
  });
  const ana = dev(['--key', 'ana'], {}, desk);
  await ana.connected;
  const host = 'ana--desk--dev.localhost';
  const ask = async (service: string, rest = ''): Promise<readonly [number, Record<string, unknown>]> => {
    const { status, body: text } = await platform.get(host, `/${service}/${rest}`);
    return [status, JSON.parse(text) as Record<string, unknown>];
  };
  const called = await until('the Service answers', 10_000, async () => {
    const [status, answer] = await ask('BILLING_INVOICES', '2024');
    return status === 200 ? answer : null;
  });
  const headers = called['headers'] as Record<string, string>;
  assert.deepEqual(
    [called['from'], called['url'], headers['x-libra-caller'], headers['x-libra-session']],
    ['deployed', '/api/2024', 'desk/dev/web', 'ana'],
  );
  assert.equal(headers['x-libra-identity'], undefined);
  const [refused, why] = await ask('BILLING_CLOSED');
  assert.deepEqual([refused, why['detail']], [403, 'billing.closed of billing/dev does not allow desk/dev.']);

  // The other App is on a laptop too, in the same session: the call comes there, and everybody else's does not.
  const there = await local('the other laptop');
  const other = dev(['--port', String(there.port), '--key', 'ana', '-a', 'billing', '-e', 'dev']);
  await other.connected;
  await until('it comes to the laptop', 10_000, async () => (await platform.get(host, '/BILLING_INVOICES/x')).body === 'the other laptop');
  assert.match((await platform.get('billing--dev.localhost')).body, /"from":"deployed"/u);
  assert.equal(await other.stop(), 0);
  assert.equal((await ask('BILLING_INVOICES', 'x'))[1]['from'], 'deployed');
  // The platform's own Services know the session as a caller of its Environment.
  const kept = await platform.get(host, '/LIBRAD_KV/keys');
  assert.equal(kept.status, 200, kept.body);
  assert.equal(await ana.stop(), 0);
});

test('several Apps come to one machine with one command, and end together', async () => {
  const below = writeApp(platform, 'several', {
    'one/libra.yaml': 'app: one\nentrypoints:\n  web: { command: node server.mjs }\n',
    'two/libra.yaml': 'app: two\nuses: [one.it]\nentrypoints:\n  web: { command: node server.mjs }\n',
    'no-app/readme.txt': 'nothing to run',
    ...Object.fromEntries(
      ['one', 'two'].map((name) => [
        `${name}/server.mjs`,
        `import http from 'node:http';
console.log('${name} listens');
http.createServer((request, response) => (request.url === '/end' ? process.exit(3) : response.end('${name}'))).listen(Number(process.env.PORT), process.env.HOST);
`,
      ]),
    ),
  });
  const up = startLibraDev(platform, below, ['up', '--key', 'ana']);
  running.add(up);
  for (const name of ['one', 'two'])
    await until(`${name} is reached`, 20_000, async () => (await platform.get(`${name}--dev.localhost`)).body === name);
  assert.match(up.text(), /^one \| one listens$/mu);
  assert.match(up.text(), /^two \| two listens$/mu);
  await platform.get('one--dev.localhost', '/end').catch(() => undefined);
  await until('all of it has ended', 10_000, () => up.child.exitCode !== null);
  assert.equal(up.child.exitCode, 3);
  const { items } = await platform.client().sessions.list({ params: { app: 'two', environment: 'dev' } });
  assert.deepEqual(items, []);
});

test('replace takes all of the requests, its program has the values of the Environment, and production is protected', async () => {
  const set = await platform.cliIn(folder, 'env', 'set', 'GREETING=from the Environment', '--no-deploy', ...STAGING);
  assert.equal(set.code, 0, set.stderr);
  const started = dev(['--mode', 'replace', ...STAGING]);
  await started.connected;
  const values = await until('its program answers everybody', 10_000, async () => {
    const reply = await platform.get(HOST, '/env');
    const found = JSON.parse(reply.body) as Record<string, string>;
    return found['LIBRA_INSTANCE'] === undefined ? found : null;
  });
  assert.deepEqual(
    [values['GREETING'], values['LIBRA_APP'], values['LIBRA_ENVIRONMENT'], values['LIBRA_ENTRYPOINT'], values['LIBRA_TOKEN']],
    ['from the Environment', 'shop', 'staging', 'web', undefined],
  );
  assert.doesNotMatch(started.text(), /from the Environment/u);
  assert.equal(await started.stop(), 0);
  assert.equal(JSON.parse((await platform.get(HOST, '/env')).body)['LIBRA_ENVIRONMENT'], 'staging');
  await platform.client().environments.create({ params: { app: 'shop' }, body: { name: 'production' } });
  const refused = await platform.cliIn(folder, 'dev', '--port', '1', '-e', 'production');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /shop\/production is protected: production is, unless/u);
});
