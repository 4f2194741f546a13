import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startContainerCallers } from '../agent/container-callers.ts';
import type { Driver } from '../driver/contract.ts';
import { createFakeDriver, createFakeWorld } from '../driver/fake.ts';
import { until } from '../edge/edge-fixture.ts';
import { systemClock } from '../lib/clock.ts';
import { silentLog } from '../sys/log.ts';
import { createContainerCallers } from './container-callers.ts';
import type { ContainerCallers } from './container-callers.ts';

interface Rig {
  readonly callers: ContainerCallers;
  readonly file: string;
  readonly gateways: ReadonlySet<string>[];
  token(name: string, text: string): string;
}

function rig(context: TestContext): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'libra-callers-'));
  const file = join(folder, 'callers.json');
  const gateways: ReadonlySet<string>[] = [];
  const callers = createContainerCallers({ file, clock: systemClock, log: silentLog, onNetworks: async (now) => void gateways.push(now) });
  callers.start();
  context.after(async () => {
    await callers.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const token = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  return { callers, file, gateways, token };
}

const told = (gateway: string, tokens: Readonly<Record<string, string>>): string => JSON.stringify({ networks: [{ gateway, tokens }] });

test('an address in a network is whose the file says, and in no other network', async (context) => {
  const { callers, file, gateways, token } = rig(context);
  writeFileSync(file, told('10.0.0.1', { '10.0.0.2': token('one', 'the token\n') }));
  assert.equal(await callers.token('10.0.0.1', '10.0.0.2'), 'the token');
  assert.deepEqual(gateways.at(-1), new Set(['10.0.0.1']));
  assert.equal(await callers.token('10.0.1.1', '10.0.0.2'), null);
});

test('one that calls before anybody has said who it is waits for that, and not for ever', async (context) => {
  const { callers, file, token } = rig(context);
  const waiting = callers.token('10.0.0.1', '10.0.0.2');
  writeFileSync(file, told('10.0.0.1', { '10.0.0.2': token('one', 'late') }));
  assert.equal(await waiting, 'late');
  assert.equal(await callers.token('10.0.0.1', '10.0.0.3'), null);
});

test('what is no list of networks leaves the ones of before, and a token that is gone is nobody’s', async (context) => {
  const { callers, file, token } = rig(context);
  writeFileSync(file, told('10.0.0.1', { '10.0.0.2': token('one', 'first'), '10.0.0.3': join(file, 'nothing') }));
  assert.equal(await callers.token('10.0.0.1', '10.0.0.2'), 'first');
  assert.equal(await callers.token('10.0.0.1', '10.0.0.3'), null);
  writeFileSync(file, '{');
  assert.equal(await callers.token('10.0.0.1', '10.0.0.2'), 'first');
  assert.equal(await callers.token('10.0.0.1', '10.0.0.9'), null);
});

test('an agent says it whenever a container comes or goes', async (context) => {
  const { callers, file, gateways, token } = rig(context);
  const path = token('one', 'mine');
  const keys: Record<string, string> = {};
  const driver: Driver = {
    ...createFakeDriver({ world: createFakeWorld(), clock: systemClock }),
    containerNetworks: async () => [{ gateway: '10.0.0.1', keys: { ...keys } }],
  };
  const tokenFile = (id: string): string | null => (id === 'i-1' ? path : null);
  const agent = startContainerCallers({ drivers: [driver], file, tokenFile, clock: systemClock, log: silentLog });
  assert.ok(agent !== null);
  context.after(() => agent.stop());
  await until('the network is known', () => gateways.length > 0);
  Object.assign(keys, { '10.0.0.2': 'i-1.3', '10.0.0.3': 'unknown.1' });
  agent.look();
  assert.equal(await callers.token('10.0.0.1', '10.0.0.2'), 'mine');
  assert.equal(await callers.token('10.0.0.1', '10.0.0.3'), null);
  assert.equal(startContainerCallers({ drivers: [], file, tokenFile, clock: systemClock, log: silentLog }), null);
});
