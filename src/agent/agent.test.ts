// The agent whole, on a fake driver: what control sees of Instances through everything that happens to agent, control and programs.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { CALL_FRAME, NODE_AS_WHOLE } from '../api/agent.ts';
import type { UsageHistory } from '../api/agent.ts';
import type { FakeBehaviour } from '../driver/fake.ts';
import { createBench } from './testing-agent.ts';
import type { Bench } from './testing-agent.ts';
import { desiredInstance, desiredOneOff } from './testing.ts';

async function bench(context: TestContext, behaviour: FakeBehaviour | ((key: string) => FakeBehaviour)): Promise<Bench> {
  const made = await createBench((spec) => (typeof behaviour === 'function' ? behaviour(spec.key) : behaviour));
  context.after(() => made.close());
  return made;
}

const service = desiredInstance({});

test('a service is started, found healthy and told to control with its address', async (context) => {
  const { control, driver, until } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it is healthy', () => control.told.get(service.id)?.healthy === true);
  const status = control.told.get(service.id);
  assert.equal(status?.phase, 'running');
  const run = driver().world.runs.get('instance-1.1');
  assert.equal(status?.address?.port, run?.spec.port);
  assert.deepEqual(run?.spec.argv, ['serve', '--port', String(run?.spec.port)]);
  assert.equal(run?.spec.env['LIBRA_APP'], 'shop');
  assert.equal(run?.spec.env['LIBRA_NODE'], 'node-1');
  assert.equal(run?.spec.env['HOST'], '127.0.0.1');
});

test('a service that crashes is started again, also while control is away, and its crash loop is visible', async (context) => {
  const { control, driver, until, status } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it is healthy', () => status()?.healthy === true);
  control.reachable = false;
  control.hangUp();
  for (const attempt of [1, 2, 3]) {
    driver().print(`instance-1.${attempt}`, `Error: attempt ${attempt}`);
    driver().crash(`instance-1.${attempt}`, { code: 3 });
    await until('it backs off', () => status()?.phase === 'backoff');
    assert.equal(status()?.exit?.code, 3);
    assert.equal(status()?.reason?.code, 'exited');
    await until('it is healthy again', () => status()?.healthy === true);
  }
  assert.equal(status()?.crashLoop, true);
  assert.equal(status()?.restarts, 3);
  control.reachable = true;
  await until('control hears of it', () => control.told.get(service.id)?.restarts === 3);
});

test('a restarted agent finds its programs again: nothing is started twice and health is not lost', async (context) => {
  const { control, driver, until, status, restart } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it is healthy', () => status()?.healthy === true);
  await restart({ stopInstances: false });
  assert.equal(status()?.healthy, true);
  assert.equal(status()?.phase, 'running');
  await until('the first snapshot was acted upon', () => control.connections === 2);
  driver().crash('instance-1.1');
  await until('it runs again', () => driver().world.started.length === 2);
  assert.deepEqual(driver().world.started, ['instance-1.1', 'instance-1.2']);
});

test('no secret and no variable is written to the data folder', async (context) => {
  const made = await bench(context, { listens: true });
  const file = { path: '/etc/key', mode: 0o400, contentBase64: Buffer.from('file-secret-1').toString('base64'), secret: 'tls-key' };
  made.control.snapshot(desiredInstance({ env: { TOKEN: 'env-secret-1' }, files: [file] }));
  await made.until('it is healthy', () => made.status()?.healthy === true);
  const run = made.driver().world.runs.get('instance-1.1')?.spec;
  const path = run?.env['LIBRA_FILE_TLS_KEY'] ?? '';
  assert.equal(await readFile(path, 'utf8'), 'file-secret-1');
  assert.equal(await readFile(join(run?.workFolder ?? '', 'etc/key'), 'utf8'), 'file-secret-1');
  if (made.status()?.notEnforced.length === 0) {
    for (const entry of await readdir(made.folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.name.endsWith('.new')) continue;
      const text = await readFile(join(entry.parentPath, entry.name), 'utf8');
      assert.ok(!text.includes('secret-1'), `${entry.name} holds a secret`);
    }
  }
  made.control.snapshot();
  await made.until('it is gone', () => made.status() === undefined);
  assert.equal(existsSync(path), false);
});

test('secret values are masked in the last lines that are told', async (context) => {
  const { control, until, status } = await bench(context, {
    lines: ['using hunter22 of plainvalue'],
    exitAfterMs: 100,
    exitCode: 1,
  });
  control.snapshot(desiredInstance({ env: { PASSWORD: 'hunter22', MODE: 'plainvalue' }, secretEnv: ['PASSWORD'] }));
  await until('it backs off', () => status()?.phase === 'backoff');
  assert.deepEqual(status()?.reason?.lastLines, ['using *** of plainvalue']);
});

test('what is in no snapshot is stopped and forgotten with its folder; programs that nobody knows are swept', async (context) => {
  const { control, driver, until, status, restart, folder } = await bench(context, { listens: true });
  control.snapshot(service, desiredInstance({ id: 'instance-2' }));
  await until('both run', () => status()?.healthy === true && status('instance-2')?.healthy === true);
  const world = driver().world;
  const orphan = world.runs.get('instance-2.1');
  assert.ok(orphan !== undefined);
  await restart({
    stopInstances: false,
    between: () => {
      world.runs.set('stranger.1', { ...orphan, spec: { ...orphan.spec, key: 'stranger.1' } });
      control.snapshot(service);
    },
  });
  await until('only one is left', () => world.runs.size === 1 && status('instance-2') === undefined);
  assert.ok(world.runs.has('instance-1.1'));
  await until('its folder is gone', () => !existsSync(join(folder, 'instances/instance-2')));
});

test('a gap in the deltas leads to a new snapshot', async (context) => {
  const { control, until, status } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  control.delta([desiredInstance({ id: 'instance-2' })], [], 1);
  await until('the second one runs', () => status('instance-2')?.healthy === true);
  assert.equal(control.connections, 2);
});

test('an older generation is refused', async (context) => {
  const { control, until, status, pass } = await bench(context, { listens: true });
  control.snapshot(desiredInstance({ generation: 5 }));
  await until('it runs', () => status()?.healthy === true);
  control.delta([desiredInstance({ generation: 4, desired: 'stop' })]);
  await pass(500);
  assert.equal(status()?.phase, 'running');
  assert.equal(status()?.generation, 5);
});

test('commands of a one-off run in order; its end is final and is told', async (context) => {
  const { control, driver, until } = await bench(context, { exitAfterMs: 100 });
  control.snapshot(desiredOneOff({ commands: [['one'], ['two']] }));
  await until('it succeeded', () => control.told.get(service.id)?.phase === 'succeeded');
  assert.deepEqual(driver().world.started, ['instance-1.1', 'instance-1.2']);
});

test('a one-off that fails is not tried again, and tells its exit code', async (context) => {
  const { control, driver, until, pass } = await bench(context, { exitAfterMs: 100, exitCode: 4 });
  control.snapshot(desiredOneOff({ commands: [['one'], ['two']] }));
  await until('it failed', () => control.told.get(service.id)?.phase === 'failed');
  await pass(5000);
  assert.equal(control.told.get(service.id)?.exit?.code, 4);
  assert.deepEqual(driver().world.started, ['instance-1.1']);
});

test('a one-off that ended while there was no agent and no record is unknown and never run again', async (context) => {
  const { control, driver, until, restart, pass } = await bench(context, {});
  control.snapshot(desiredOneOff({}));
  await until('it runs', () => control.told.get(service.id)?.phase === 'running');
  const world = driver().world;
  await restart({ stopInstances: false, between: () => void world.runs.delete('instance-1.1') });
  await until('it is unknown', () => control.told.get(service.id)?.phase === 'unknown');
  await pass(5000);
  assert.deepEqual(world.started, ['instance-1.1']);
});

test('a one-off that takes longer than its deadline is stopped and says so', async (context) => {
  const { control, until } = await bench(context, {});
  control.snapshot(desiredOneOff({ timeoutMs: 30_000 }));
  await until('it failed', () => control.told.get(service.id)?.phase === 'failed');
  assert.equal(control.told.get(service.id)?.reason?.code, 'deadline');
});

test('a stop of the platform ends programs without a failure, and the next start brings them back', async (context) => {
  const { control, driver, until, status, restart } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  const world = driver().world;
  await restart({ stopInstances: true, between: () => assert.equal(world.runs.size, 0) });
  await until('it runs again', () => status()?.healthy === true);
  assert.deepEqual(world.started, ['instance-1.1', 'instance-1.2']);
  assert.equal(status()?.restarts, 0);
  assert.equal(status()?.crashLoop, false);
});

test('a jump of the wall clock starts, stops and changes nothing', async (context) => {
  const { clock, control, driver, until, status, pass } = await bench(context, { listens: true });
  control.snapshot(desiredInstance({ singleton: true }), desiredOneOff({ id: 'job' }));
  await until('both run', () => status()?.healthy === true && status('job')?.phase === 'running');
  for (const jump of [1e11, -2e11]) {
    clock.jump(jump);
    await pass(3000);
    assert.equal(status()?.healthy, true);
    assert.equal(status('job')?.phase, 'running');
  }
  assert.equal(driver().world.started.length, 2);
  assert.equal(control.connections, 1);
});

test('a singleton that is cut off from control stops itself, and comes back with control', async (context) => {
  const { control, driver, until, status } = await bench(context, { listens: true });
  control.snapshot(desiredInstance({ singleton: true }), desiredInstance({ id: 'instance-2' }));
  await until('both run', () => status()?.healthy === true && status('instance-2')?.healthy === true);
  control.reachable = false;
  control.hangUp();
  await until('it has stopped itself', () => status()?.phase === 'pending');
  assert.equal(status('instance-2')?.healthy, true);
  control.reachable = true;
  await until('it runs again', () => status()?.healthy === true);
  assert.ok(driver().world.started.includes('instance-1.2'));
});

test('a variable that nobody set is refused before anything starts, by name', async (context) => {
  const { control, driver, until } = await bench(context, {});
  control.snapshot(desiredInstance({ commands: [['serve', '${DATABASE_URL}']] }));
  await until('it failed', () => control.told.get(service.id)?.phase === 'failed');
  const reason = control.told.get(service.id)?.reason;
  assert.equal(reason?.code, 'missing_variable');
  assert.match(reason?.message ?? '', /DATABASE_URL/u);
  assert.deepEqual(driver().world.started, []);
});

test('a command that does not exist is told as such, and tried again with a growing pause', async (context) => {
  const { control, until, status } = await bench(context, {
    failToStart: { reason: 'command_not_found', message: 'no such command: sreve' },
  });
  control.snapshot(service);
  await until('it is a crash loop', () => status()?.crashLoop === true);
  assert.equal(status()?.reason?.code, 'command_not_found');
  assert.match(status()?.reason?.message ?? '', /sreve/u);
});

test('a service that never listens tells the cause while it starts', async (context) => {
  const { control, until, status } = await bench(context, {
    diagnosis: { code: 'wrong_port', message: 'It listens on 3000.', hint: 'Use $PORT.' },
  });
  control.snapshot(service);
  await until('a reason is told', () => status()?.reason !== null && status()?.phase === 'starting');
  assert.equal(status()?.reason?.code, 'wrong_port');
  assert.equal(status()?.healthy, false);
});

test('a fixed port that another Instance has is a reason that names it, and is taken when it is free', async (context) => {
  const { control, until, status } = await bench(context, { listens: true });
  control.snapshot(desiredInstance({ port: 27_231 }));
  await until('the first one runs', () => status()?.healthy === true);
  const second = desiredInstance({ id: 'instance-2', port: 27_231 });
  control.delta([second]);
  await until('the second one says why not', () => status('instance-2')?.reason?.code === 'port_taken');
  assert.match(status('instance-2')?.reason?.message ?? '', /27231.*shop\/web/u);
  control.delta([desiredInstance({ port: 27_231, generation: 2, desired: 'stop' })]);
  await until('the second one runs', () => status('instance-2')?.healthy === true);
});

test('the output of an Instance is sent as frames on the socket of the call', async (context) => {
  const { control, until, status } = await bench(context, { listens: true, lines: ['one', '! two'] });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  control.call({ type: 'call', callId: 'c1', call: { kind: 'logs', instanceId: service.id, tail: 10, after: null, follow: false } });
  await until('the call is closed', () => control.closed.has('c1'));
  const frames = control.frames.get('c1') ?? [];
  assert.deepEqual(
    frames.map((frame) => [frame[0], JSON.parse(Buffer.from(frame.subarray(1)).toString()).text]),
    [
      [CALL_FRAME.json, 'one'],
      [CALL_FRAME.json, 'two'],
    ],
  );
  control.call({ type: 'call', callId: 'c2', call: { kind: 'exec', instanceId: 'nobody', command: ['ls'] } });
  await until('the second call is closed', () => control.closed.has('c2'));
  assert.equal(control.frames.get('c2')?.[0]?.[0], CALL_FRAME.failure);
});

test('what an Instance and the machine took is told when it is asked for, also of before a restart', async (context) => {
  let cpuSeconds = 0;
  const { clock, control, until, pass, restart, status } = await bench(context, {
    listens: true,
    // One second of a core at each measurement.
    usage: () => ({ cpuSeconds: (cpuSeconds += 1), memoryBytes: 1000, disk: { readBytes: 0, writtenBytes: 5000 * cpuSeconds } }),
  });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  const beganMs = clock.now();
  await pass(40_000);
  await restart({ stopInstances: false });
  await pass(15_000);
  const call = { kind: 'stats', ids: [service.id, NODE_AS_WHOLE], sinceMs: beganMs, untilMs: clock.now() } as const;
  control.call({ type: 'call', callId: 'c1', call });
  await until('the call is closed', () => control.closed.has('c1'));
  const answers = (control.frames.get('c1') ?? []).map((frame) => JSON.parse(Buffer.from(frame.subarray(1)).toString()) as UsageHistory);
  assert.deepEqual(
    answers.map(({ id, stepMs }) => [id, stepMs]),
    [
      [service.id, 10_000],
      [NODE_AS_WHOLE, 10_000],
    ],
  );
  const points = answers[0]?.points ?? [];
  assert.ok(points.length >= 4, JSON.stringify(points));
  // The fake clock goes on in steps while it measures.
  const [, cpu, memoryBytes, received, sent, read, written] = points[1] ?? [];
  assert.ok(typeof cpu === 'number' && Math.abs(cpu - 0.2) < 0.02 && typeof written === 'number' && Math.abs(written - 1000) < 100);
  assert.deepEqual([memoryBytes, received, sent, read], [1000, null, null, 0]);
  assert.ok(answers[1]?.points.some(([, , memoryBytes]) => typeof memoryBytes === 'number' && memoryBytes > 0));
});

test('a one-off whose state file is damaged is unknown, not run again; a service starts anew', async (context) => {
  const { control, driver, until, restart, folder } = await bench(context, (key) =>
    key.startsWith('job') ? { exitAfterMs: 100 } : { listens: true },
  );
  control.snapshot(service, desiredOneOff({ id: 'job' }));
  await until('both are there', () => control.told.get('job')?.phase === 'succeeded' && control.told.get(service.id)?.healthy === true);
  await restart({
    stopInstances: true,
    between: () => {
      for (const id of ['job', service.id]) writeFileSync(join(folder, 'instances', id, 'state.json'), '{"schema":1,"sta');
    },
  });
  await until('the service runs', () => control.told.get(service.id)?.healthy === true && control.connections === 2);
  await until('the one-off is unknown', () => control.told.get('job')?.phase === 'unknown');
  assert.equal(driver().world.started.filter((key) => key.startsWith('job')).length, 1);
});

test('an Instance that is wanted again while it is being forgotten comes back', async (context) => {
  const { control, until, status } = await bench(context, { listens: true });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  control.delta([], [service.id]);
  await until('it stops', () => status()?.phase !== 'running');
  control.delta([service]);
  await until('it runs again', () => status()?.healthy === true);
});

test('a driver that hangs at the start does not start twice, and what it started is found', async (context) => {
  const { control, driver, until, status } = await bench(context, { listens: true, startDelayMs: 90_000 });
  control.snapshot(service);
  await until('it runs', () => status()?.healthy === true);
  assert.deepEqual(driver().world.started, ['instance-1.1']);
});

test('an Instance that was stopped while its start was unclear leaves nothing behind', async (context) => {
  const { control, driver, until, status, pass } = await bench(context, { listens: true, startDelayMs: 90_000 });
  control.snapshot(service);
  await until('the start is unclear', () => status()?.reason?.code === 'driver_error');
  control.delta([desiredInstance({ generation: 2, desired: 'stop' })]);
  await until('it is stopped', () => status()?.phase === 'stopped');
  await pass(40_000);
  await until('nothing runs', () => driver().world.runs.size === 0);
});
