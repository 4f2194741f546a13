// TLS in front of the Edge: which certificate, which versions, and that a swap of thousands disturbs nobody.

import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import type { RouteTable, TableCertificate } from '../api/dataplane.ts';
import { call, group, rule, startEdge, startInstance, text, tlsSession, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';
import { createCertificates } from '../dataplane/tls/certificates.ts';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();

/** A self-signed certificate, as small as one can be: written by hand, since the Edge may not use what control writes them with. */
function certificate(name: string): TableCertificate {
  const element = (tag: number, ...parts: readonly Buffer[]): Buffer => {
    const content = Buffer.concat(parts);
    const length = content.length < 128 ? Buffer.of(content.length) : Buffer.of(0x82, content.length >> 8, content.length & 0xff);
    return Buffer.concat([Buffer.of(tag), length, content]);
  };
  const ecdsa = element(0x30, Buffer.from('06082a8648ce3d040302', 'hex'));
  const subject = element(0x30, element(0x31, element(0x30, Buffer.from('0603550403', 'hex'), element(0x0c, Buffer.from(name)))));
  const validity = element(0x30, element(0x17, Buffer.from('260101000000Z')), element(0x17, Buffer.from('400101000000Z')));
  const names = element(0x30, element(0x82, Buffer.from(name)));
  const extension = element(0xa3, element(0x30, element(0x30, Buffer.from('0603551d11', 'hex'), element(0x04, names))));
  const serial = element(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)]));
  const version = Buffer.from('a003020102', 'hex');
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const body = element(0x30, version, serial, ecdsa, subject, validity, subject, spki, extension);
  const signature = element(0x03, Buffer.of(0), sign('sha256', body, privateKey));
  const base64 =
    element(0x30, body, ecdsa, signature)
      .toString('base64')
      .match(/.{1,64}/gu) ?? [];
  return {
    name,
    chainPem: `-----BEGIN CERTIFICATE-----\n${base64.join('\n')}\n-----END CERTIFICATE-----\n`,
    keyPem,
    untilMs: 2_208_988_800_000,
  };
}

describe('TLS', () => {
  let edge: TestEdge;
  let app: TestInstance;
  let port = 0;
  before(async () => {
    edge = await startEdge({
      listen: [
        { host: '127.0.0.1', port: 0 },
        { host: '127.0.0.1', port: 0, tls: true },
      ],
    });
    port = edge.edge.addresses()[1]?.port ?? 0;
    app = await startInstance('i1', (request, response) =>
      text(response, `${String(request.headers['x-forwarded-proto'])} ${request.url ?? ''}`),
    );
  });
  after(async () => {
    await edge.stop();
    await app.close();
  });
  const install = (certificates: readonly TableCertificate[]): Promise<void> =>
    edge.install({
      rules: [rule('app.localhost', 'app'), rule('*.wild.localhost', 'app')],
      groups: [group('app', [app.target])],
      certificates,
    });
  const names = (options: tls.ConnectionOptions): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () => {
        resolve(`${socket.getPeerCertificate().subjectaltname ?? 'none'} ${socket.getProtocol() ?? ''}`);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  const get = async (servername: string, agent: https.Agent | false = false): Promise<string> => {
    const { status, body } = await call(port, servername, '/x', { agent, tls: { rejectUnauthorized: false } });
    return `${status} ${body.toString()}`;
  };

  test('shows the certificate of the name that is asked for, and none to who asks for another', async () => {
    await install([certificate('app.localhost'), certificate('*.wild.localhost')]);
    assert.equal(await names({ servername: 'app.localhost' }), 'DNS:app.localhost TLSv1.3');
    assert.equal(await names({ servername: 'APP.localhost' }), 'DNS:app.localhost TLSv1.3');
    assert.equal(await names({ servername: 'a.wild.localhost' }), 'DNS:*.wild.localhost TLSv1.3');
    await assert.rejects(names({ servername: 'a.b.wild.localhost' }));
    await assert.rejects(names({ servername: 'other.localhost' }));
    await assert.rejects(names({}));
    assert.equal(await get('app.localhost'), '200 https /x');
  });

  test('speaks 1.2 and 1.3, and nothing older', async () => {
    await install([certificate('app.localhost')]);
    assert.equal(await names({ servername: 'app.localhost', maxVersion: 'TLSv1.2' }), 'DNS:app.localhost TLSv1.2');
    await assert.rejects(names({ servername: 'app.localhost', minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    await assert.rejects(names({ servername: 'app.localhost', maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' }));
  });

  test('a swap of two thousand certificates breaks no connection, and the new ones count at once', async () => {
    const many = Array.from({ length: 2_000 }, (_, index) => ({ ...certificate('app.localhost'), name: `app${index}.localhost` }));
    await install([certificate('app.localhost'), ...many]);
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    assert.equal(await get('app.localhost', agent), '200 https /x');
    await install([certificate('app.localhost'), certificate('new.localhost')]);
    assert.equal(await get('app.localhost', agent), '200 https /x');
    assert.equal(await names({ servername: 'new.localhost' }), 'DNS:new.localhost TLSv1.3');
    await assert.rejects(names({ servername: 'app7.localhost' }));
    agent.destroy();
  });

  test('on demand: the first visitor waits while the App is asked and the certificate comes, a stranger does not', async (t) => {
    const questions: string[] = [];
    const shops = await startInstance('i2', (request, response) => {
      const { url = '' } = request;
      if (!url.startsWith('/ask')) return text(response, 'shop');
      questions.push(url);
      return text(response, '', url.includes('bad') ? 404 : url.includes('broken') ? 500 : 200);
    });
    t.after(() => shops.close());
    const any = { ...rule('*', 'shops'), policy: { onDemandCertificates: { ask: '/ask?v=1' } } };
    const table = (...certificates: readonly TableCertificate[]): RouteTable => ({
      rules: [rule('app.localhost', 'app'), any],
      groups: [group('app', [app.target]), group('shops', [shops.target])],
      certificates: [certificate('app.localhost'), ...certificates],
    });
    await edge.install(table());
    await edge.install(table());
    await assert.rejects(names({ servername: 'bad.example' }));
    await assert.rejects(names({ servername: 'broken.example' }));
    assert.equal(await get('app.localhost'), '200 https /x');
    const before = edge.link.reports.length;
    const first = get('good.example');
    const second = names({ servername: 'good.example' });
    await until('control is told', () => edge.link.reports.slice(before).some(({ wanted }) => wanted?.join() === 'good.example'));
    await edge.install(table(certificate('good.example')));
    assert.equal(await first, '200 shop');
    assert.equal(await second, 'DNS:good.example TLSv1.3');
    assert.deepEqual(questions, ['/ask?v=1&host=bad.example', '/ask?v=1&host=broken.example', '/ask?v=1&host=good.example']);
    // Who leaves meanwhile is no trouble.
    const leaver = tls.connect({ host: '127.0.0.1', port, servername: 'later.example', rejectUnauthorized: false });
    leaver.on('error', () => undefined);
    await until('it is asked for', () => questions.length === 4);
    leaver.destroy();
    await edge.install(table(certificate('good.example'), certificate('later.example')));
    assert.equal(await get('later.example'), '200 shop');
  });

  test('a session that one Edge began is resumed by another, until the key is another', async (t) => {
    const other = await startEdge({ listen: [{ host: '127.0.0.1', port: 0, tls: true }] });
    t.after(() => other.stop());
    const table = (key: string): RouteTable => ({
      rules: [rule('app.localhost', 'app')],
      groups: [group('app', [app.target])],
      certificates: [certificate('app.localhost')],
      ticketKey: Buffer.alloc(48, key).toString('base64'),
    });
    await edge.install(table('a'));
    await other.install(table('a'));
    const connect = (to: number, session?: Buffer): ReturnType<typeof tlsSession> =>
      tlsSession(to, { servername: 'app.localhost', rejectUnauthorized: false, ...(session === undefined ? {} : { session }) });
    const { session } = await connect(port);
    assert.ok(session !== undefined);
    const otherPort = other.edge.addresses()[0]?.port ?? 0;
    assert.equal((await connect(otherPort, session)).reused, true);
    await other.install(table('b'));
    assert.equal((await connect(otherPort, session)).reused, false);
  });

  test('a client that does not speak TLS, or stops in the middle, disturbs nobody', async () => {
    await install([certificate('app.localhost')]);
    const plain = await new Promise<string>((resolve) => {
      const socket = tls.connect({ host: '127.0.0.1', port: edge.port, servername: 'app.localhost', rejectUnauthorized: false });
      socket.on('error', (error) => resolve(error.message));
    });
    assert.notEqual(plain, '');
    assert.equal(await get('app.localhost'), '200 https /x');
  });
});

test('contexts are made when they are asked for, and a certificate that cannot be used is told', () => {
  const certificates = createCertificates();
  certificates.change([{ ...certificate('bad.localhost'), chainPem: 'nonsense' }, certificate('good.localhost')], []);
  assert.throws(() => certificates.contextFor('bad.localhost'));
  assert.notEqual(certificates.contextFor('good.localhost'), null);
  assert.equal(certificates.contextFor('good.localhost'), certificates.contextFor('GOOD.localhost.'));
  assert.equal(certificates.contextFor('..'), null);
});

describe('a balancer that says who is behind it, in front of TLS', () => {
  const V2 = Buffer.from('0d0a0d0a000d0a515549540a2111000cc6336409cb007109123401bb', 'hex');
  let edge: TestEdge;
  let app: TestInstance;
  before(async () => {
    edge = await startEdge({
      listen: [{ host: '127.0.0.1', port: 0, tls: true }],
      proxied: ['127.0.0.1'],
      limits: { headerTimeoutMs: 1_000 },
    });
    app = await startInstance('i1', (request, response) =>
      text(response, `${String(request.headers['x-forwarded-for'])} ${String(request.headers['x-forwarded-proto'])}`),
    );
    await edge.install({
      rules: [rule('app.localhost', 'app')],
      groups: [group('app', [app.target])],
      certificates: [certificate('app.localhost')],
    });
  });
  after(async () => {
    await edge.stop();
    await app.close();
  });

  /** The body of an answer, over a connection that begins with these bytes. */
  const ask = async (header: Buffer | string, protocol: 'h2' | 'http/1.1'): Promise<string> => {
    const plain = net.connect(edge.port, '127.0.0.1');
    await once(plain, 'connect');
    plain.write(header);
    const socket = tls.connect({ socket: plain, servername: 'app.localhost', rejectUnauthorized: false, ALPNProtocols: [protocol] });
    await once(socket, 'secureConnect');
    assert.equal(socket.alpnProtocol, protocol);
    if (protocol === 'http/1.1') {
      socket.write('GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n');
      let answer = '';
      for await (const chunk of socket) answer += String(chunk);
      return answer.slice(answer.indexOf('\r\n\r\n') + 4);
    }
    const session = http2.connect('https://app.localhost', { createConnection: () => socket });
    const stream = session.request({ ':path': '/' });
    let answer = '';
    for await (const chunk of stream) answer += String(chunk);
    session.destroy();
    return answer;
  };

  for (const protocol of ['http/1.1', 'h2'] as const)
    test(`version 1 and 2 of the header, then ${protocol}`, async () => {
      assert.equal(await ask('PROXY TCP4 198.51.100.9 203.0.113.1 4660 443\r\n', protocol), '198.51.100.9 https');
      assert.equal(await ask(V2, protocol), '198.51.100.9 https');
    });

  test('a connection from there without a header is closed, and so is one that says nothing', async () => {
    const bare = tls.connect({ host: '127.0.0.1', port: edge.port, servername: 'app.localhost', rejectUnauthorized: false });
    await assert.rejects(once(bare, 'secureConnect'));
    const silent = net.connect(edge.port, '127.0.0.1');
    silent.resume();
    await once(silent, 'close');
  });
});

test('handshakes that do not go on count as connections, and are given back', async () => {
  const edge = await startEdge({ listen: [{ host: '127.0.0.1', port: 0, tls: true }], limits: { connections: 5, headerTimeoutMs: 500 } });
  const app = await startInstance('i1', (_request, response) => text(response, 'ok'));
  try {
    await edge.install({
      rules: [rule('app.localhost', 'app')],
      groups: [group('app', [app.target])],
      certificates: [certificate('app.localhost')],
    });
    const get = (): Promise<string> =>
      new Promise((resolve, reject) => {
        https
          .get(
            {
              host: '127.0.0.1',
              port: edge.port,
              servername: 'app.localhost',
              headers: { host: 'app.localhost' },
              rejectUnauthorized: false,
              agent: false,
            },
            (answer) => {
              answer.resume();
              resolve(String(answer.statusCode));
            },
          )
          .on('error', reject);
      });
    const silent = Array.from({ length: 5 }, () => net.connect(edge.port, '127.0.0.1'));
    await Promise.all(silent.map((socket) => once(socket, 'connect')));
    await assert.rejects(get());
    await Promise.all(silent.map((socket) => once(socket.resume(), 'close')));
    assert.equal(await get(), '200');
  } finally {
    await edge.stop();
    await app.close();
  }
});
