// Answers what control asks for on the spot: the output of an Instance and commands inside it, as frames on a socket of the call's own.

import { CALL_FRAME } from '../api/agent.ts';
import type { AgentCall, AgentMessage, UsageHistory } from '../api/agent.ts';
import type { Driver, ExecSession, LogLine } from '../driver/contract.ts';
import { Failure, messageOf, toFailure } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import { within } from '../lib/deadline.ts';
import type { Clock } from '../lib/clock.ts';
import { runCopy } from './copy-call.ts';
import { expandWords } from '../model/expand.ts';
import { packPoint } from '../model/usage.ts';
import type { Instances } from './instances.ts';
import type { AgentLink, CallSocket } from './link.ts';
import { lastLines, linesThatPass } from './log-filter.ts';
import { terminalSize } from './terminal-size.ts';
import type { UsageHistories } from './usage-history.ts';
import type { Workspace } from './workspace.ts';

/** Calls at the same time; more are refused. */
const MAX_CALLS = 64;
const OPEN_DEADLINE_MS = 10_000;

type CallMessage = Extract<AgentMessage, { type: 'call' }>;

export interface Calls {
  take(message: CallMessage): void;
  stop(): Promise<void>;
}

export interface CallsOptions {
  readonly link: Pick<AgentLink, 'openCall'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly instances: Pick<Instances, 'get'>;
  readonly workspace: Pick<Workspace, 'logFolder' | 'folders'>;
  readonly history: Pick<UsageHistories, 'read'>;
  readonly driver: (name: string) => Driver | undefined;
}

const frame = (kind: number, body: Uint8Array): Uint8Array => Buffer.concat([Uint8Array.of(kind), body]);
const jsonFrame = (kind: number, value: unknown): Uint8Array => frame(kind, Buffer.from(JSON.stringify(value)));

export function createCalls(options: CallsOptions): Calls {
  const stopping = new AbortController();
  const open = new Set<Promise<void>>();

  const answer = async (message: CallMessage): Promise<void> => {
    const call = new AbortController();
    const signal = AbortSignal.any([stopping.signal, call.signal]);
    const socket = await within(
      options.clock,
      OPEN_DEADLINE_MS,
      'The connection for a call',
      options.link.openCall(message.callId, signal),
    );
    try {
      if (open.size > MAX_CALLS) {
        throw new Failure('rate_limited', { message: `This Node answers at most ${MAX_CALLS} log and exec streams at the same time.` });
      }
      switch (message.call.kind) {
        case 'logs':
          await sendLogs(message.call, socket, call, signal);
          break;
        case 'exec':
          await runCommand(message.call, socket, call, signal);
          break;
        case 'read':
        case 'write':
          await copy(message.call, socket, signal);
          break;
        case 'stats':
          await sendHistory(message.call, socket);
          break;
        default:
          // Of a control plane of a later version.
          throw new Failure('unsupported', { message: 'The agent of this Node is too old for that.', hint: 'Update Libra on it.' });
      }
    } catch (error) {
      const { code, message: text, hint } = toFailure(error);
      await socket.send(jsonFrame(CALL_FRAME.failure, { code, message: text, hint: hint ?? null })).catch(() => undefined);
    } finally {
      // In this order: an abort would cut the socket off before its last frames have arrived.
      await socket.close();
      call.abort(new Error('the call is over'));
    }
  };

  const sendLogs = async (
    call: Extract<AgentCall, { kind: 'logs' }>,
    socket: CallSocket,
    end: AbortController,
    signal: AbortSignal,
  ): Promise<void> => {
    const supervisor = options.instances.get(call.instanceId);
    const driver = supervisor === undefined ? undefined : options.driver(supervisor.state().driver);
    if (supervisor === undefined || driver === undefined) throw unknownInstance(call.instanceId);
    void untilClosed(socket, end);
    const { filter } = call;
    const isTail = call.after === null;
    const kept = driver.logs(options.workspace.logFolder(call.instanceId), {
      tail: isTail && filter === undefined ? call.tail : undefined,
      after: call.after ?? undefined,
      follow: call.follow,
      signal,
    });
    const passing = filter === undefined ? kept : linesThatPass(kept, filter);
    const lines = filter !== undefined && isTail && !call.follow ? lastLines(passing, call.tail) : passing;
    for await (const line of lines satisfies AsyncIterable<LogLine>) {
      if (signal.aborted) return;
      await socket.send(jsonFrame(CALL_FRAME.json, line));
    }
  };

  const sendHistory = async (call: Extract<AgentCall, { kind: 'stats' }>, socket: CallSocket): Promise<void> => {
    const { stepMs, points } = await options.history.read(call);
    for (const [id, series] of points)
      await socket.send(jsonFrame(CALL_FRAME.json, { id, stepMs, points: series.map(packPoint) } satisfies UsageHistory));
  };

  const copy = async (call: Extract<AgentCall, { kind: 'read' | 'write' }>, socket: CallSocket, signal: AbortSignal): Promise<void> => {
    const spec = options.instances.get(call.instanceId)?.spec() ?? null;
    const running = options.instances.get(call.instanceId)?.running() ?? null;
    if (running === null || spec === null) throw notRunning(call.instanceId);
    const { driver, handle, run } = running;
    const workFolder = run.container === undefined ? run.workFolder : run.container.workFolder;
    const place = { path: call.path, workFolder, folders: options.workspace.folders(spec) };
    await runCopy(call, { driver, handle, place }, socket, signal);
  };

  const runCommand = async (
    call: Extract<AgentCall, { kind: 'exec' }>,
    socket: CallSocket,
    end: AbortController,
    signal: AbortSignal,
  ): Promise<void> => {
    const running = options.instances.get(call.instanceId)?.running() ?? null;
    if (running === null) throw notRunning(call.instanceId);
    const { driver, handle, run } = running;
    if (driver.exec === undefined)
      throw new Failure('unsupported', { message: `The driver ${driver.info.name} cannot run commands inside an Instance.` });
    const argv = expandWords(call.command, run.env).words;
    const { terminal } = call;
    const session = await driver.exec(handle, {
      argv,
      env: run.env,
      cwd: run.workFolder,
      ...(terminal === undefined ? {} : { terminal }),
    });
    const onAbort = (): void => session.kill();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) session.kill();
    const input = (async () => {
      for await (const [kind, ...rest] of typedFrames(socket)) {
        if (kind === CALL_FRAME.input) await session.write(rest[0]);
        else if (kind === CALL_FRAME.endInput) session.endInput();
        else if (kind === CALL_FRAME.resize) await resize(session, rest[0]);
      }
      end.abort(new Error('the caller has gone'));
    })().catch(() => end.abort(new Error('the caller has gone')));
    for await (const { stream, chunk } of session.output) {
      await socket.send(frame(stream === 'stdout' ? CALL_FRAME.output : CALL_FRAME.errors, chunk));
    }
    await socket.send(jsonFrame(CALL_FRAME.exit, await session.exited));
    signal.removeEventListener('abort', onAbort);
    await socket.close();
    await input;
  };

  return {
    take: (message) => {
      const going = answer(message).catch((error: unknown) => {
        if (!stopping.signal.aborted)
          options.log.warn({ error: messageOf(error), call: message.call.kind }, 'a call could not be answered');
      });
      open.add(going);
      void going.finally(() => open.delete(going));
    },
    stop: async () => {
      stopping.abort(new Error('the agent stops'));
      await Promise.all(open);
    },
  };
}

const unknownInstance = (id: string): Failure =>
  new Failure('not_found', {
    message: `Instance ${id} is not known on this Node any more.`,
    hint: 'Its output was kept until its record went.',
  });

const notRunning = (id: string): Failure =>
  new Failure('unavailable', {
    message: `Instance ${id} does not run on this Node at the moment.`,
    hint: 'See which Instances run with: libra ps',
  });

/** A size that is none changes nothing, and a terminal that has gone is no failure: its end is told soon. */
async function resize(session: ExecSession, frame: Uint8Array): Promise<void> {
  const size = terminalSize(frame);
  if (size !== null) await session.resize?.(size).catch(() => undefined);
}

async function untilClosed(socket: CallSocket, end: AbortController): Promise<void> {
  try {
    for await (const _frame of socket.frames); // nothing is expected
  } finally {
    end.abort(new Error('the caller has gone'));
  }
}

async function* typedFrames(socket: CallSocket): AsyncGenerator<readonly [number, Uint8Array]> {
  for await (const bytes of socket.frames) {
    const [kind] = bytes;
    if (kind !== undefined) yield [kind, bytes.subarray(1)];
  }
}
