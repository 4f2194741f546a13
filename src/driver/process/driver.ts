// The process driver: an attempt is a child of the keeper, confined by cgroups and an own user where the machine permits. All state that
// counts is with the keeper and on disk, so this object may be made anew at any moment.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { systemClock } from '../../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../../lib/failure.ts';
import type { DriverInfo } from '../../model/documents.ts';
import { confineCgroup, cgroupUsage, detectCgroups, outOfMemoryKills, removeCgroup } from '../../sys/cgroup.ts';
import { readJsonFile } from '../../sys/durable-file.ts';
import type { KeeperClient } from '../../sys/keeper-client.ts';
import type { ProcessRecord } from '../../sys/keeper-protocol.ts';
import { silentLog } from '../../sys/log.ts';
import type { Log } from '../../sys/log.ts';
import { readLog } from '../../sys/log-reader.ts';
import { currentBootId, listPids, readEnviron, readProcessIo, readProcessStat } from '../../sys/process-identity.ts';
import type { Driver, DriverHandle, RunSpec, RunState, Usage } from '../contract.ts';
import { resolveCommand } from './command.ts';
import { readFiles, writeFiles } from './copy.ts';
import { diagnoseListening } from './diagnose.ts';
import { startExec } from './exec.ts';
import { prepareNode, preparePrivateFolders } from './folders.ts';
import { parseHandle, safeName, toDriverHandle } from './handle.ts';
import type { ProcessHandle } from './handle.ts';
import { startInTerminal } from './terminal.ts';
import { endDescendants, killTree, treePids } from './tree.ts';
import { createAppUsers } from './users.ts';
import type { AppUser } from './users.ts';

export interface ProcessDriverOptions {
  readonly keeper: KeeperClient;
  readonly dataFolder: string;
  /** Node for Apps: the first thing on their PATH where they do not bring a PATH of their own. */
  readonly nodeBinary?: string;
  readonly clock?: Clock;
  readonly log?: Log;
  /** False: no cgroups, as where none can be written. */
  readonly cgroups?: boolean;
  /** False: every App runs as our own user. */
  readonly users?: boolean;
}

export interface ProcessDriver extends Driver {
  prepareFolders(appId: string, folders: readonly string[]): Promise<void>;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const MAX_PROCESSES = 4096;
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

function stateOf(record: ProcessRecord, outOfMemory: boolean): RunState {
  if (record.state === 'running') {
    return { state: 'running', pid: record.identity?.pid ?? null, startedAtMs: record.startedAtMs };
  }
  const { exit, error } = record;
  if (error !== null) return { state: 'unknown', message: `It could not be started: ${error.message}` };
  if (exit !== null && (exit.code !== null || exit.signal !== null)) return { state: 'exited', ...exit, outOfMemory };
  if (record.identity !== null && record.identity.bootId !== currentBootId()) {
    return { state: 'unknown', message: 'The machine was restarted while it ran.' };
  }
  return { state: 'unknown', message: 'It ended while nobody was there to see how.' };
}

export function createProcessDriver(options: ProcessDriverOptions): ProcessDriver {
  const { keeper, dataFolder } = options;
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const records = join(dataFolder, 'process');
  mkdirSync(records, { recursive: true, mode: 0o700 });
  const platform = createHash('sha256').update(dataFolder).digest('hex').slice(0, 12);
  const cgroups = options.cgroups === false ? detectCgroups(platform, []) : detectCgroups(platform);
  const users = options.users === false ? null : createAppUsers(dataFolder);
  const userEnforcement = users?.enforcement ?? 'switched off';
  const node = options.nodeBinary === undefined ? null : prepareNode(dataFolder, options.nodeBinary, userEnforcement === 'enforced');
  const defaultPath = node === null ? SYSTEM_PATH : `${node}:${SYSTEM_PATH}`;
  const { cpu, memory, processes, cpus } = cgroups.enforcement;
  const cpusOf = (cores: readonly number[]): readonly number[] => cores.flatMap((core) => cgroups.cpus[core] ?? []);
  const limits: DriverInfo['limits'] = {
    cpu,
    memory,
    user: userEnforcement,
    disk: 'soft: measured now and then, not stopped by the kernel',
    cores: cpus,
  };
  const notEnforced = [
    ...(memory === 'enforced' ? [] : [`memory limit not enforced: ${memory}`]),
    ...(cpu === 'enforced' ? [] : [`cpu limit not enforced: ${cpu}`]),
    ...(processes === 'enforced' ? [] : [`limit of processes not enforced: ${processes}`]),
    ...(userEnforcement === 'enforced' ? [] : [`user not enforced: ${userEnforcement}`]),
  ];
  const waiting = new Map<string, Set<() => void>>();
  const closing = new AbortController();

  const markerOf = (key: string): string => `LIBRA_ATTEMPT=${platform}/${key}`;
  const environmentOf = (spec: RunSpec, user: AppUser | null): Record<string, string> => {
    const name = user === null ? null : `libra-${user.uid}`;
    const [marker = '', value = ''] = markerOf(spec.key).split('=');
    return {
      PATH: defaultPath,
      HOME: spec.workFolder,
      ...(name === null ? {} : { USER: name, LOGNAME: name }),
      ...spec.env,
      LIBRA_INSTANCE: spec.instanceId,
      [marker]: value,
    };
  };

  const lookUp = async (handle: ProcessHandle): Promise<ProcessRecord | null> => {
    const { key, recordFolder, log: place } = handle;
    const known = await keeper.request({ op: 'get', key });
    if (known !== null) return known;
    try {
      return await keeper.request({ op: 'attach', key, recordFolder, log: place });
    } catch (error) {
      if (isFailure(error, 'not_found')) return null;
      throw error;
    }
  };

  const inspect = async (handle: ProcessHandle): Promise<RunState> => {
    const record = await lookUp(handle);
    if (record === null) return { state: 'unknown', message: 'There is no record of it on this Node.' };
    // A program that copes with the loss of a child and ends well did not run out of memory.
    return stateOf(record, record.exit?.code !== 0 && (outOfMemoryKills(handle.cgroups) ?? 0) > 0);
  };

  const wake = (key: string): void => {
    for (const each of waiting.get(key) ?? []) each();
  };
  const unsubscribe = [
    keeper.onEvent(({ record }) => {
      if (record.state !== 'running') wake(record.key);
    }),
    // A new keeper knows nothing until it is told to attach; looking again does that.
    keeper.onConnect(() => {
      for (const key of waiting.keys()) wake(key);
    }),
  ];

  const wait = async (handle: ProcessHandle, signal: AbortSignal): Promise<RunState> => {
    const either = AbortSignal.any([signal, closing.signal]);
    for (;;) {
      either.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      const onAbort = (): void => resolve();
      const group = waiting.get(handle.key) ?? new Set();
      waiting.set(handle.key, group.add(resolve));
      either.addEventListener('abort', onAbort, { once: true });
      try {
        // Looked at only after we listen, so that no end falls in between.
        const state = await inspect(handle);
        if (state.state !== 'running') return state;
        await promise;
      } finally {
        either.removeEventListener('abort', onAbort);
        group.delete(resolve);
        if (group.size === 0) waiting.delete(handle.key);
      }
    }
  };

  const ensure = async (spec: RunSpec): Promise<DriverHandle> => {
    const user = users?.of(spec.appId) ?? null;
    const env = environmentOf(spec, user);
    const name = safeName(spec.key);
    const handle: ProcessHandle = {
      driver: 'process',
      key: spec.key,
      recordFolder: join(records, name),
      log: { folder: spec.logFolder, bytes: spec.logBytes },
      cgroups: cgroups.folders(name),
      user,
      marker: markerOf(spec.key),
      notEnforced,
    };
    const known = await lookUp(handle);
    if (known !== null && known.state !== 'failed') return toDriverHandle(handle);
    if (known !== null) await keeper.request({ op: 'forget', key: spec.key });
    const [word = '', ...words] = spec.argv;
    const file = resolveCommand(word, { env, cwd: spec.workFolder, user });
    const { cpu: cores, memory: bytes } = spec.resources;
    try {
      cgroups.create(name, {
        cpu: cores.limit,
        memoryBytes: bytes.limitBytes,
        processes: MAX_PROCESSES,
        ...(spec.cores === null ? {} : { cpus: cpusOf(spec.cores) }),
      });
    } catch (error) {
      throw new Failure('start_failed', {
        message: `The limits of the Instance could not be set: ${messageOf(error)}`,
        details: { reason: 'driver_error' },
        cause: error,
      });
    }
    const record = await keeper.request({
      op: 'spawn',
      key: spec.key,
      argv: [file, ...words],
      env,
      cwd: spec.workFolder,
      user,
      cgroups: handle.cgroups,
      log: handle.log,
      recordFolder: handle.recordFolder,
      listeners: [],
      restart: null,
    });
    if (record.state === 'failed') {
      removeCgroup(handle.cgroups);
      const { code, message } = record.error ?? { code: 'UNKNOWN', message: 'no reason was given' };
      throw new Failure('start_failed', {
        // Only the first word: others may carry the values of Secrets.
        message: `“${word}” could not be started: ${message}`,
        details: { reason: code === 'ENOENT' || code === 'EACCES' ? 'command_not_found' : 'driver_error', command: word, errno: code },
      });
    }
    return toDriverHandle(handle);
  };

  const stop = async (handle: ProcessHandle, signal: string, timeoutMs: number): Promise<RunState> => {
    const until = clock.monotonic() + timeoutMs;
    if ((await inspect(handle)).state === 'running' && timeoutMs > 0) {
      await keeper.request({ op: 'signal', key: handle.key, signal, group: false });
      const deadline = new AbortController();
      const cancel = clock.timer(timeoutMs, () => deadline.abort(new Error('deadline')));
      try {
        await wait(handle, deadline.signal);
      } catch (error) {
        if (!deadline.signal.aborted) throw error;
      } finally {
        cancel();
      }
    }
    await endDescendants(handle, signal, Math.max(0, until - clock.monotonic()), clock);
    return wait(handle, closing.signal);
  };

  const remove = async (handle: ProcessHandle): Promise<void> => {
    await keeper.request({ op: 'forget', key: handle.key });
    removeCgroup(handle.cgroups);
    rmSync(handle.recordFolder, { recursive: true, force: true });
  };

  /** Attempts that left a record or a cgroup, by the name of its folder; the key is in the record. */
  const leftovers = (): Map<string, string> => {
    const found = new Map<string, string>();
    for (const name of cgroups.list()) found.set(name, name);
    for (const name of readdirSync(records)) {
      const record = readJsonFile(join(records, name, 'record.json'));
      const key = typeof record === 'object' && record !== null && 'key' in record ? record.key : null;
      found.set(name, typeof key === 'string' ? key : name);
    }
    const prefix = `LIBRA_ATTEMPT=${platform}/`;
    for (const pid of cgroups.version === null ? listPids() : []) {
      const entry = readEnviron(pid)?.find((each) => each.startsWith(prefix));
      if (entry !== undefined) found.set(safeName(entry.slice(prefix.length)), entry.slice(prefix.length));
    }
    return found;
  };

  const usageOf = (handle: ProcessHandle): Usage => {
    const group = cgroupUsage(handle.cgroups);
    const isWhole = group.cpuSeconds !== null && group.memoryBytes !== null && group.processes !== null;
    const pids = treePids(handle);
    const stats = isWhole ? [] : pids.flatMap((pid) => readProcessStat(pid) ?? []);
    // The groups of version 1 do not see what the kernel writes later, and those of version 2 need a controller that is seldom passed on.
    const transfers = pids.flatMap((pid) => readProcessIo(pid) ?? []);
    return {
      cpuSeconds: group.cpuSeconds ?? stats.reduce((sum, each) => sum + each.cpuTicks, 0) / TICKS_PER_SECOND,
      memoryBytes: group.memoryBytes ?? stats.reduce((sum, each) => sum + each.residentPages, 0) * PAGE_BYTES,
      processes: group.processes ?? stats.length,
      ...(transfers.length === 0
        ? {}
        : {
            disk: {
              readBytes: transfers.reduce((sum, each) => sum + each.readBytes, 0),
              writtenBytes: transfers.reduce((sum, each) => sum + each.writtenBytes, 0),
            },
          }),
    };
  };

  return {
    info: { name: 'process', artifacts: ['bundle'], limits },
    ensure,
    inspect: (handle) => inspect(parseHandle(handle)),
    wait: (handle, signal) => wait(parseHandle(handle), signal),
    stop: (handle, { signal, timeoutMs }) => stop(parseHandle(handle), signal, timeoutMs),
    remove: (handle) => remove(parseHandle(handle)),
    logs: (logFolder, reading) => readLog(logFolder, { ...reading, clock }),
    diagnose: async (handle, spec) => diagnoseListening(treePids(parseHandle(handle)), spec),
    exec: async (handle, { argv, env, cwd, terminal }) => {
      const parsed = parseHandle(handle);
      if ((await inspect(parsed)).state !== 'running') {
        throw new Failure('conflict', { message: 'The Instance does not run, so no command can run in it.' });
      }
      const [marker = '', value = ''] = parsed.marker.split('=');
      const full = { PATH: defaultPath, HOME: cwd, ...env, [marker]: value };
      const [word = '', ...words] = argv;
      const { user, cgroups: folders } = parsed;
      const request = { file: resolveCommand(word, { env: full, cwd, user }), words, env: full, cwd };
      if (terminal === undefined) return startExec(parsed, request);
      if (user === null || node === null) {
        throw new Failure('unsupported', {
          message: `A command beside a process gets a terminal only where the App has a user of its own (${userEnforcement}).`,
          hint: 'Leave out --tty: input and both outputs pass all the same. In a container there are terminals everywhere.',
        });
      }
      return startInTerminal({ ...request, user, cgroups: folders, node: join(node, 'node'), terminal });
    },
    readFiles: (handle, place, leaveOut) => readFiles(place, parseHandle(handle).user, leaveOut),
    writeFiles: (handle, place, tar, how) => writeFiles(place, parseHandle(handle).user, tar, how),
    attend: async (handle, forMs) => {
      await keeper.request({ op: 'attend', key: parseHandle(handle).key, forMs });
    },
    confine: async (handle, cores) => confineCgroup(parseHandle(handle).cgroups, cpusOf(cores)),
    usage: async (handle) => usageOf(parseHandle(handle)),
    sweep: async (knownKeys) => {
      const knownNames = new Set([...knownKeys].map(safeName));
      const ended: string[] = [];
      for (const [name, key] of leftovers()) {
        if (knownNames.has(name)) continue;
        const place = { folder: join(records, name), bytes: 0 };
        const handle: ProcessHandle = {
          driver: 'process',
          key,
          recordFolder: join(records, name),
          log: place,
          cgroups: cgroups.folders(name),
          user: null,
          marker: markerOf(key),
          notEnforced: [],
        };
        log.info({ key }, 'ending an attempt that nobody knows');
        await killTree(handle, clock);
        if ((await lookUp(handle)) !== null) await wait(handle, closing.signal);
        await remove(handle);
        ended.push(key);
      }
      return ended;
    },
    notEnforced: (handle) => parseHandle(handle).notEnforced,
    prepareFolders: (appId, folders) => preparePrivateFolders(dataFolder, folders, users?.of(appId) ?? null),
    close: async () => {
      closing.abort(new Failure('canceled', { message: 'The process driver was closed.' }));
      for (const off of unsubscribe) off();
      cgroups.release();
    },
  };
}
