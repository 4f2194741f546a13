// Agents of many Nodes in one process: each follows the desired state of its Node over the agents' own contract and reports what shall run
// as running and healthy, at once. They start nothing, so that what is measured is control. Prints, twice a second, how many Instances all
// of them have been given and have told to be healthy.

import { readFileSync } from 'node:fs';
import { agent } from '../../src/api/agent.ts';
import type { AgentReport, DesiredInstance } from '../../src/api/agent.ts';
import { createClient } from '../../src/api/client.ts';
import type { InstanceStatus } from '../../src/model/documents.ts';
import type { Seeded } from './control-child.ts';

const HEARTBEAT_MS = 5_000;
const TELL_MS = 500;
const BATCH = 200;

const { url, tokens } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Seeded; // written by the bench
let given = 0;
let told = 0;

function statusOf(instance: DesiredInstance, nowMs: number): InstanceStatus {
  const runs = instance.desired === 'run';
  return {
    id: instance.id,
    nodeId: '',
    generation: instance.generation,
    phase: runs ? 'running' : 'stopped',
    healthy: runs,
    address: null,
    pid: runs ? 1 : null,
    restarts: 0,
    crashLoop: false,
    exit: null,
    reason: null,
    notEnforced: [],
    startedAtMs: nowMs,
    healthySinceMs: runs ? nowMs : null,
    output: null,
    updatedAtMs: nowMs,
  };
}

async function runAgent(token: string, index: number): Promise<never> {
  const client = createClient({ agent }, { url, token });
  const facts: Omit<AgentReport, 'instances'> = {
    drivers: [
      { name: 'process', artifacts: ['bundle'], limits: { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'enforced' } },
    ],
    capacity: { cpu: 64, memoryBytes: 256 * 1024 ** 3 },
    platform: { os: 'linux', arch: 'x64', program: '0.0.0' },
    bootId: `boot-${index}`,
  };
  const pending = new Map<string, InstanceStatus>();
  let wake = (): void => undefined;
  const take = (instances: readonly DesiredInstance[]): void => {
    const nowMs = Date.now();
    for (const instance of instances) {
      if (instance.desired === 'run') given += 1;
      pending.set(instance.id, statusOf(instance, nowMs));
    }
    wake();
  };
  const report = async (): Promise<never> => {
    // Heartbeats of many do not come all at once.
    await new Promise((resolve) => setTimeout(resolve, (index % 100) * (HEARTBEAT_MS / 100)));
    for (;;) {
      const batch = [...pending.values()].slice(0, BATCH);
      for (const { id } of batch) pending.delete(id);
      try {
        await client.agent.report({ body: { ...facts, instances: batch } });
        told += batch.filter(({ healthy }) => healthy).length;
      } catch (error) {
        for (const status of batch) pending.set(status.id, status);
        process.stderr.write(`a report failed: ${String(error)}\n`);
      }
      if (pending.size > 0) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, HEARTBEAT_MS);
        wake = () => {
          clearTimeout(timer);
          // Agents coalesce too.
          setTimeout(resolve, 50);
        };
      });
    }
  };
  const follow = async (): Promise<never> => {
    for (;;) {
      try {
        for await (const message of client.agent.sync({ giveUpAfterMs: 0 })) {
          if (message.type === 'snapshot') take(message.instances);
          if (message.type === 'delta') take(message.put);
        }
      } catch (error) {
        process.stderr.write(`a stream broke: ${String(error)}\n`);
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  };
  await Promise.all([report(), follow()]);
  throw new Error('an agent ended');
}

setInterval(() => process.stdout.write(`${JSON.stringify({ atMs: Date.now(), given, told })}\n`), TELL_MS);
await Promise.all(tokens.map(runAgent));
