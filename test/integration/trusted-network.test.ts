// Two machines in a network that their operator trusts: Instances listen there, and the Edge on the other machine goes straight to them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeApp } from '../fixtures/app-folder.ts';
import { createNetwork } from '../fixtures/network.ts';
import type { Outcome } from '../fixtures/requests-child.ts';
import { Platform, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const EDGE_PORT = 8080;

/** Tells where it runs, and who has come to it. */
const server = `import http from 'node:http';
http
  .createServer((request, response) => response.end(process.env.LIBRA_NODE + ' ' + process.env.HOST + ' ' + request.socket.remoteAddress))
  .listen(process.env.PORT, process.env.HOST);
`;
const manifest = `app: shop
entrypoints:
  web:
    command: node server.mjs
    instances: 2
    placement: { strategy: fill, perNode: 1 }
`;

test(
  'in a trusted network Instances are reached where they listen, and only by Edges that trust it too',
  { skip: lacking('root', 'ip'), timeout: 120_000 },
  async (context) => {
    const network = createNetwork(2);
    const [one, two] = network.machines;
    assert.ok(one && two);
    const platforms: Platform[] = [];
    context.after(async () => {
      for (const platform of platforms) {
        await platform.cli('down');
        await platform.dispose();
      }
      network.stop();
    });
    const platformOn = (machine: typeof one, name: string, env: Readonly<Record<string, string>>): Platform => {
      const platform = new Platform({ enter: machine.enter, env: { LIBRA_NODE_NAME: name, LIBRA_EDGE_PORT: String(EDGE_PORT), ...env } });
      platforms.push(platform);
      return platform;
    };
    const tls = { LIBRA_API_TLS_HOST: one.address, LIBRA_API_TLS_PORT: '7401' };
    const trusted = { LIBRA_TRUSTED_NETWORK: '10.77.0.0/24' };
    const first = platformOn(one, 'one', { ...tls, ...trusted });
    const second = platformOn(two, 'two', trusted);
    const up = await first.cli('up', '--detach');
    assert.equal(up.code, 0, up.stderr);
    const invited = await first.cli('nodes', 'invite', '--json');
    assert.equal(invited.code, 0, invited.stderr);
    const { url, token } = JSON.parse(invited.stdout) as { url: string; token: string }; // printed by our own command
    const joined = await second.cli('join', url, '--token', token, '--detach');
    assert.equal(joined.code, 0, joined.stderr);
    const deployed = await first.cli('deploy', writeApp(first, 'shop', { 'server.mjs': server, 'libra.yaml': manifest }));
    assert.equal(deployed.code, 0, deployed.stderr);

    /** Answers that the Edge of the first machine gives, until there are two kinds. */
    const answers = async (): Promise<readonly string[]> => {
      const requests = fileURLToPath(new URL('../fixtures/requests-child.ts', import.meta.url));
      const client = one.run([process.execPath, requests, String(EDGE_PORT), 'shop.localhost', '2', '0']);
      assert.ok(client.stdout);
      const bodies = new Set<string>();
      createInterface(client.stdout).on('line', (line) => {
        const { status, body } = JSON.parse(line) as Outcome; // what the fixture tells
        if (status === 200) bodies.add(body);
      });
      await until('both Instances have answered', 20_000, () => bodies.size === 2);
      const ended = once(client, 'exit');
      client.kill();
      await ended;
      return [...bodies].sort();
    };
    assert.deepEqual(await answers(), [`one ${one.address} ${one.address}`, `two ${two.address} ${one.address}`]);

    // An Edge that does not trust it goes by the data port, to the same Instance.
    assert.equal((await first.cli('down', '--keep-instances')).code, 0);
    const again = await first.cli('up', '--detach', '--trusted-network', '10.99.0.0/24');
    assert.equal(again.code, 0, again.stderr);
    const [, far] = await answers();
    assert.equal(far, `two ${two.address} ${two.address}`);
  },
);

test('what every machine has for itself is no trusted network', async () => {
  const platform = new Platform({});
  try {
    for (const range of ['127.0.0.0/8', '0.0.0.0/0', '::/0']) {
      const refused = await platform.cli('up', '--detach', '--trusted-network', range);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /a loopback of its own/u);
    }
  } finally {
    await platform.dispose();
  }
});
