// Certificates from a real ACME authority: pebble, which refuses one nonce in five, asks the Edge by http-01, and issues what clients see.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import tls from 'node:tls';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import { freePorts } from '../../src/sys/ports-fixture.ts';
import { until, withPlatform } from '../platform.ts';
import type { Platform } from '../platform.ts';
import type { ReplyOf } from '../../src/api/endpoint.ts';
import type { ApiTable } from '../../src/api/table.ts';
import { lacking } from '../requirements.ts';

const GOOD = 'shop.libra-platform.com';
const BAD = 'elsewhere.libra-platform.com';
const LATER = 'later.libra-platform.com';

type DomainView = ReplyOf<ApiTable['domains']['list']>['items'][number];

interface Ports {
  readonly api: number;
  readonly management: number;
  readonly dns: number;
  readonly dnsManagement: number;
}

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

  // The certificate of the authority's own API.
  const own = makeAuthority();
  const { chainPem, keyPem } = own.issue('localhost');
  for (const [name, text] of Object.entries({ 'ca.pem': own.certificatePem, 'chain.pem': chainPem, 'key.pem': keyPem }))
    writeFileSync(join(folder, name), text);

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
  const portsOfAuthority = async (): Promise<Ports> => {
    const [api = 0, management = 0, dns = 0, dnsManagement = 0] = await freePorts(4);
    return { api, management, dns, dnsManagement };
  };
  /** Says in its DNS that GOOD leads here, BAD elsewhere, and everything else nowhere. */
  const startAuthority = async ({ api, management, dns, dnsManagement }: Ports, httpPort: number, tlsPort = 1): Promise<void> => {
    const file = join(folder, `pebble.${api}.json`);
    const config = {
      listenAddress: `127.0.0.1:${api}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: join(folder, 'chain.pem'),
      privateKey: join(folder, 'key.pem'),
      httpPort,
      tlsPort,
      externalAccountBindingRequired: false,
    };
    writeFileSync(file, JSON.stringify({ pebble: config }));
    const off = ['-http01', '', '-https01', '', '-tlsalpn01', ''];
    start('pebble-challtestsrv', [
      '-dns01',
      `127.0.0.1:${dns}`,
      '-management',
      `127.0.0.1:${dnsManagement}`,
      '-defaultIPv6',
      '',
      '-defaultIPv4',
      '',
      ...off,
    ]);
    start('pebble', ['-config', file, '-dnsserver', `127.0.0.1:${dns}`], { PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '20' });
    await until('the authority is there', 15_000, async () => (await get('/dir', api)) !== '');
    await until('names are there', 15_000, () => lead(dnsManagement, GOOD, '127.0.0.1'));
    await lead(dnsManagement, BAD, '127.0.0.9');
  };
  const lead = async (dnsManagement: number, host: string, address: string): Promise<boolean> => {
    const post = (path: string, body: unknown): Promise<Response> =>
      fetch(`http://127.0.0.1:${dnsManagement}${path}`, { method: 'POST', body: JSON.stringify(body) });
    await post('/clear-a', { host });
    return (await post('/add-a', { host, addresses: [address] })).ok;
  };
  const platformEnv = ({ api, dns }: Ports): Record<string, string> => ({
    LIBRA_ACME: `https://localhost:${api}/dir`,
    LIBRA_ACME_RESOLVERS: `127.0.0.1:${dns}`,
    NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
  });
  const domainOf = async (platform: Platform, host: string): Promise<DomainView | undefined> =>
    (await platform.client().domains.list({})).items.find((each) => each.host === host);
  const becomes = (platform: Platform, host: string, state: DomainView['state']): Promise<DomainView> =>
    until(`${host} is ${state}`, 60_000, async () => {
      const domain = await domainOf(platform, host);
      return domain?.state === state ? domain : null;
    });
  const tlsPortOf = async (platform: Platform): Promise<number> =>
    Number(/:(\d+)$/u.exec((await platform.client().system.status({})).addresses['edgeTls'] ?? '')?.[1]);
  /** The certificate that the Edge shows, checked against the authority's root. */
  const shown = async (platform: Platform, servername: string, management: number): Promise<string> => {
    const port = await tlsPortOf(platform);
    const socket = tls.connect({ host: '127.0.0.1', port, servername, ca: await get('/roots/0', management) });
    await once(socket, 'secureConnect');
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };

  test('a routed host gets its certificate, one that leads elsewhere a reason, and a restart keeps both', async () => {
    const ports = await portsOfAuthority();
    await withPlatform(
      async (platform) => {
        await startAuthority(ports, platform.edgePort);
        const routes = [
          `routes: [ { host: ${GOOD} }, { host: ${BAD} }, { host: ${LATER} }, { host: shop.localhost }, { host: "*.libra-platform.com" } ]`,
        ];
        const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'secure', web: routes })));
        assert.equal(deployed.code, 0, deployed.stderr);
        const good = await becomes(platform, GOOD, 'issued');
        assert.equal(good.issuer, 'acme');
        assert.ok((good.orderAtMs ?? 0) > Date.now() && (good.orderAtMs ?? 0) < (good.untilMs ?? 0));
        const bad = await becomes(platform, BAD, 'failed');
        assert.match(bad.reason ?? '', /^http-01: .*(?:refused|127\.0\.0\.9).*; tls-alpn-01: /iu);
        assert.equal((await domainOf(platform, 'shop.localhost'))?.state, 'local');
        const listed = await platform.cli('domains');
        assert.match(listed.stdout, new RegExp(`${GOOD} +issued +acme`, 'u'));

        const before = await until('the Edge shows it', 10_000, () => shown(platform, GOOD, ports.management));
        // What nobody has ordered is the App's own affair.
        assert.equal((await platform.get(GOOD, '/.well-known/acme-challenge/unknown')).body, 'secure');

        await platform.kill();
        await platform.start();
        assert.equal((await domainOf(platform, GOOD))?.state, 'issued');
        assert.equal(
          await until('the Edge still shows it', 10_000, () => shown(platform, GOOD, ports.management)),
          before,
          'it is not ordered again',
        );

        // The cause is mended: nobody has to wait for the next try.
        await lead(ports.dnsManagement, BAD, '127.0.0.1');
        assert.equal((await platform.cli('domains', 'check', BAD)).code, 0);
        await becomes(platform, BAD, 'issued');
        assert.match((await platform.cli('domains')).stdout, new RegExp(`${LATER} +waiting +local .*DNS has no address for it`, 'u'));
        await lead(ports.dnsManagement, LATER, '127.0.0.1');
        assert.equal((await platform.cli('domains', 'check', LATER)).code, 0);
        assert.deepEqual((await becomes(platform, LATER, 'issued')).addresses, ['127.0.0.1']);
        assert.match((await platform.cli('domains', 'check', GOOD)).stdout, /nothing to do/u);
        assert.match((await platform.cli('domains', 'check', 'shop.localhost')).stderr, /no public authority can know this name/u);
        assert.match((await platform.cli('domains')).stdout, /\*\.libra-platform\.com +local +local .*--acme-dns-hook/u);
        const questions = (await platform.cli('requests', '--limit', '200')).stdout
          .split('\n')
          .filter((line) => line.includes('/.well-known/acme-challenge/'));
        assert.ok(
          questions.some((line) => line.includes(BAD) && / 200 /u.test(line)),
          questions.join('\n'),
        );
      },
      { env: platformEnv(ports) },
    );
  });

  test('where only the https port can be reached, the authority asks there and is believed', async () => {
    const ports = await portsOfAuthority();
    await withPlatform(
      async (platform) => {
        await startAuthority(ports, 1, await tlsPortOf(platform));
        const deployed = await platform.cli(
          'deploy',
          writeApp(platform, 'shop', serverApp({ text: 'secure', web: [`routes: [ { host: ${GOOD} } ]`] })),
        );
        assert.equal(deployed.code, 0, deployed.stderr);
        await becomes(platform, GOOD, 'issued');
        await until('the Edge shows it', 10_000, () => shown(platform, GOOD, ports.management));
      },
      { env: platformEnv(ports) },
    );
  });

  test('a host of a customer is ordered when its first visitor comes, if the App knows it', async () => {
    const ports = await portsOfAuthority();
    const customer = 'www.customer.com';
    await withPlatform(
      async (platform) => {
        await startAuthority(ports, platform.edgePort);
        for (const host of [customer, 'www.stranger.com']) await lead(ports.dnsManagement, host, '127.0.0.1');
        const server = `import { createServer } from 'node:http';
createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (pathname === '/ask' && searchParams.get('host') !== '${customer}') response.statusCode = 404;
  response.end('shop of ' + request.headers.host);
}).listen(Number(process.env.PORT), process.env.HOST);
`;
        const web = [`routes: [ { host: "*", onDemandCertificates: { ask: /ask } }, { host: ${GOOD} } ]`];
        const deployed = await platform.cli(
          'deploy',
          writeApp(platform, 'shop', { ...serverApp({ text: '', web }), 'server.mjs': server }),
        );
        assert.equal(deployed.code, 0, deployed.stderr);
        assert.match((await platform.cli('routes', '--all')).stdout, /certificates on demand, asking \/ask/u);
        const first = await shown(platform, customer, ports.management);
        await assert.rejects(shown(platform, 'www.stranger.com', ports.management));
        assert.match((await platform.cli('domains')).stdout, new RegExp(`${customer} +issued, on demand +acme`, 'u'));
        assert.equal(await domainOf(platform, 'www.stranger.com'), undefined);
        assert.equal((await platform.get('anything.example', '/')).body, 'shop of anything.example');

        await platform.kill();
        await platform.start();
        await until('the Edge follows control', 10_000, async () => (await platform.client().system.status({})).edges.length > 0);
        assert.equal(await shown(platform, customer, ports.management), first);
        assert.equal((await platform.cli('domains', 'check', customer)).code, 0);
      },
      { env: platformEnv(ports) },
    );
  });

  test('with a hook for DNS a wildcard is issued, and the record is taken away again', async () => {
    const ports = await portsOfAuthority();
    const hook = join(folder, 'hook.mjs');
    writeFileSync(
      hook,
      `import { appendFileSync } from 'node:fs';
const [address, verb, name, value] = process.argv.slice(2);
appendFileSync(${JSON.stringify(join(folder, 'hook.log'))}, verb + ' ' + name + '\\n');
const path = verb === 'set' ? '/set-txt' : '/clear-txt';
const reply = await fetch(address + path, { method: 'POST', body: JSON.stringify({ host: name + '.', value }) });
process.exit(reply.ok ? 0 : 1);
`,
    );
    await withPlatform(
      async (platform) => {
        // The authority cannot ask anything here.
        await startAuthority(ports, 1);
        const routes = [`routes: [ { host: "*.${GOOD}" } ]`];
        const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'secure', web: routes })));
        assert.equal(deployed.code, 0, deployed.stderr);
        await becomes(platform, `*.${GOOD}`, 'issued');
        await until('the Edge shows it', 10_000, () => shown(platform, `any.${GOOD}`, ports.management));
        assert.equal(readFileSync(join(folder, 'hook.log'), 'utf8'), `set _acme-challenge.${GOOD}\nremove _acme-challenge.${GOOD}\n`);
      },
      {
        env: {
          ...platformEnv(ports),
          LIBRA_ACME_EMAIL: 'ops@libra-platform.com',
          LIBRA_ACME_DNS_HOOK: `"${process.execPath}" "${hook}" http://127.0.0.1:${ports.dnsManagement}`,
        },
      },
    );
  });
});
