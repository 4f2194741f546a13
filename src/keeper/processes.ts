// The programs that this keeper knows, by key. A key runs at most one program at a time, and every end is on disk before it is told.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { startWithin } from '../sys/cgroup-join.ts';
import { isSteering, startAs } from '../sys/drop-rights.ts';
import type { KeeperEvent, ProcessRecord, SpawnRequest } from '../sys/keeper-protocol.ts';
import type { Log } from '../sys/log.ts';
import { isIdentityAlive, listPids, readEnviron, readIdentity, readProcessStat } from '../sys/process-identity.ts';
import { createLogFolders } from './log-folders.ts';
import { makeFifos, openForProgram, startPump } from './pump.ts';
import type { Pump } from './pump.ts';
import { loadRecord, saveRecord, saveRecordDurably } from './record-file.ts';

const MAX_PROGRAMS = 8192;
/** How often a program that is not our child is looked at. */
const ATTACHED_POLL_MS = 200;
/** Longest wait after an exit for output that is still in the pipe; grandchildren may hold it open for ever. */
const DRAIN_MS = 250;

interface Entry {
  record: ProcessRecord;
  readonly recordFolder: string;
  readonly log: SpawnRequest['log'];
  /** Kept only for `restart`: it holds the environment. */
  again: SpawnRequest | null;
  pump: Pump | null;
  failuresInRow: number;
  cancelTimer: (() => void) | null;
  /** Of its end for want of attention. */
  cancelAttention: (() => void) | null;
  child: ChildProcess | null;
  /** The start that is under way: it shall run and has no pid yet. */
  starting: Promise<ProcessRecord> | null;
}

export interface Processes {
  spawn(request: SpawnRequest): Promise<ProcessRecord>;
  attach(request: { readonly key: string; readonly recordFolder: string; readonly log: SpawnRequest['log'] }): ProcessRecord;
  get(key: string): ProcessRecord | null;
  list(): ProcessRecord[];
  signal(key: string, signal: string, group: boolean): Promise<boolean>;
  /** Kills it with its group after so long, unless this is said again before. */
  attend(key: string, forMs: number): void;
  retire(key: string): void;
  forget(key: string): void;
  /** Requests of the programs that are to be started again after every end. */
  restarting(): SpawnRequest[];
  /** Programs that run or wait for a restart. */
  active(): number;
  /** Stops reading and watching; the programs live on. */
  close(): void;
}

export interface ProcessesDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly descriptors: (names: readonly string[]) => number[];
  readonly emit: (event: KeeperEvent) => void;
}

/** The session leader with exactly this environment: what a keeper started that died before it could write the pid down. */
function findOrphan(env: Readonly<Record<string, string>>): number | null {
  // Some variables come last, and it may have died before.
  const inOrder = (entries: readonly string[]): string =>
    entries
      .filter((entry) => !isSteering(entry.slice(0, entry.indexOf('='))))
      .sort()
      .join('\0');
  const wanted = inOrder(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  for (const pid of listPids()) {
    if (pid === process.pid || readProcessStat(pid)?.sessionId !== pid) continue;
    const environ = readEnviron(pid);
    if (environ !== null && environ.length > 0 && inOrder(environ) === wanted) return pid;
  }
  return null;
}

function errorOf(error: unknown): { code: string; message: string } {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'UNKNOWN';
  return { code, message: messageOf(error) };
}

export function createProcesses(deps: ProcessesDeps): Processes {
  const { clock } = deps;
  const entries = new Map<string, Entry>();
  const starting = new Map<string, Promise<ProcessRecord>>();
  const logs = createLogFolders(() => clock.now());
  let closed = false;

  const publish = (entry: Entry, change: Partial<ProcessRecord>): void => {
    entry.record = { ...entry.record, ...change };
    deps.emit({ event: 'process', record: entry.record });
  };

  const openPump = (entry: Entry): void => {
    const writer = logs.open(entry.log);
    let pump: Pump;
    try {
      pump = startPump(entry.recordFolder, writer);
    } catch (error) {
      logs.release(entry.log.folder);
      throw error;
    }
    entry.pump = pump;
    void pump.drained.then(() => {
      if (!closed) writer.end();
      logs.release(entry.log.folder);
      if (entry.pump === pump) entry.pump = null;
    });
  };

  const ended = async (entry: Entry, exit: NonNullable<ProcessRecord['exit']>): Promise<void> => {
    entry.child = null;
    entry.cancelTimer?.();
    entry.cancelTimer = null;
    entry.cancelAttention?.();
    entry.cancelAttention = null;
    const record: ProcessRecord = { ...entry.record, state: 'exited', exit };
    const again = entry.again;
    try {
      // Another key may use the folder by now, or the folder be gone: then nobody asks for this end.
      const ours = loadRecord(entry.recordFolder, record.key) !== null;
      // A platform program that comes back needs no durable record of each end.
      if (!ours) deps.log.warn({ key: record.key }, 'a program ended whose record is gone');
      else if (again === null) await saveRecordDurably(entry.recordFolder, record);
      else saveRecord(entry.recordFolder, record);
    } catch (error) {
      deps.log.error({ key: record.key, error }, 'the end of a program could not be recorded');
    }
    if (entry.pump !== null) await Promise.race([entry.pump.drained, clock.sleep(DRAIN_MS)]);
    publish(entry, { state: 'exited', exit });
    if (entry.again !== null && !closed) scheduleRestart(entry, exit.atMs - record.startedAtMs);
  };

  function scheduleRestart(entry: Entry, ranMs: number): void {
    const again = entry.again;
    if (again === null || again.restart === null) return;
    // Whatever runs longer than the longest wait is no loop: it is missed while it waits.
    if (ranMs >= again.restart.maxMs) entry.failuresInRow = 0;
    const delayMs = backoffMs(entry.failuresInRow, again.restart, systemRandom);
    entry.failuresInRow += 1;
    entry.cancelTimer = clock.timer(delayMs, () => {
      entry.cancelTimer = null;
      if (entry.again === null || closed) return;
      start(entry, entry.again, entry.record.restarts + 1).catch((error: unknown) => {
        deps.log.error({ key: entry.record.key, error }, 'a program could not be restarted');
      });
    });
  }

  const watchAttached = (entry: Entry): void => {
    const look = (): void => {
      if (closed || entry.record.identity === null) return;
      if (isIdentityAlive(entry.record.identity)) {
        entry.cancelTimer = clock.timer(ATTACHED_POLL_MS, look);
      } else {
        void ended(entry, { code: null, signal: null, atMs: clock.now() });
      }
    };
    entry.cancelTimer = clock.timer(ATTACHED_POLL_MS, look);
  };

  const launch = (entry: Entry, request: SpawnRequest): ChildProcess => {
    const { file, words, env, ids } = startAs(request.user, request.argv, request.env);
    const output = openForProgram(entry.recordFolder);
    try {
      const listeners = deps.descriptors(request.listeners);
      return startWithin(request.cgroups, () =>
        spawn(file, words, {
          cwd: request.cwd,
          env,
          detached: true,
          stdio: ['ignore', output.stdout, output.stderr, ...listeners],
          ...ids,
        }),
      );
    } finally {
      output.close();
    }
  };

  function start(entry: Entry, request: SpawnRequest, restarts: number): Promise<ProcessRecord> {
    const done = startNow(entry, request, restarts).finally(() => {
      entry.starting = null;
    });
    entry.starting = done;
    return done;
  }

  async function startNow(entry: Entry, request: SpawnRequest, restarts: number): Promise<ProcessRecord> {
    const { key } = request;
    const base: ProcessRecord = { key, identity: null, state: 'running', startedAtMs: clock.now(), exit: null, error: null, restarts };
    entry.record = base;
    try {
      saveRecord(entry.recordFolder, base);
      await makeFifos(entry.recordFolder, request.user);
      if (restarts > 0 && entry.again === null) {
        // Retired in the meantime: it must not come back.
        publish(entry, { state: 'exited', exit: { code: null, signal: null, atMs: clock.now() } });
        saveRecord(entry.recordFolder, entry.record);
        return entry.record;
      }
      const child = launch(entry, request);
      // Before the pump: its end of the pipe must see a writer. The error event comes later than this call, never inside it.
      const failed = new Promise<Error>((resolve) => child.once('error', resolve));
      if (child.pid === undefined) throw await failed;
      child.on('error', (error) => deps.log.warn({ key, error }, 'a program reported an error'));
      child.once('exit', (code, signal) => {
        void ended(entry, { code, signal, atMs: clock.now() });
      });
      entry.child = child;
      entry.record = { ...base, identity: readIdentity(child.pid) ?? { bootId: '', pid: child.pid, startTicks: '' } };
      openPump(entry);
      saveRecord(entry.recordFolder, entry.record);
      deps.emit({ event: 'process', record: entry.record });
    } catch (error) {
      if (entry.child !== null) {
        // It runs; a full disk or a lack of descriptors must not make us deny it.
        deps.log.error({ key, error }, 'the output or the record of a program could not be opened');
        return entry.record;
      }
      publish(entry, { state: 'failed', error: errorOf(error) });
      saveRecord(entry.recordFolder, entry.record);
      scheduleRestart(entry, 0);
    }
    return entry.record;
  }

  /** Knows a program from now on; nothing is done for it yet. */
  const add = (
    record: ProcessRecord,
    { recordFolder, log }: Pick<SpawnRequest, 'recordFolder' | 'log'>,
    again: SpawnRequest | null,
  ): Entry => {
    const idle = { pump: null, failuresInRow: 0, cancelTimer: null, cancelAttention: null, child: null, starting: null };
    const entry: Entry = { record, recordFolder, log, again, ...idle };
    entries.set(record.key, entry);
    return entry;
  };

  const adopt = (record: ProcessRecord, recordFolder: string, log: SpawnRequest['log'], again: SpawnRequest | null): ProcessRecord => {
    const entry = add(record, { recordFolder, log }, again);
    if (record.state !== 'running') return record;
    if (record.identity === null || !isIdentityAlive(record.identity)) {
      entry.record = { ...record, state: 'exited', exit: { code: null, signal: null, atMs: clock.now() } };
      saveRecord(recordFolder, entry.record);
      if (again !== null) scheduleRestart(entry, 0);
      return entry.record;
    }
    openPump(entry);
    watchAttached(entry);
    return entry.record;
  };

  const spawnNew = async (request: SpawnRequest): Promise<ProcessRecord> => {
    const again = request.restart === null ? null : request;
    const recorded = loadRecord(request.recordFolder, request.key);
    if (recorded !== null && recorded.state !== 'failed' && (again === null || recorded.state === 'running')) {
      if (recorded.identity !== null || recorded.state !== 'running') return adopt(recorded, request.recordFolder, request.log, again);
      const orphan = findOrphan(request.env);
      const identity = orphan === null ? null : readIdentity(orphan);
      if (identity !== null) {
        const found = { ...recorded, identity };
        saveRecord(request.recordFolder, found);
        return adopt(found, request.recordFolder, request.log, again);
      }
    }
    const { key } = request;
    const record: ProcessRecord = { key, identity: null, state: 'running', startedAtMs: clock.now(), exit: null, error: null, restarts: 0 };
    return start(add(record, request, again), request, 0);
  };

  const makeRoom = (): void => {
    if (entries.size < MAX_PROGRAMS) return;
    for (const [key, entry] of entries) {
      // Its end is on disk; whoever asks later attaches by the record.
      if (entry.record.state !== 'running' && entry.again === null && entry.pump === null) {
        entries.delete(key);
        return;
      }
    }
    throw new Failure('rate_limited', { message: `The keeper runs ${MAX_PROGRAMS} programs already.` });
  };

  const kill = (entry: Entry, signal: string, group: boolean): boolean => {
    if (entry.record.identity === null || entry.record.state !== 'running') return false;
    const { identity } = entry.record;
    // Our own child keeps its pid until we have seen its end; of others only the start time can tell.
    if (entry.child === null && !isIdentityAlive(identity)) return false;
    try {
      return process.kill(group ? -identity.pid : identity.pid, signal);
    } catch {
      return false;
    }
  };

  const isActive = (entry: Entry): boolean => entry.record.state === 'running' || entry.again !== null || entry.pump !== null;

  return {
    spawn: (request) => {
      const pending = starting.get(request.key);
      if (pending !== undefined) return pending;
      const known = entries.get(request.key);
      if (known !== undefined && (known.again !== null || request.restart === null || known.record.state === 'running')) {
        return Promise.resolve(known.record);
      }
      makeRoom();
      const started = spawnNew(request).finally(() => starting.delete(request.key));
      starting.set(request.key, started);
      return started;
    },
    attach: ({ key, recordFolder, log }) => {
      const known = entries.get(key);
      if (known !== undefined) return known.record;
      const recorded = loadRecord(recordFolder, key);
      // Without an identity it was about to be started and nobody was told of it: only a spawn can find out more.
      if (recorded === null || (recorded.state === 'running' && recorded.identity === null))
        throw new Failure('not_found', { message: `There is no record of a program “${key}” in ${recordFolder}.` });
      makeRoom();
      return adopt(recorded, recordFolder, log, null);
    },
    get: (key) => entries.get(key)?.record ?? null,
    list: () => [...entries.values()].map((entry) => entry.record),
    signal: async (key, signal, group) => {
      const entry = entries.get(key);
      // Between "shall run" and "has a pid" there is nobody to signal yet: a moment later there is.
      await entry?.starting?.catch(() => undefined);
      return entry !== undefined && kill(entry, signal, group);
    },
    attend: (key, forMs) => {
      const entry = entries.get(key);
      if (entry === undefined || entry.record.state !== 'running') return;
      entry.cancelAttention?.();
      entry.cancelAttention = clock.timer(forMs, () => {
        deps.log.warn({ key, forMs }, 'nobody attends to a program that must not run unattended: it is killed');
        kill(entry, 'SIGKILL', true);
      });
    },
    retire: (key) => {
      const entry = entries.get(key);
      if (entry === undefined) return;
      entry.again = null;
      if (entry.record.state !== 'running') {
        entry.cancelTimer?.();
        entry.cancelTimer = null;
      }
    },
    forget: (key) => {
      const entry = entries.get(key);
      if (entry === undefined) return;
      if (entry.record.state === 'running' || entry.again !== null) {
        throw new Failure('conflict', { message: `The program “${key}” still runs and cannot be forgotten.` });
      }
      entry.pump?.close();
      entries.delete(key);
    },
    restarting: () => [...entries.values()].flatMap((entry) => entry.again ?? []),
    active: () => [...entries.values()].filter(isActive).length + starting.size,
    close: () => {
      closed = true;
      for (const entry of entries.values()) {
        entry.cancelTimer?.();
        entry.cancelAttention?.();
        entry.pump?.close();
      }
    },
  };
}
