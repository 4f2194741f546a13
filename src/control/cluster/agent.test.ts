import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { AgentMessage, AgentReport, DesiredInstance } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { InstanceSpec, InstanceStatus, Reason } from '../../model/documents.ts';
import { create, put, remove, update } from '../../store/records.ts';
import { createGrantHandlers } from '../auth/grants.ts';
import { releaseRecords } from '../apps/records.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { Reconciler } from '../context.ts';
import type { StreamItem } from '../handler.ts';
import {
  aDeployment,
  anEntrypoint,
  anEnvironment,
  anInstance,
  aNode,
  aRelease,
  aStatus,
  callOf,
  createTestContext,
  nodePrincipal,
  owner,
  seedApp,
  aSession,
} from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createAgentReports } from './agent-report.ts';
import type { AgentReports } from './agent-report.ts';
import { createAgentSync } from './agent-sync.ts';
import { sessionRecords } from '../dev/records.ts';
import type { AgentSync } from './agent-sync.ts';
import { createGoneEnvironments } from './gone-environments.ts';
import { createNodeHealth } from './node-health.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './records.ts';

async function withContext(run: (context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext({ nodeGraceMs: 30_000 });
  try {
    await seedApp(context);
    await run(context);
  } finally {
    await context.close();
  }
}

const openValue = (id: string): Buffer => {
  if (id === 'gone') throw new Failure('not_found', { message: 'The value gone is no longer kept.' });
  return Buffer.from(`value of ${id}`);
};

function syncOf(context: TestContext, impossible: [string, Reason][] = []): AgentSync {
  return createAgentSync(context, { openValue, onImpossible: (spec, reason) => impossible.push([spec.id, reason]) });
}

/** An agent that follows by the contract: a delta must be the next in sequence. */
function connect(sync: AgentSync, context: TestContext) {
  const gone = new AbortController();
  const items = sync.sync(
    callOf<typeof table.agent.sync>({ params: {}, query: undefined, body: undefined, principal: nodePrincipal, signal: gone.signal }),
  );
  const stream: AsyncIterator<StreamItem<AgentMessage>> = items[Symbol.asyncIterator]();
  const desired = new Map<string, DesiredInstance>();
  const calls: string[] = [];
  /** Machines that it was told, each time that it was. */
  const peers: (readonly string[])[] = [];
  /** The same of laptops: their ports by session. */
  const sessions: Readonly<Record<string, number>>[] = [];
  let sequence = 0;
  let pending: Promise<IteratorResult<StreamItem<AgentMessage>>> | null = null;
  const apply = (message: AgentMessage): void => {
    switch (message.type) {
      case 'snapshot':
        desired.clear();
        for (const instance of message.instances) desired.set(instance.id, instance);
        sequence = message.sequence;
        return;
      case 'delta':
        assert.equal(message.sequence, sequence + 1);
        for (const instance of message.put) desired.set(instance.id, instance);
        for (const id of message.remove) desired.delete(id);
        sequence = message.sequence;
        return;
      case 'call':
        calls.push(message.callId);
        return;
      case 'peers':
        peers.push(message.edges);
        return;
      case 'peers-added':
        peers.push([...(peers.at(-1) ?? []), ...message.machines]);
        return;
      case 'sessions':
        sessions.push(message.ports);
        return;
      case 'ping':
    }
  };
  return {
    desired,
    peers,
    sessions,
    calls,
    /** Takes what is on its way, up to the next ping. False where the stream has ended. */
    catchUp: async (): Promise<boolean> => {
      for (;;) {
        pending ??= stream.next();
        await context.clock.advance(3100);
        const item = await pending;
        pending = null;
        if (item.done === true) return false;
        apply(item.value.data);
        if (item.value.data.type === 'ping') return true;
      }
    },
    disconnect: async (): Promise<void> => {
      gone.abort();
      await pending;
      await stream.return?.();
    },
  };
}

async function change(context: TestContext, id: string, next: Partial<InstanceSpec>): Promise<void> {
  const current = context.view.get(instanceSpecRecords, id);
  assert.ok(current);
  await context.view.commit(
    update(instanceSpecRecords, current, { ...current.document, ...next, generation: current.document.generation + 1 }),
  );
}

test('an agent gets everything that its Instance needs, values opened, and the names of those that are Secrets', () =>
  withContext(async (context) => {
    const deployment = aDeployment({
      id: 'deployment-2',
      number: 2,
      entrypoints: { web: anEntrypoint({ command: ['node', 'x.js'], port: 4000 }) },
      env: { web: { PLAIN: { kind: 'plain', value: 'p' }, TOKEN: { kind: 'value', valueId: 'v1', name: 'token', version: 1 } } },
      files: { web: [{ path: '/etc/key', mode: 0o400, valueId: 'v2', name: 'key', version: 3 }] },
    });
    await context.view.commit(
      create(deploymentRecords, deployment),
      create(instanceSpecRecords, anInstance({ deploymentId: 'deployment-2' })),
    );
    const agent = connect(syncOf(context), context);
    await agent.catchUp();
    const instance = agent.desired.get('instance-1');
    assert.ok(instance);
    assert.deepEqual(instance.env, { PLAIN: 'p', TOKEN: 'value of v1' });
    assert.deepEqual(instance.secretEnv, ['TOKEN']);
    assert.deepEqual(instance.files, [
      { path: '/etc/key', mode: 0o400, contentBase64: Buffer.from('value of v2').toString('base64'), secret: 'key' },
    ]);
    assert.deepEqual([instance.commands, instance.port, instance.timeoutMs], [[['node', 'x.js']], 4000, null]);
    assert.equal(instance.uses, undefined);
    await agent.disconnect();
  }));

test('an Instance is told what its own Release uses, whatever a later one does', () =>
  withContext(async (context) => {
    const { manifest } = aRelease();
    await context.view.commit(
      create(releaseRecords, aRelease({ id: 'release-2', number: 2, manifest: { ...manifest, uses: ['billing.invoices', 'librad.kv'] } })),
      create(releaseRecords, aRelease({ id: 'release-3', number: 3 })),
      create(instanceSpecRecords, anInstance({ releaseId: 'release-2' })),
    );
    const agent = connect(syncOf(context), context);
    await agent.catchUp();
    assert.deepEqual(agent.desired.get('instance-1')?.uses, ['billing.invoices', 'librad.kv']);
    await agent.disconnect();
  }));

test('what an Instance may do with its machine is told with it, and again when an administrator changes it', () =>
  withContext(async (context) => {
    const host = { privileged: false, network: true, devices: [], folders: [] };
    const container = { readOnly: false, capabilities: [], ulimits: {}, sysctls: {}, sharedMemoryBytes: null, host };
    const grants = createGrantHandlers(context);
    const grant = (power: string, environment?: string): ReturnType<typeof grants.create> =>
      grants.create(
        callOf({ params: { app: 'shop' }, query: undefined, body: { power, ...(environment === undefined ? {} : { environment }) } }),
      );
    await context.view.commit(
      create(deploymentRecords, aDeployment({ id: 'deployment-2', number: 2, entrypoints: { web: anEntrypoint({ container }) } })),
      create(instanceSpecRecords, anInstance({ id: 'asking', deploymentId: 'deployment-2' })),
      create(instanceSpecRecords, anInstance({ id: 'modest' })),
    );
    const agent = connect(syncOf(context), context);
    const told = async (): Promise<readonly unknown[]> => {
      await agent.catchUp();
      return ['asking', 'modest'].map((id) => agent.desired.get(id)?.granted);
    };
    assert.deepEqual(await told(), [[], undefined]);
    const { id } = await grant('network', 'production');
    await grant('privileged', 'staging');
    await grant('folder:/srv/media:ro');
    assert.deepEqual(await told(), [[{ kind: 'network' }, { kind: 'folder', path: '/srv/media', readOnly: true }], undefined]);
    await grants.delete(callOf({ params: { grant: id }, query: undefined, body: undefined }));
    assert.deepEqual(await told(), [[{ kind: 'folder', path: '/srv/media', readOnly: true }], undefined]);
    await agent.disconnect();
  }));

test('a Node is told which of its Environments are gone: not those that are being deleted, and nobody else', () =>
  withContext(async (context) => {
    const ask = createGoneEnvironments(context);
    const deleting = anEnvironment({ id: 'environment-2', name: 'staging', state: 'deleting' });
    await context.view.commit(create(environmentRecords, deleting));
    const body = { environments: ['environment-1', 'environment-2', 'environment-3'] };
    const call = callOf<typeof table.agent.gone>({ params: {}, query: undefined, body, principal: nodePrincipal });
    assert.deepEqual(await ask(call), { gone: ['environment-3'] });
    await assert.rejects(
      async () => ask({ ...call, principal: owner }),
      (error) => isFailure(error, 'forbidden'),
    );
  }));

test('a one-off brings its own command, never restarts, and has a longest run', () =>
  withContext(async (context) => {
    await context.view.commit(
      create(instanceSpecRecords, anInstance({ id: 'run', role: 'run', commands: [['node', 'once.js']] })),
      create(
        instanceSpecRecords,
        anInstance({ id: 'build', role: 'build', environmentId: null, deploymentId: null, commands: [['npm', 'ci']] }),
      ),
    );
    const agent = connect(syncOf(context), context);
    await agent.catchUp();
    const [run, build] = [agent.desired.get('run'), agent.desired.get('build')];
    assert.deepEqual([run?.commands, run?.restart, run?.listens, run?.packResult], [[['node', 'once.js']], 'never', false, false]);
    assert.ok((run?.timeoutMs ?? 0) > 0 && (build?.timeoutMs ?? 0) > 0);
    assert.deepEqual([build?.packResult, build?.environment, build?.commands], [true, null, [['npm', 'ci']]]);
    await agent.disconnect();
  }));

test('an Instance whose Secret is gone is not sent but reported; its stop is sent all the same', () =>
  withContext(async (context) => {
    const env = { web: { TOKEN: { kind: 'value' as const, valueId: 'gone', name: 'token', version: 1 } } };
    await context.view.commit(
      create(deploymentRecords, aDeployment({ id: 'deployment-2', number: 2, env })),
      create(instanceSpecRecords, anInstance({ deploymentId: 'deployment-2' })),
    );
    const impossible: [string, Reason][] = [];
    const agent = connect(syncOf(context, impossible), context);
    await agent.catchUp();
    assert.equal(agent.desired.size, 0);
    assert.deepEqual(
      impossible.map(([id, reason]) => [id, reason.code]),
      [['instance-1', 'missing_secret']],
    );
    await change(context, 'instance-1', { desired: 'stop' });
    await agent.catchUp();
    assert.equal(agent.desired.get('instance-1')?.desired, 'stop');
    await agent.disconnect();
  }));

test('a new connection of a Node ends the older one, and calls go to the new one', () =>
  withContext(async (context) => {
    const sync = syncOf(context);
    assert.equal(sync.send('node-1', { type: 'call', callId: 'early', call: { kind: 'exec', instanceId: 'x', command: ['ls'] } }), false);
    const first = connect(sync, context);
    await first.catchUp();
    const second = connect(sync, context);
    await second.catchUp();
    assert.equal(await first.catchUp(), false);
    assert.equal(sync.send('node-1', { type: 'call', callId: 'late', call: { kind: 'exec', instanceId: 'x', command: ['ls'] } }), true);
    await second.catchUp();
    assert.deepEqual([first.calls, second.calls], [[], ['late']]);
    await second.disconnect();
    assert.equal(sync.isConnected('node-1'), false);
  }));

test('an agent is told first which machines may reach its Instances, and again when that changes', () =>
  withContext(async (context) => {
    const sync = syncOf(context);
    const agent = connect(sync, context);
    await agent.catchUp();
    assert.deepEqual(agent.peers, [['node-1']]);
    await context.view.commit(create(nodeSpecRecords, aNode({ id: 'node-2', name: 'second' })));
    await agent.catchUp();
    const laptop = context.view.get(nodeSpecRecords, 'node-1');
    assert.ok(laptop);
    await context.view.commit(update(nodeSpecRecords, laptop, { ...laptop.document, labels: { place: 'attic' } }));
    await agent.catchUp();
    const second = context.view.get(nodeSpecRecords, 'node-2');
    assert.ok(second);
    await context.view.commit(remove(nodeSpecRecords, second));
    await agent.catchUp();
    assert.deepEqual(agent.peers, [['node-1'], ['node-1', 'node-2'], ['node-1']], 'only what concerns it is told');
    await agent.disconnect();
    sync.stop();
  }));

test('an agent is told which laptops are connected to its Node, and no others', () =>
  withContext(async (context) => {
    const sync = syncOf(context);
    const agent = connect(sync, context);
    await agent.catchUp();
    assert.deepEqual(agent.sessions, []);
    const attached = { edgeId: 'edge-1', nodeId: 'node-1', host: '127.0.0.1', port: 4000, sinceMs: 1 };
    await context.view.commit(
      create(sessionRecords, aSession({ id: 'here', key: 'ana', attached })),
      create(sessionRecords, aSession({ id: 'elsewhere', key: 'bob', attached: { ...attached, nodeId: 'node-2' } })),
      create(sessionRecords, aSession({ id: 'nowhere', key: 'cleo' })),
    );
    await agent.catchUp();
    const stored = context.view.get(sessionRecords, 'here');
    assert.ok(stored);
    await context.view.commit(update(sessionRecords, stored, { ...stored.document, attached: { ...attached, port: 5000 } }));
    await agent.catchUp();
    const moved = context.view.get(sessionRecords, 'here');
    assert.ok(moved);
    await context.view.commit(remove(sessionRecords, moved));
    await agent.catchUp();
    assert.deepEqual(agent.sessions, [{ here: 4000 }, { here: 5000 }, {}]);
    await agent.disconnect();
    sync.stop();
  }));

test('only an agent may follow desired state or report', () =>
  withContext(async (context) => {
    const call = callOf<typeof table.agent.sync>({ params: {}, query: undefined, body: undefined, principal: owner });
    assert.throws(
      () => syncOf(context).sync(call),
      (error) => isFailure(error, 'forbidden'),
    );
  }));

const step = fc.oneof(
  fc.record({
    kind: fc.constantFrom('add' as const, 'drain' as const, 'stop' as const, 'remove' as const, 'lose' as const),
    slot: fc.nat(5),
  }),
  fc.record({ kind: fc.constantFrom('follow' as const, 'reconnect' as const), slot: fc.constant(0) }),
);

test('whatever happens, and however often it reconnects, an agent ends with what a fresh snapshot says', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) =>
      withContext(async (context) => {
        const sync = syncOf(context);
        let agent = connect(sync, context);
        await agent.catchUp();
        for (const { kind, slot } of steps) {
          const id = `instance-${slot}`;
          const current = context.view.get(instanceSpecRecords, id);
          if (kind === 'follow') await agent.catchUp();
          else if (kind === 'reconnect') {
            await agent.disconnect();
            agent = connect(sync, context);
            await agent.catchUp();
          } else if (kind === 'add' && current === undefined)
            await context.view.commit(create(instanceSpecRecords, anInstance({ id, slot })));
          else if (current === undefined) continue;
          else if (kind === 'drain') await change(context, id, { draining: true });
          else if (kind === 'stop') await change(context, id, { desired: 'stop' });
          else if (kind === 'remove') await context.view.commit(remove(instanceSpecRecords, current));
          else await context.view.commit(put(instanceStatusRecords, aStatus({ id, phase: 'lost' })));
        }
        await agent.catchUp();
        const followed = new Map(agent.desired);
        await agent.disconnect();
        const fresh = connect(sync, context);
        await fresh.catchUp();
        assert.deepEqual(followed, fresh.desired);
        await fresh.disconnect();
        sync.stop();
      }),
    ),
    { numRuns: 30 },
  );
});

const report = (instances: readonly InstanceStatus[]): AgentReport => ({
  drivers: [{ name: 'process', artifacts: ['bundle'], limits: { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'soft' } }],
  capacity: { cpu: 2, memoryBytes: 1e9 },
  platform: { os: 'linux', arch: 'x64', program: '0.1.0' },
  bootId: 'boot-1',
  instances,
});
const send = (reports: AgentReports, body: AgentReport) =>
  reports.report(callOf<typeof table.agent.report>({ params: {}, query: undefined, body, principal: nodePrincipal }));
const phaseOf = (context: TestContext, id = 'instance-1'): string | undefined =>
  context.view.get(instanceStatusRecords, id)?.document.phase;

test('a report is written once, and not again while nothing changes', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()));
    const reports = createAgentReports(context);
    await send(reports, report([aStatus({ phase: 'starting', healthy: false }), aStatus()]));
    assert.equal(phaseOf(context), 'running');
    assert.equal(context.view.get(nodeStatusRecords, 'node-1')?.document.state, 'up');
    const { revision } = context.view;
    await context.clock.advance(5000);
    await send(reports, report([aStatus()]));
    assert.equal(context.view.revision, revision);
    await context.clock.advance(10_001);
    await send(reports, report([]));
    assert.equal(context.view.revision, revision + 1, 'a heartbeat reaches the store now and then');
  }));

test('a program that ends and comes back leaves an event with the cause', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()));
    const reports = createAgentReports(context);
    const said = (): readonly string[] =>
      context.events.filter(({ kind }) => kind.startsWith('instance.')).map(({ kind, message }) => `${kind}: ${message}`);
    await send(reports, report([aStatus()]));
    assert.deepEqual(said(), []);
    const exit = { code: 7, signal: null, atMs: 1 };
    await send(reports, report([aStatus({ phase: 'backoff', healthy: false, exit })]));
    await send(reports, report([aStatus({ phase: 'starting', healthy: false, exit, restarts: 1 })]));
    await send(reports, report([aStatus({ exit, restarts: 1 })]));
    assert.deepEqual(said(), ['instance.restarted: web.0 ended and was started again: it ended with exit code 7.']);
    await send(reports, report([aStatus({ phase: 'backoff', healthy: false, exit, restarts: 2, crashLoop: true })]));
    assert.equal(context.events.at(-1)?.kind, 'instance.crash-loop');
  }));

test('what an Instance takes is told by its own Node alone, and only while that is fresh', () =>
  withContext(async (context) => {
    const reports = createAgentReports(context);
    const usage = {
      id: 'instance-1',
      cpuSeconds: 2,
      cpu: 0.5,
      memoryBytes: 1000,
      processes: 2,
      disk: { readBytes: 1, writtenBytes: 2 },
    };
    const nodeUsage = { cpu: null, load: [1, 2, 3] as const, network: { receivedBytes: 4, sentBytes: 5 } };
    const nodeId = anInstance().nodeId;
    const [mine, foreign] = [anInstance(), anInstance({ nodeId: 'another' })];
    assert.equal(reports.usageOf(mine), null);
    await send(reports, { ...report([]), usage: [usage], nodeUsage });
    assert.deepEqual(reports.usageOf(mine), usage);
    assert.deepEqual(reports.nodeUsageOf(nodeId), nodeUsage);
    assert.equal(reports.usageOf(foreign), null);
    await context.clock.advance(15_000);
    await send(reports, report([]));
    assert.deepEqual(reports.usageOf(mine), usage, 'a report without leaves it as it is');
    await context.clock.advance(6_000);
    assert.deepEqual([reports.usageOf(mine), reports.nodeUsageOf(nodeId)], [null, null]);
    await assert.rejects(send(reports, { ...report([]), usage: [{ ...usage, memoryBytes: -1 }] }), /usage\.memoryBytes/u);
  }));

test('statuses of foreign Instances, of newer generations than asked for, and after a final phase are not taken', () =>
  withContext(async (context) => {
    await context.view.commit(
      create(instanceSpecRecords, anInstance({ generation: 2 })),
      create(instanceSpecRecords, anInstance({ id: 'foreign', nodeId: 'node-2' })),
    );
    const reports = createAgentReports(context);
    await send(reports, report([aStatus({ id: 'foreign' }), aStatus({ id: 'unknown' }), aStatus({ generation: 3 })]));
    assert.deepEqual([phaseOf(context), phaseOf(context, 'foreign'), phaseOf(context, 'unknown')], [undefined, undefined, undefined]);
    await send(reports, report([aStatus({ generation: 2 })]));
    await send(reports, report([aStatus({ generation: 1, phase: 'starting' })]));
    assert.equal(phaseOf(context), 'running');
    await send(reports, report([aStatus({ generation: 2, phase: 'failed', healthy: false })]));
    await send(reports, report([aStatus({ generation: 2 })]));
    assert.equal(phaseOf(context), 'failed');
  }));

test('a report that is none is refused, and its texts are cut to their bounds', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()));
    const reports = createAgentReports(context);
    // Deliberately not what the type says: this is what the network may bring.
    for (const body of [
      {},
      { ...report([]), instances: 'x' },
      report([{ ...aStatus(), phase: 'lost' }]),
      { ...report([]), capacity: { cpu: 'two' } },
      { ...report([]), dataPort: { host: 'a b', port: 1 } },
      { ...report([]), dataPort: { host: 'a', port: 70_000 } },
      { ...report([]), dataPort: 'a:1' },
    ]) {
      await assert.rejects(send(reports, body as AgentReport), (error) => isFailure(error, 'invalid_input'));
    }
    const reason: Reason = {
      code: 'exited',
      message: 'm'.repeat(5000),
      hint: null,
      lastLines: Array.from({ length: 50 }, () => 'l'.repeat(900)),
      instanceId: null,
    };
    await send(reports, report([aStatus({ phase: 'backoff', reason })]));
    const kept = context.view.get(instanceStatusRecords, 'instance-1')?.document.reason;
    assert.deepEqual([kept?.message.length, kept?.lastLines.length, kept?.lastLines[0]?.length], [2000, 20, 500]);
  }));

/** Lets time pass with the passes that belong to it. */
async function listenFor(context: TestContext, health: Reconciler, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 2000) {
    await context.clock.advance(Math.min(left, 2000));
    await health.run(new AbortController().signal);
  }
}

test('a silent Node goes down with what ran on it, says so once, and comes up with its next report', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()), create(instanceSpecRecords, anInstance({ id: 'done' })));
    const reports = createAgentReports(context);
    const health = createNodeHealth(context, { heartbeats: reports.heartbeats });
    await send(reports, report([aStatus(), aStatus({ id: 'done', phase: 'succeeded' })]));
    await listenFor(context, health, 28_000);
    assert.equal(phaseOf(context), 'running');
    context.clock.jump(3_600_000);
    await listenFor(context, health, 1000);
    assert.equal(phaseOf(context), 'running', 'a jump of the wall clock is no silence');
    await listenFor(context, health, 5000);
    assert.equal(context.view.get(nodeStatusRecords, 'node-1')?.document.state, 'down');
    assert.deepEqual([phaseOf(context), phaseOf(context, 'done')], ['lost', 'succeeded']);
    assert.deepEqual(
      context.events.map((event) => [event.kind, event.runbook]),
      [['node.down', 'node-down']],
    );
    await send(reports, report([aStatus()]));
    assert.equal(context.view.get(nodeStatusRecords, 'node-1')?.document.state, 'up');
    assert.equal(phaseOf(context), 'lost', 'what was given up stays given up');
  }));

test('silence counts only from the start of this control', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()));
    await send(createAgentReports(context), report([aStatus()]));
    await context.clock.advance(3_600_000);
    const health = createNodeHealth(context, { heartbeats: createAgentReports(context).heartbeats });
    await listenFor(context, health, 29_000);
    assert.equal(phaseOf(context), 'running');
    await listenFor(context, health, 3000);
    assert.equal(phaseOf(context), 'lost');
  }));

test('a control that itself stood still has heard nobody, and begins to count anew', () =>
  withContext(async (context) => {
    await context.view.commit(create(instanceSpecRecords, anInstance()));
    const reports = createAgentReports(context);
    const health = createNodeHealth(context, { heartbeats: reports.heartbeats });
    await send(reports, report([aStatus()]));
    await listenFor(context, health, 4000);
    await context.clock.advance(3_600_000);
    await health.run(new AbortController().signal);
    assert.equal(phaseOf(context), 'running');
    await listenFor(context, health, 29_000);
    assert.equal(phaseOf(context), 'running');
    await listenFor(context, health, 3000);
    assert.equal(phaseOf(context), 'lost');
  }));

test('a singleton is given up only when its cut-off agent must have stopped it', () =>
  withContext(async (context) => {
    const entrypoints = { web: anEntrypoint({ singleton: true, disconnect: { stopAfterMs: 30_000, replaceAfterMs: 90_000 } }) };
    await context.view.commit(
      create(deploymentRecords, aDeployment({ id: 'deployment-2', number: 2, entrypoints })),
      create(instanceSpecRecords, anInstance({ deploymentId: 'deployment-2' })),
    );
    const reports = createAgentReports(context);
    const health = createNodeHealth(context, { heartbeats: reports.heartbeats });
    await send(reports, report([aStatus()]));
    await listenFor(context, health, 60_000);
    assert.equal(context.view.get(nodeStatusRecords, 'node-1')?.document.state, 'down');
    assert.equal(phaseOf(context), 'running');
    await listenFor(context, health, 32_000);
    assert.equal(phaseOf(context), 'lost');
  }));
