// Certificates from a real ACME authority: pebble, which refuses one nonce in five, asks the Edge by http-01, and issues what clients see.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import tls from 'node:tls';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import { freePort } from '../fixtures/edge-process.ts';
import { until, withPlatform } from '../platform.ts';
import { lacking } from '../requirements.ts';

const GOOD = 'shop.libra-platform.com';
const BAD = 'elsewhere.libra-platform.com';

describe('ACME', { skip: lacking('pebble') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-acme-'));
  const children: ChildProcess[] = [];
  const start = (program: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): void => {
    children.push(spawn(program, words, { env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: 'ignore' }));
  };
  after(async () => {
    for (const child of children) {
      if (child.exitCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  });

  test('a routed host gets its certificate, one that leads elsewhere a reason, and a restart keeps both', async () => {
    // The certificate of the authority's own API.
    const own = makeAuthority();
    const { chainPem, keyPem } = own.issue('localhost');
    for (const [name, text] of Object.entries({ 'ca.pem': own.certificatePem, 'chain.pem': chainPem, 'key.pem': keyPem }))
      writeFileSync(join(folder, name), text);
    const [api, management, dns, dnsManagement] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    const get = (path: string, port: number): Promise<string> =>
      new Promise((resolve, reject) => {
        https
          .get({ host: 'localhost', port, path, ca: own.certificatePem, agent: false }, (answer) => {
            let body = '';
            answer.on('data', (chunk: Buffer) => (body += chunk.toString()));
            answer.on('end', () => resolve(body));
          })
          .on('error', reject);
      });

    await withPlatform(
      async (platform) => {
        const config = {
          pebble: {
            listenAddress: `127.0.0.1:${api}`,
            managementListenAddress: `127.0.0.1:${management}`,
            certificate: join(folder, 'chain.pem'),
            privateKey: join(folder, 'key.pem'),
            httpPort: platform.edgePort,
            tlsPort: 1,
            externalAccountBindingRequired: false,
          },
        };
        writeFileSync(join(folder, 'pebble.json'), JSON.stringify(config));
        const off = ['-http01', '', '-https01', '', '-tlsalpn01', ''];
        start('pebble-challtestsrv', [
          '-dns01',
          `127.0.0.1:${dns}`,
          '-management',
          `127.0.0.1:${dnsManagement}`,
          '-defaultIPv6',
          '',
          ...off,
        ]);
        start('pebble', ['-config', join(folder, 'pebble.json'), '-dnsserver', `127.0.0.1:${dns}`], {
          PEBBLE_VA_NOSLEEP: '1',
          PEBBLE_WFE_NONCEREJECT: '20',
        });
        await until('the authority is there', 15_000, async () => (await get('/dir', api)) !== '');
        await until('names are there', 15_000, async () => {
          const body = JSON.stringify({ host: BAD, addresses: ['127.0.0.9'] });
          return (await fetch(`http://127.0.0.1:${dnsManagement}/add-a`, { method: 'POST', body })).ok;
        });

        const routes = [`routes: [ { host: ${GOOD} }, { host: ${BAD} }, { host: shop.localhost } ]`];
        const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'secure', web: routes })));
        assert.equal(deployed.code, 0, deployed.stderr);
        const domainOf = async (host: string) => (await platform.client().domains.list({})).items.find((each) => each.host === host);
        const good = await until('it is issued', 60_000, async () => {
          const domain = await domainOf(GOOD);
          return domain?.state === 'issued' ? domain : null;
        });
        assert.equal(good.issuer, 'acme');
        assert.ok((good.orderAtMs ?? 0) > Date.now() && (good.orderAtMs ?? 0) < (good.untilMs ?? 0));
        const bad = await until('the other one is refused', 60_000, async () => {
          const domain = await domainOf(BAD);
          return domain?.state === 'failed' ? domain : null;
        });
        assert.match(bad.reason ?? '', /connection refused|127\.0\.0\.9/iu);
        assert.equal((await domainOf('shop.localhost'))?.state, 'local');
        const listed = await platform.cli('domains');
        assert.match(listed.stdout, new RegExp(`${GOOD} +issued +acme`, 'u'));

        const root = await get('/roots/0', management);
        const port = Number(/:(\d+)$/u.exec((await platform.client().system.status({})).addresses['edgeTls'] ?? '')?.[1]);
        const shown = async (): Promise<string> => {
          const socket = tls.connect({ host: '127.0.0.1', port, servername: GOOD, ca: root });
          await once(socket, 'secureConnect');
          const { fingerprint256 } = socket.getPeerCertificate();
          socket.destroy();
          return fingerprint256;
        };
        const before = await until('the Edge shows it', 10_000, shown);
        // What nobody has ordered is the App's own affair.
        assert.equal((await platform.get(GOOD, '/.well-known/acme-challenge/unknown')).body, 'secure');

        await platform.kill();
        await platform.start();
        assert.equal((await domainOf(GOOD))?.state, 'issued');
        assert.equal(await until('the Edge still shows it', 10_000, shown), before, 'it is not ordered again');
      },
      {
        env: {
          LIBRA_ACME: `https://localhost:${api}/dir`,
          LIBRA_ACME_EMAIL: 'ops@libra-platform.com',
          NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
        },
      },
    );
  });
});
