// A driver without processes whose Instances do what a script says: for tests of everything above drivers, and for benches with a
// thousand Apps. It keeps the contract as truthfully as the process driver; only its world is in memory.

import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { DriverInfo, ReasonCode } from '../model/documents.ts';
import type { Driver, DriverHandle, LogLine, LogOptions, RunSpec, RunState, Usage } from './contract.ts';
import { readFakeFiles, writeFakeFiles } from './fake-files.ts';
import type { FakeFiles } from './fake-files.ts';
import type { Diagnosis } from './process/diagnose.ts';

/** What one attempt does. Everything is optional: by default it starts at once, runs for ever and stops when asked. */
export interface FakeBehaviour {
  readonly startDelayMs?: number;
  /** It cannot be started: `start_failed` with this reason. */
  readonly failToStart?: { readonly reason: ReasonCode; readonly message: string };
  /** It ends by itself after this long. */
  readonly exitAfterMs?: number;
  readonly exitCode?: number;
  readonly exitSignal?: string;
  /** That end is a kill for want of memory. */
  readonly outOfMemory?: boolean;
  /** Written right after the start. A text that begins with `! ` goes to stderr without these two characters. */
  readonly lines?: readonly string[];
  /** Opens a real HTTP server on the port of the spec. */
  readonly listens?: boolean;
  /** Status that the server answers; a function may change its mind. */
  readonly status?: number | (() => number);
  /** Takes no notice of the stop signal and is killed when the time is over. */
  readonly ignoresStop?: boolean;
  readonly stopDelayMs?: number;
  readonly diagnosis?: Diagnosis;
  /** What it takes while it runs; default nothing. */
  readonly usage?: () => Partial<Usage>;
}

export type FakeScript = (spec: RunSpec) => FakeBehaviour;

interface FakeRun {
  readonly spec: RunSpec;
  readonly behaviour: FakeBehaviour;
  state: RunState;
  server: Server | null;
  cancelExit: (() => void) | null;
  readonly waiting: Set<() => void>;
}

/** What runs, apart from the driver object: give it to a second driver to play a restart of the agent. */
export interface FakeWorld {
  readonly runs: Map<string, FakeRun>;
  readonly logs: Map<string, { lines: LogLine[]; next: number; readonly waiting: Set<() => void> }>;
  readonly starting: Map<string, Promise<DriverHandle>>;
  /** Keys in the order of their starts; a repeated ensure adds nothing. */
  readonly started: string[];
  /** By attempt. */
  readonly files: Map<string, FakeFiles>;
}

export interface FakeDriver extends Driver {
  readonly world: FakeWorld;
  /** Ends a running attempt as if by itself. */
  crash(key: string, end?: { readonly code?: number; readonly signal?: string; readonly outOfMemory?: boolean }): void;
  /** Loses an attempt without a record, as a restart of the machine does. */
  lose(key: string): void;
  /** Adds a line to the log of a running attempt. */
  print(key: string, text: string, stream?: 'stdout' | 'stderr'): void;
}

export interface FakeDriverOptions {
  readonly clock: Clock;
  readonly script?: FakeScript;
  readonly world?: FakeWorld;
  readonly name?: string;
}

const MAX_LINES = 10_000;

export function createFakeWorld(): FakeWorld {
  return { runs: new Map(), logs: new Map(), starting: new Map(), started: [], files: new Map() };
}

function listen(spec: RunSpec, behaviour: FakeBehaviour): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    const status = typeof behaviour.status === 'function' ? behaviour.status() : (behaviour.status ?? 200);
    response.writeHead(status, { 'content-type': 'text/plain', 'x-instance': spec.instanceId });
    response.end(`${spec.instanceId}\n`);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(spec.port ?? 0, spec.env['HOST'] ?? '127.0.0.1', () => resolve(server));
  });
}

export function createFakeDriver(options: FakeDriverOptions): FakeDriver {
  const { clock } = options;
  const world = options.world ?? createFakeWorld();
  const script: FakeScript = options.script ?? (() => ({}));
  const closing = new AbortController();
  const limits: DriverInfo['limits'] = { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'enforced', cores: 'enforced' };

  const append = (folder: string, stream: 'stdout' | 'stderr', text: string): void => {
    const log = world.logs.get(folder) ?? { lines: [], next: 1, waiting: new Set<() => void>() };
    world.logs.set(folder, log);
    log.lines.push({ atMs: clock.now(), stream, text, cursor: String(log.next).padStart(12, '0') });
    log.next += 1;
    if (log.lines.length > MAX_LINES) log.lines.splice(0, log.lines.length - MAX_LINES);
    for (const wake of log.waiting) wake();
  };

  const end = (run: FakeRun, state: RunState): void => {
    if (run.state.state !== 'running') return;
    run.state = state;
    run.cancelExit?.();
    run.server?.closeAllConnections();
    run.server?.close();
    run.server = null;
    for (const wake of run.waiting) wake();
  };

  const exit = (run: FakeRun, code: number | null, signal: string | null, outOfMemory: boolean): void =>
    end(run, { state: 'exited', code, signal, outOfMemory, atMs: clock.now() });

  const begin = async (spec: RunSpec): Promise<DriverHandle> => {
    const behaviour = script(spec);
    if ((behaviour.startDelayMs ?? 0) > 0) await clock.sleep(behaviour.startDelayMs ?? 0, closing.signal);
    if (behaviour.failToStart !== undefined) {
      const { reason, message } = behaviour.failToStart;
      throw new Failure('start_failed', { message, details: { reason, command: spec.argv[0] } });
    }
    const run: FakeRun = {
      spec,
      behaviour,
      state: { state: 'running', pid: null, startedAtMs: clock.now() },
      server: behaviour.listens === true ? await listen(spec, behaviour) : null,
      cancelExit: null,
      waiting: new Set(),
    };
    world.runs.set(spec.key, run);
    world.started.push(spec.key);
    if (world.started.length > MAX_LINES) world.started.shift();
    for (const line of behaviour.lines ?? []) append(spec.logFolder, line.startsWith('! ') ? 'stderr' : 'stdout', line.replace(/^! /, ''));
    if (behaviour.exitAfterMs !== undefined) {
      const killed = behaviour.outOfMemory === true;
      const signal = behaviour.exitSignal ?? (killed ? 'SIGKILL' : null);
      run.cancelExit = clock.timer(behaviour.exitAfterMs, () =>
        exit(run, signal === null ? (behaviour.exitCode ?? 0) : null, signal, killed),
      );
    }
    return { driver: 'fake', key: spec.key };
  };

  const runOf = (handle: DriverHandle): FakeRun | undefined => world.runs.get(String(handle['key']));

  const filesOf = (handle: DriverHandle): FakeFiles => {
    const key = String(handle['key']);
    const files = world.files.get(key) ?? new Map();
    world.files.set(key, files);
    return files;
  };

  const wait = async (handle: DriverHandle, signal: AbortSignal): Promise<RunState> => {
    const run = runOf(handle);
    if (run === undefined) return { state: 'unknown', message: 'There is no record of it on this Node.' };
    const either = AbortSignal.any([signal, closing.signal]);
    while (run.state.state === 'running') {
      either.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          run.waiting.delete(wake);
          either.removeEventListener('abort', wake);
          resolve();
        };
        run.waiting.add(wake);
        either.addEventListener('abort', wake);
      });
    }
    return run.state;
  };

  async function* logs(folder: string, reading: LogOptions): AsyncGenerator<LogLine> {
    const kept = world.logs.get(folder)?.lines ?? [];
    const { after } = reading;
    let at = after ?? (reading.tail === undefined ? '' : (kept.at(-reading.tail - 1)?.cursor ?? ''));
    if (after === undefined && reading.tail !== undefined && kept.length <= reading.tail) at = '';
    for (;;) {
      for (const line of (world.logs.get(folder)?.lines ?? []).filter((each) => each.cursor > at)) {
        if (reading.signal.aborted) return;
        at = line.cursor;
        yield line;
      }
      if (!reading.follow || reading.signal.aborted) return;
      const log = world.logs.get(folder) ?? { lines: [], next: 1, waiting: new Set<() => void>() };
      world.logs.set(folder, log);
      if (log.lines.some((each) => each.cursor > at)) continue;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          log.waiting.delete(wake);
          reading.signal.removeEventListener('abort', wake);
          resolve();
        };
        log.waiting.add(wake);
        reading.signal.addEventListener('abort', wake);
      });
    }
  }

  return {
    world,
    info: { name: options.name ?? 'fake', artifacts: ['bundle', 'image'], containers: true, limits },
    ensure: (spec) => {
      if (world.runs.has(spec.key)) return Promise.resolve({ driver: 'fake', key: spec.key });
      const pending = world.starting.get(spec.key);
      if (pending !== undefined) return pending;
      const started = begin(spec).finally(() => world.starting.delete(spec.key));
      world.starting.set(spec.key, started);
      return started;
    },
    inspect: async (handle) => runOf(handle)?.state ?? { state: 'unknown', message: 'There is no record of it on this Node.' },
    wait,
    stop: async (handle, { signal, timeoutMs }) => {
      const run = runOf(handle);
      if (run !== undefined && run.state.state === 'running') {
        const ignores = run.behaviour.ignoresStop === true;
        const delayMs = ignores ? timeoutMs : Math.min(timeoutMs, run.behaviour.stopDelayMs ?? 0);
        if (delayMs > 0) await clock.sleep(delayMs, closing.signal);
        if (ignores || (run.behaviour.stopDelayMs ?? 0) > timeoutMs) exit(run, null, 'SIGKILL', false);
        else exit(run, signal === 'SIGTERM' ? 0 : null, signal === 'SIGTERM' ? null : signal, false);
      }
      return wait(handle, closing.signal);
    },
    remove: async (handle) => {
      const run = runOf(handle);
      if (run?.state.state === 'running') throw new Failure('conflict', { message: 'The Instance still runs and cannot be forgotten.' });
      if (run !== undefined) world.runs.delete(run.spec.key);
      world.files.delete(String(handle['key']));
    },
    logs,
    diagnose: async (handle) => runOf(handle)?.behaviour.diagnosis ?? null,
    readFiles: (handle, place) => readFakeFiles(filesOf(handle), place),
    writeFiles: (handle, place, tar, how) => writeFakeFiles(filesOf(handle), place, tar, how),
    usage: async (handle) => {
      const run = runOf(handle);
      const isRunning = run?.state.state === 'running';
      return { cpuSeconds: 0, memoryBytes: 0, processes: isRunning ? 1 : 0, ...(isRunning ? run.behaviour.usage?.() : {}) };
    },
    sweep: async (knownKeys) => {
      const unknown = [...world.runs.values()].filter((run) => !knownKeys.has(run.spec.key));
      for (const run of unknown) {
        exit(run, null, 'SIGKILL', false);
        world.runs.delete(run.spec.key);
      }
      return unknown.map((run) => run.spec.key);
    },
    notEnforced: () => [],
    crash: (key, how = {}) => {
      const run = world.runs.get(key);
      if (run !== undefined) exit(run, how.signal === undefined ? (how.code ?? 1) : null, how.signal ?? null, how.outOfMemory ?? false);
    },
    lose: (key) => {
      const run = world.runs.get(key);
      if (run !== undefined) end(run, { state: 'unknown', message: 'The machine was restarted while it ran.' });
    },
    print: (key, text, stream = 'stdout') => {
      const run = world.runs.get(key);
      if (run !== undefined) append(run.spec.logFolder, stream, text);
    },
    close: async () => closing.abort(new Failure('canceled', { message: 'The fake driver was closed.' })),
  };
}
