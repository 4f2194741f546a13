// An agent on a fake driver, a fake clock and a link in memory, for the tests of this folder. Files and sockets are real, so waiting
// moves the fake clock on in small steps while real input and output goes its way.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as realSleep } from 'node:timers/promises';
import type { AgentMessage, AgentReport, DesiredInstance } from '../api/agent.ts';
import { createFakeDriver, createFakeWorld } from '../driver/fake.ts';
import type { FakeDriver, FakeScript } from '../driver/fake.ts';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import type { Clock, FakeClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import type { InstanceStatus } from '../model/documents.ts';
import { silentLog } from '../sys/log.ts';
import { createAgent } from './agent.ts';
import type { Agent, AgentOptions } from './agent.ts';
import type { AgentLink, CallSocket } from './link.ts';

const STEP_MS = 50;
const WAIT_STEPS = 1000;
/** After so many steps, something that takes long is waited for: steps get longer. */
const SHORT_STEPS = 100;
const LONG_STEP_MS = 500;
/** Longest that time stands still for input and output, and that a condition is waited for at least; real milliseconds. */
const IO_MS = 5_000;
const WAIT_MS = 20_000;
/** As often as the real control says that it is there. */
const PING_MS = 3_000;

/** Control as the agent sees it. */
export interface FakeControl extends AgentLink {
  /** false: every call fails. */
  reachable: boolean;
  snapshot(...instances: readonly DesiredInstance[]): void;
  delta(put: readonly DesiredInstance[], remove?: readonly string[], skip?: number): void;
  peers(edges: readonly string[]): void;
  call(message: Extract<AgentMessage, { type: 'call' }>): void;
  /** Breaks the stream. */
  hangUp(): void;
  connections: number;
  readonly reports: AgentReport[];
  /** Newest reported status by Instance. */
  readonly told: Map<string, InstanceStatus>;
  readonly blobs: Map<string, Buffer>;
  /** Environments that are gone. */
  readonly gone: Set<string>;
  /** Frames that the agent sent, by call. */
  readonly frames: Map<string, Uint8Array[]>;
  /** Frames for the agent, by call. */
  readonly input: Map<string, Uint8Array[]>;
  readonly closed: Set<string>;
}

export function createFakeControl(clock: Clock): FakeControl {
  let wanted: readonly DesiredInstance[] = [];
  let sequence = 0;
  let queue: AgentMessage[] = [];
  let wake = (): void => undefined;
  let broken = false;
  const push = (message: AgentMessage): void => {
    queue.push(message);
    wake();
  };
  const reach = (): void => {
    if (!control.reachable) throw new Failure('unreachable', { message: 'control is away' });
  };
  const control: FakeControl = {
    reachable: true,
    connections: 0,
    reports: [],
    told: new Map(),
    blobs: new Map(),
    gone: new Set(),
    frames: new Map(),
    input: new Map(),
    closed: new Set(),
    snapshot: (...instances) => {
      wanted = instances;
      sequence += 1;
      push({ type: 'snapshot', sequence, instances });
    },
    delta: (put, remove = [], skip = 0) => {
      const ids = new Set([...put.map((instance) => instance.id), ...remove]);
      wanted = [...wanted.filter((instance) => !ids.has(instance.id)), ...put];
      sequence += 1 + skip;
      push({ type: 'delta', sequence, put, remove });
    },
    peers: (edges) => push({ type: 'peers', edges }),
    call: push,
    hangUp: () => {
      broken = true;
      wake();
    },
    async *sync(signal) {
      reach();
      control.connections += 1;
      broken = false;
      queue = [{ type: 'snapshot', sequence, instances: wanted }];
      const onAbort = (): void => wake();
      signal.addEventListener('abort', onAbort);
      let cancelPing = (): void => undefined;
      const ping = (): void => {
        cancelPing = clock.timer(PING_MS, ping);
        push({ type: 'ping' });
      };
      cancelPing = clock.timer(PING_MS, ping);
      try {
        for (;;) {
          if (signal.aborted) return;
          if (broken) throw new Failure('unreachable', { message: 'the connection broke' });
          const next = queue.shift();
          if (next !== undefined) yield next;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        cancelPing();
        signal.removeEventListener('abort', onAbort);
      }
    },
    report: async (report) => {
      reach();
      control.reports.push(report);
      for (const status of report.instances) control.told.set(status.id, status);
    },
    goneEnvironments: async (ids) => {
      reach();
      return ids.filter((id) => control.gone.has(id));
    },
    fetchBlob: async (digest, startByte) => {
      reach();
      const blob = control.blobs.get(digest);
      if (blob === undefined) throw new Failure('not_found', { message: `no blob ${digest}` });
      return Readable.from([blob.subarray(startByte)]);
    },
    uploadBlob: async (digest, open) => {
      reach();
      const chunks: Buffer[] = [];
      for await (const chunk of open(0)) chunks.push(Buffer.from(chunk));
      control.blobs.set(digest, Buffer.concat(chunks));
    },
    openCall: async (callId, signal) => socketOf(control, callId, signal),
  };
  return control;
}

function socketOf(control: FakeControl, callId: string, signal: AbortSignal): CallSocket {
  const sent: Uint8Array[] = [];
  control.frames.set(callId, sent);
  return {
    send: async (frame) => void sent.push(frame),
    frames: (async function* frames(): AsyncGenerator<Uint8Array> {
      while (!control.closed.has(callId) && !signal.aborted) {
        const next = control.input.get(callId)?.shift();
        if (next !== undefined) yield next;
        else await realSleep(1);
      }
    })(),
    close: async () => void control.closed.add(callId),
  };
}

/** On a loaded machine a file may take as long as a minute of the fake clock else. */
const isIoUnderway = (): boolean =>
  process.getActiveResourcesInfo().some((kind) => kind.startsWith('FSReq') || kind === 'TCPConnectWrap' || kind === 'ConnectWrap');

export interface Bench {
  readonly clock: FakeClock;
  readonly control: FakeControl;
  readonly folder: string;
  readonly driver: () => FakeDriver;
  readonly agent: () => Agent;
  /** The newest status that the agent itself would tell. */
  status(id?: string): InstanceStatus | undefined;
  /** Moves time on until the condition holds; throws after some minutes of fake time. */
  until(what: string, condition: () => boolean): Promise<void>;
  /** Moves time on by so much, and lets input and output happen meanwhile. */
  pass(ms: number): Promise<void>;
  /** Ends the agent and begins another one on the same folder. `between` runs while there is none. */
  restart(options: { readonly stopInstances: boolean; readonly between?: () => void }): Promise<void>;
  close(): Promise<void>;
}

export async function createBench(
  script: FakeScript,
  options: Pick<AgentOptions, 'dataPort' | 'identity' | 'apiProxy'> = {},
): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-agent-'));
  const clock = createFakeClock();
  const control = createFakeControl(clock);
  const world = createFakeWorld();
  const begin = (): { readonly driver: FakeDriver; readonly agent: Agent } => {
    const driver = createFakeDriver({ clock, script, world });
    const agent = createAgent({
      link: control,
      drivers: { fake: driver },
      dataFolder: folder,
      clock,
      random: createSeededRandom(1),
      log: silentLog,
      nodeName: 'node-1',
      program: '0.0.0',
      builtinPrograms: { static: ['node', 'static-server.ts'] },
      ...options,
    });
    return { driver, agent };
  };
  let current = begin();
  const step = async (ms: number): Promise<void> => {
    await clock.advance(ms);
    await realSleep(1);
    for (const endMs = systemClock.monotonic() + IO_MS; isIoUnderway() && systemClock.monotonic() < endMs;) await realSleep(1);
  };
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += STEP_MS) await step(Math.min(STEP_MS, ms - passed));
  };
  /** Something that ends needs time to pass on both clocks. */
  const drive = async (work: Promise<unknown>): Promise<void> => {
    const progress = { over: false };
    const done = work.finally(() => {
      progress.over = true;
    });
    while (!progress.over) await pass(STEP_MS);
    await done;
  };
  await current.agent.start();
  return {
    clock,
    control,
    folder,
    driver: () => current.driver,
    agent: () => current.agent,
    status: (id = 'instance-1') => current.agent.statuses().find((each) => each.id === id),
    until: async (what, condition) => {
      const endMs = systemClock.monotonic() + WAIT_MS;
      for (let index = 0; index < WAIT_STEPS || systemClock.monotonic() < endMs; index += 1) {
        if (condition()) return;
        await step(index < SHORT_STEPS ? STEP_MS : LONG_STEP_MS);
      }
      throw new Error(`waited in vain until ${what}; it is ${JSON.stringify(current.agent.statuses())}`);
    },
    pass,
    restart: async ({ stopInstances, between }) => {
      await drive(current.agent.stop({ stopInstances }));
      await current.driver.close();
      between?.();
      current = begin();
      await drive(current.agent.start());
    },
    close: async () => {
      await drive(current.agent.stop({ stopInstances: true }));
      await current.driver.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
