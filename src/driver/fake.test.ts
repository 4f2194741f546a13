import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { testDriverContract } from './contract-suite.ts';
import type { Behaviour } from './contract-suite.ts';
import type { RunSpec } from './contract.ts';
import { createFakeDriver } from './fake.ts';
import type { FakeScript } from './fake.ts';

function fakeSpec(key: string): RunSpec {
  return {
    key,
    instanceId: key.split('.')[0] ?? key,
    appId: 'app',
    artifact: { kind: 'bundle', digest: 'none', sizeBytes: 0 },
    argv: ['program'],
    env: {},
    workFolder: '/nowhere',
    logFolder: `/nowhere/${key}`,
    logBytes: 0,
    port: null,
    resources: { cpu: { request: 1, limit: 1, bind: false }, memory: { requestBytes: 1, limitBytes: 1 }, diskBytes: 1 },
    cores: null,
    service: true,
  };
}

testDriverContract('fake', async () => {
  const behaviours = new Map<string, Behaviour>();
  const script: FakeScript = (spec) => {
    const behaviour = behaviours.get(spec.key) ?? {};
    return behaviour.missingCommand === true
      ? { failToStart: { reason: 'command_not_found', message: 'The command “nope” was not found.' } }
      : behaviour;
  };
  const driver = createFakeDriver({ clock: systemClock, script });
  return {
    driver,
    spec: async (key, behaviour) => {
      behaviours.set(key, behaviour);
      return fakeSpec(key);
    },
    restart: async () => createFakeDriver({ clock: systemClock, script, world: driver.world }),
    close: () => driver.close(),
  };
});

test('with a fake clock the script runs in its time', async () => {
  const clock = createFakeClock();
  const driver = createFakeDriver({ clock, script: () => ({ startDelayMs: 1000, exitAfterMs: 5000, outOfMemory: true }) });
  const starting = driver.ensure(fakeSpec('slow.1'));
  await clock.advance(999);
  assert.deepEqual(driver.world.started, []);
  await clock.advance(1);
  const handle = await starting;
  assert.deepEqual(driver.world.started, ['slow.1']);
  await clock.advance(5000);
  assert.deepEqual(await driver.inspect(handle), {
    state: 'exited',
    code: null,
    signal: 'SIGKILL',
    outOfMemory: true,
    atMs: clock.now(),
  });
  await driver.close();
});

test('a crash and a loss are told to whoever waits', async () => {
  const driver = createFakeDriver({ clock: createFakeClock() });
  const [crashing, losing] = await Promise.all([driver.ensure(fakeSpec('crash.1')), driver.ensure(fakeSpec('lose.1'))]);
  const never = new AbortController().signal;
  const ends = Promise.all([driver.wait(crashing, never), driver.wait(losing, never)]);
  driver.crash('crash.1', { code: 9 });
  driver.lose('lose.1');
  const [crashed, lost] = await ends;
  assert.ok(crashed.state === 'exited' && crashed.code === 9);
  assert.equal(lost.state, 'unknown');
  await driver.close();
});

test('a listening fake answers HTTP with the scripted status and is gone after its end', async () => {
  let status = 503;
  const driver = createFakeDriver({ clock: systemClock, script: () => ({ listens: true, status: () => status }) });
  const net = await import('node:net');
  const probe = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const address = probe.address();
  assert.ok(typeof address === 'object' && address !== null);
  const { port } = address;
  await new Promise((resolve) => probe.close(resolve));
  const handle = await driver.ensure({ ...fakeSpec('web.1'), port });
  const ask = async (): Promise<number> => (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).status;
  assert.equal(await ask(), 503);
  status = 200;
  assert.equal(await ask(), 200);
  await driver.stop(handle, { signal: 'SIGTERM', timeoutMs: 0 });
  await assert.rejects(ask());
  await driver.close();
});
