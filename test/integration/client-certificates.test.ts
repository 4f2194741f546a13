// Client certificates per Route: who is let in, what the App is told, and that nothing that was proven to one host counts for another.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { RouteTable } from '../../src/api/dataplane.ts';
import { call, group, rule, startEdge, startInstance, text, tlsSession } from '../../src/edge/edge-fixture.ts';
import type { CallOptions, TestEdge, TestInstance } from '../../src/edge/edge-fixture.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import { withPlatform } from '../platform.ts';

const site = makeAuthority();
const staff = makeAuthority();
const partners = makeAuthority();
const alice = staff.issueClient('alice');
const HOST = 'staff.localhost';

interface Answer {
  readonly status: number;
  readonly body: string;
}

describe('client certificates', () => {
  let edge: TestEdge;
  let app: TestInstance;
  let port = 0;
  const asking = (host: string, authority: string, more: { readonly path?: string; readonly optional?: boolean } = {}) => ({
    ...rule(host, 'app'),
    path: more.path ?? '/',
    policy: { clientCertificates: { authority, optional: more.optional ?? false } },
  });
  before(async () => {
    edge = await startEdge({
      listen: [
        { host: '127.0.0.1', port: 0 },
        { host: '127.0.0.1', port: 0, tls: true },
      ],
    });
    port = edge.edge.addresses()[1]?.port ?? 0;
    app = await startInstance('i1', (request, response) => text(response, String(request.headers['client-cert'])));
    const hosts = [HOST, 'other.localhost', 'open.localhost', 'partners.localhost', '*.wild.localhost'];
    await edge.install({
      rules: [
        asking(HOST, staff.certificatePem),
        asking('other.localhost', staff.certificatePem, { optional: true }),
        asking('partners.localhost', partners.certificatePem),
        asking('*.wild.localhost', staff.certificatePem),
        rule('open.localhost', 'app'),
        // Contested: the handshake asks for one authority alone.
        asking(HOST, partners.certificatePem, { path: '/partners' }),
        { ...rule(HOST, 'app'), path: '/open' },
      ],
      groups: [group('app', [app.target])],
      certificates: hosts.map((host) => site.issue(host)),
    });
  });
  after(async () => {
    await edge.stop();
    await app.close();
  });

  const get = async (
    options: tls.ConnectionOptions & {
      readonly servername: string;
      readonly host?: string;
      readonly path?: string;
      readonly headers?: CallOptions['headers'];
    },
  ): Promise<Answer> => {
    const { host = options.servername, path = '/', headers = {}, ...secure } = options;
    const { status, body } = await call(port, host, path, { headers, tls: { ca: site.certificatePem, ...secure } });
    return { status, body: body.toString() };
  };

  test('lets in who shows one of the authority, and tells the App whose it is (RFC 9440)', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { status, body } = await get({
        servername: HOST,
        ...alice,
        minVersion: version,
        maxVersion: version,
        headers: { 'client-cert': ':bWFsbG9yeQ==:' },
      });
      assert.equal(status, 200);
      assert.match(body, /^:[A-Za-z0-9+/=]+:$/u);
      assert.equal(new X509Certificate(Buffer.from(body.slice(1, -1), 'base64')).subject, 'O=test\nCN=alice');
    }
    assert.equal((await get({ servername: 'any.wild.localhost', ...alice })).status, 200);
  });

  test('refuses who shows none, one of another authority, an expired one, or one that is for servers', async () => {
    const none = await get({ servername: HOST, headers: { accept: 'application/json', 'client-cert': ':bWFsbG9yeQ==:' } });
    assert.equal(none.status, 403);
    assert.match(none.body, /client_certificate.*has shown none/su);
    const { chainPem, keyPem } = staff.issue('alice');
    const expired = staff.issueClient('alice', Date.now() - 1_000);
    for (const wrong of [partners.issueClient('alice'), expired, { cert: chainPem, key: keyPem }]) {
      const refused = await get({ servername: HOST, ...wrong, headers: { accept: 'application/json' } });
      assert.equal(refused.status, 403);
      assert.match(refused.body, /does not count here: [A-Z_]+/u);
    }
    assert.match((await get({ servername: HOST, ...expired })).body, /CERT_HAS_EXPIRED/u);
  });

  test('where it is optional, none is no harm, but a wrong one is', async () => {
    assert.deepEqual(await get({ servername: 'other.localhost' }), { status: 200, body: 'undefined' });
    assert.match((await get({ servername: 'other.localhost', ...alice })).body, /^:/u);
    assert.equal((await get({ servername: 'other.localhost', ...partners.issueClient('alice') })).status, 403);
  });

  test('a Route that asks for none gets none told, spoofed ones neither', async () => {
    const headers = { 'client-cert': ':bWFsbG9yeQ==:' };
    assert.deepEqual(await get({ servername: 'open.localhost', ...alice, headers }), { status: 200, body: 'undefined' });
    assert.deepEqual(await get({ servername: HOST, path: '/open', ...alice, headers }), { status: 200, body: 'undefined' });
  });

  test('what was proven to one host does not count for another: 421', async () => {
    assert.equal((await get({ servername: 'open.localhost', host: HOST, ...alice })).status, 421);
    assert.equal((await get({ servername: 'partners.localhost', host: HOST, ...partners.issueClient('bob') })).status, 421);
    assert.equal((await get({ servername: HOST, path: '/partners', ...alice })).status, 421);
    assert.equal((await get({ servername: HOST, host: 'partners.localhost', ...alice })).status, 421);
  });

  test('plain requests are sent to https', async () => {
    const reply = await call(edge.port, HOST, '/x');
    const moved = `${reply.status} ${reply.headers.location ?? ''}`;
    assert.equal(moved, `308 https://${HOST}/x`);
  });

  test('a session cannot be resumed under another name, nor at all where a certificate is asked for', async () => {
    const connect = (options: tls.ConnectionOptions): ReturnType<typeof tlsSession> =>
      tlsSession(port, { ca: site.certificatePem, ...options });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const open = await connect({ servername: 'open.localhost', maxVersion });
      assert.ok(open.session !== undefined);
      assert.equal((await connect({ servername: 'open.localhost', maxVersion, session: open.session })).reused, true);
      assert.equal((await connect({ servername: HOST, maxVersion, session: open.session })).reused, false);
      const proven = await connect({ servername: HOST, maxVersion, ...alice });
      const again = { maxVersion, ...(proven.session === undefined ? {} : { session: proven.session }) };
      assert.equal((await connect({ servername: HOST, ...again })).reused, false);
      assert.equal((await connect({ servername: 'other.localhost', ...again })).reused, false);
    }
  });

  test('a handshake that began before another authority was asked for proves nothing to the new one', async (t) => {
    const other = await startEdge({ listen: [{ host: '127.0.0.1', port: 0, tls: true }] });
    t.after(() => other.stop());
    const table = (authority: string): RouteTable => ({
      rules: [asking(HOST, authority)],
      groups: [group('app', [app.target])],
      certificates: [site.issue(HOST)],
    });
    await other.install(table(staff.certificatePem));
    // What goes to the server is held back once the handshake has begun.
    const raw = net.connect({ host: '127.0.0.1', port: other.edge.addresses()[0]?.port ?? 0 });
    let held: (() => void)[] | null = null;
    let first = true;
    const slow = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        const send = (): void => void raw.write(chunk, () => done());
        if (held === null) send();
        else held.push(send);
      },
    });
    const answered = new Promise<void>((resolve) => {
      raw.on('data', (chunk: Buffer) => {
        if (first) {
          first = false;
          held = [];
          resolve();
        }
        slow.push(chunk);
      });
    });
    const socket = tls.connect({ socket: slow, servername: HOST, ca: site.certificatePem, ...alice });
    await answered;
    await other.install(table(partners.certificatePem));
    const waiting = held ?? [];
    held = null;
    for (const send of waiting as (() => void)[]) send();
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    const [head] = (await once(socket, 'data')) as [Buffer];
    assert.match(head.toString(), /^HTTP\/1\.1 421 /u);
    raw.destroy();
  });

  test('over HTTP/2 too, where one connection asks for several hosts', async () => {
    const session = http2.connect(`https://127.0.0.1:${port}`, { servername: HOST, ca: site.certificatePem, ...alice });
    const ask = async (authority: string): Promise<number> => {
      const stream = session.request({ ':authority': authority, ':path': '/' });
      const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
      stream.close();
      return headers[':status'] ?? 0;
    };
    assert.equal(await ask(HOST), 200);
    assert.equal(await ask('open.localhost'), 200);
    assert.equal(await ask('partners.localhost'), 421);
    session.close();
  });

  test('a hello in single bytes is read as any other', async () => {
    const raw = net.connect({ host: '127.0.0.1', port, noDelay: true });
    const slow = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        for (const byte of chunk) raw.write(Buffer.of(byte));
        done();
      },
      final: (done) => void raw.end(done),
    });
    raw.on('data', (chunk) => slow.push(chunk));
    raw.on('end', () => slow.push(null));
    const socket = tls.connect({ socket: slow, servername: HOST, ca: site.certificatePem, ...alice });
    await once(socket, 'secureConnect');
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    await once(socket, 'end');
    assert.match(answer, /^HTTP\/1\.1 200 /u);
    raw.destroy();
  });
});

test('a manifest asks for them, and what cannot be is refused before anything changes', () =>
  withPlatform(async (platform) => {
    const indented = (pem: string): string => pem.trim().replaceAll('\n', '\n            ');
    const deploy = (name: string, route: string, authority: string): ReturnType<typeof platform.cli> =>
      platform.cli(
        'deploy',
        writeApp(
          platform,
          name,
          serverApp({
            app: name,
            text: 'in',
            web: ['routes:', `  - ${route}`, '    clientCertificates:', '      authority: |', `        ${indented(authority)}`],
          }),
        ),
      );
    const deployed = await deploy('shop', `host: ${HOST}`, staff.certificatePem);
    assert.equal(deployed.code, 0, deployed.stderr);
    assert.match(deployed.stdout, new RegExp(`https://${HOST}:\\d+\\n$`, 'u'));
    const port = Number(/:(\d+)$/u.exec((await platform.client().system.status({})).addresses['edgeTls'] ?? '')?.[1]);
    const { certificate: ca } = await platform.client().domains.authority({});
    const status = async (client: tls.ConnectionOptions): Promise<number> =>
      (await call(port, HOST, '/', { tls: { ...client, ca } })).status;
    assert.deepEqual([await status(alice), await status({})], [200, 403]);
    assert.match((await platform.cli('routes', '-a', 'shop')).stdout, /client certificate/u);

    const other = await deploy('blog', `host: ${HOST}\n        path: /blog`, partners.certificatePem);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /shop\/production asks the clients of staff\.localhost for certificates of another authority/u);
    const same = await deploy('blog', `host: ${HOST}\n        path: /blog`, staff.certificatePem);
    assert.equal(same.code, 0, same.stderr);
    const leaf = await deploy('wiki', 'host: wiki.localhost', alice.cert);
    assert.match(leaf.stderr, /is not one of an authority/u);
    const nonsense = await deploy('wiki', 'host: wiki.localhost', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----');
    assert.match(nonsense.stderr, /cannot be read/u);
    const key = await deploy('wiki', 'host: wiki.localhost', alice.key);
    assert.match(key.stderr, /libra\.yaml:\d+:\d+.*holds a private key/su);
  }));
