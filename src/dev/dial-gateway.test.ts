import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { dialGateway } from './dial-gateway.ts';
import { proxyFor } from './proxy-settings.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Says `answers` one by one, each when a head has come; gives the heads. */
async function speaker(...answers: readonly string[]): Promise<{ readonly port: number; readonly heads: string[] }> {
  const heads: string[] = [];
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
        heads.push(text.slice(0, end));
        text = text.slice(end + 4);
        const answer = answers[heads.length - 1];
        if (answer === undefined) socket.destroy();
        else socket.write(answer);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { port: address.port, heads };
}

const dial = (url: string, proxy: string | null = null, signal = new AbortController().signal): Promise<Socket> =>
  dialGateway(
    { url: new URL(url), credential: 'libra_dev_x', proxy: proxy === null ? null : new URL(proxy) },
    { clock: systemClock, signal },
  );
const failure = async (dialled: Promise<Socket>): Promise<Failure> => {
  const error: unknown = await dialled.then(
    (socket) => socket.destroy(),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof Failure, String(error));
  return error;
};

const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: libra-dev\r\n\r\n';

test('an upgrade that is granted leaves what comes behind it to whoever reads', async () => {
  const edge = await speaker(`${SWITCHED}first bytes`);
  const socket = await dial(`http://libra.localhost:${edge.port}/_libra/dev`);
  closing.push(() => socket.destroy());
  assert.match(
    edge.heads[0] ?? '',
    /^GET \/_libra\/dev HTTP\/1\.1\r\nHost: libra\.localhost:\d+\r\nConnection: Upgrade\r\nUpgrade: libra-dev\r\nAuthorization: Bearer libra_dev_x$/u,
  );
  const [bytes] = (await once(
    socket.on('data', () => undefined),
    'data',
  )) as [Buffer];
  assert.equal(bytes.toString(), 'first bytes');
});

test('a proxy is asked to let the connection through, with its name and password, and says why where it does not', async () => {
  const open = await speaker('HTTP/1.1 200 OK\r\n\r\n', SWITCHED);
  const socket = await dial('http://libra.apps.test/_libra/dev', `http://ana:p%40ss@127.0.0.1:${open.port}`);
  closing.push(() => socket.destroy());
  assert.match(
    open.heads[0] ?? '',
    new RegExp(
      `^CONNECT libra\\.apps\\.test:80 HTTP/1\\.1\r\nHost: libra\\.apps\\.test:80\r\nProxy-Authorization: Basic ${Buffer.from('ana:p@ss').toString('base64')}$`,
      'u',
    ),
  );
  const shut = await speaker('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
  const refused = await failure(dial('https://libra.apps.test/_libra/dev', `http://127.0.0.1:${shut.port}`));
  assert.equal(refused.code, 'unreachable');
  assert.match(refused.message, /does not let connections through to libra\.apps\.test:443: it answered 407/u);
});

test('what answers otherwise is told apart: no session, an Edge that leaves, something else, nothing, silence', async () => {
  const answering = async (answer: string): Promise<string> => {
    const { code, message } = await failure(dial(`http://127.0.0.1:${(await speaker(answer)).port}/_libra/dev`));
    return `${code}: ${message.replaceAll(/:\d+/gu, '')}`;
  };
  assert.equal(
    await answering('HTTP/1.1 401 Unauthorized\r\n\r\nThere is no such session.\n'),
    'unauthenticated: There is no such session.',
  );
  assert.equal(await answering('HTTP/1.1 503 Service Unavailable\r\n\r\n'), 'unavailable: 503 Service Unavailable');
  assert.match(await answering('HTTP/1.1 404 Not Found\r\n\r\n'), /^unreachable: 127\.0\.0\.1 does not know the protocol of sessions/u);
  assert.match(await answering('SSH-2.0-OpenSSH_9.2\r\n\r\n'), /^unreachable: .* the answer is no HTTP/u);
  const closed = await speaker();
  assert.match((await failure(dial(`http://127.0.0.1:${closed.port}/`))).message, /the connection was closed/u);
  assert.match((await failure(dial('http://127.0.0.1:1/'))).message, /ECONNREFUSED/u);
  const leaving = new AbortController();
  const silent = await speaker('');
  const dialled = dial(`http://127.0.0.1:${silent.port}/`, null, leaving.signal);
  leaving.abort(new Failure('canceled', { message: 'enough' }));
  assert.equal((await failure(dialled)).message, 'enough');
});

test('a proxy is for what is elsewhere, but for what NO_PROXY names', () => {
  const proxyOf = (url: string, env: Readonly<Record<string, string>>): string | null => proxyFor(new URL(url), env)?.host ?? null;
  const env = { HTTPS_PROXY: 'http://proxy.test:3128', NO_PROXY: 'internal.test, .corp.test' };
  assert.equal(proxyOf('https://libra.apps.test/', env), 'proxy.test:3128');
  assert.equal(proxyOf('https://libra.apps.test/', { https_proxy: 'proxy.test:1', HTTPS_PROXY: 'http://other:2' }), 'proxy.test:1');
  for (const url of [
    'http://libra.localhost:8080/',
    'https://127.0.0.1/',
    'http://[::1]:1/',
    'https://libra.internal.test/',
    'https://a.corp.test/',
  ])
    assert.equal(proxyOf(url, env), null, url);
  assert.equal(proxyOf('https://libra.apps.test/', { ...env, NO_PROXY: '*' }), null);
  assert.equal(proxyOf('https://libra.apps.test/', {}), null);
  assert.throws(() => proxyOf('https://libra.apps.test/', { HTTPS_PROXY: 'socks5://x:1' }), /does not hold the URL of an HTTP proxy/u);
});
