// A connection to the keeper that heals itself: requests wait for it, are sent again after a reconnect (the keeper answers by key), and
// fail with `unavailable` only when their deadline passes.

import net from 'node:net';
import type { Socket } from 'node:net';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure, FAILURE_CODES, messageOf } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { createJsonLineReader } from './json-lines.ts';
import type { KeeperEvent, KeeperReplies, KeeperRequest } from './keeper-protocol.ts';
import { silentLog } from './log.ts';
import type { Log } from './log.ts';

export { ensureKeeper, keeperSocketPath } from './keeper-start.ts';

const LINE_BYTES = 64 * 1024 * 1024;
const MAX_PENDING = 4096;
const CONNECT_MS = 5000;

export type KeeperHello = KeeperReplies['hello'];

export interface KeeperClient {
  /** Rejects with the keeper's failure, or with `unavailable` when it does not answer within `deadlineMs` (default 15 s). */
  request<R extends KeeperRequest>(request: R, options?: { readonly deadlineMs?: number }): Promise<KeeperReplies[R['op']]>;
  /** Changes of programs. What happened while disconnected is not repeated: ask after `onConnect`. */
  onEvent(listener: (event: KeeperEvent) => void): () => void;
  /** Called after every reconnection (not the first connection). Another pid is another keeper: attach again. */
  onConnect(listener: (hello: KeeperHello) => void): () => void;
  /** The keeper that we are connected to; null while disconnected. */
  connectedTo(): KeeperHello | null;
  close(): Promise<void>;
}

export interface ConnectKeeperOptions {
  readonly socketPath: string;
  /** Who connects, told to the keeper: name and version. */
  readonly program: string;
  /** Called when connecting fails: `() => ensureKeeper(…)` makes the keeper come back. */
  readonly revive?: () => Promise<unknown>;
  readonly clock?: Clock;
  readonly log?: Log;
}

interface PendingRequest {
  readonly line: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Failure) => void;
  readonly cancel: () => void;
}

const isFields = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null;

const isFailureCode = (code: unknown): code is FailureCode => typeof code === 'string' && Object.hasOwn(FAILURE_CODES, code);

function replyFailure(reply: Readonly<Record<string, unknown>>): Failure {
  const { code, message, details } = reply;
  return new Failure(isFailureCode(code) ? code : 'internal', {
    message: typeof message === 'string' ? message : 'The keeper refused a request without saying why.',
    details: isFields(details) ? details : undefined,
  });
}

function open(path: string, clock: Clock): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    const cancel = clock.timer(CONNECT_MS, () => socket.destroy(new Error('no answer')));
    socket.once('error', (error) => {
      cancel();
      reject(error);
    });
    socket.once('connect', () => {
      cancel();
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

/** Resolves when connected for the first time; rejects with `unavailable` when neither the socket nor `revive` gives a keeper. */
export async function connectKeeper(options: ConnectKeeperOptions): Promise<KeeperClient> {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const pending = new Map<number, PendingRequest>();
  const eventListeners = new Set<(event: KeeperEvent) => void>();
  const connectListeners = new Set<(hello: KeeperHello) => void>();
  const closing = new AbortController();
  let sequence = 0;
  let socket: Socket | null = null;
  let hello: KeeperHello | null = null;
  let reconnecting: Promise<void> | null = null;

  const notify = <T>(listeners: ReadonlySet<(value: T) => void>, value: T): void => {
    for (const listener of listeners) {
      try {
        listener(value);
      } catch (error) {
        log.error({ error }, 'a listener for the keeper failed');
      }
    }
  };

  const receive = (value: unknown): void => {
    if (!isFields(value)) return;
    if (value['event'] === 'process') {
      notify(eventListeners, value as unknown as KeeperEvent); // the keeper is our own program; its lines follow keeper-protocol.ts
      return;
    }
    const id = value['id'];
    const entry = typeof id === 'number' ? pending.get(id) : undefined;
    if (typeof id !== 'number' || entry === undefined) return;
    pending.delete(id);
    entry.cancel();
    if (value['ok'] === true) entry.resolve(value['value']);
    else entry.reject(replyFailure(value));
  };

  const request = <R extends KeeperRequest>(message: R, settings?: { readonly deadlineMs?: number }): Promise<KeeperReplies[R['op']]> => {
    const deadlineMs = settings?.deadlineMs ?? 15_000;
    return new Promise((resolve, reject) => {
      if (closing.signal.aborted || pending.size >= MAX_PENDING) {
        reject(new Failure('unavailable', { message: 'The connection to the keeper is closed or has too many requests waiting.' }));
        return;
      }
      sequence += 1;
      const id = sequence;
      const cancel = clock.timer(deadlineMs, () => {
        pending.delete(id);
        reject(new Failure('unavailable', { message: `The keeper did not answer “${message.op}” within ${deadlineMs} ms.` }));
      });
      const line = `${JSON.stringify({ id, ...message })}\n`;
      pending.set(id, { line, cancel, reject, resolve: (value) => resolve(value as KeeperReplies[R['op']]) }); // the reply to `op`
      if (hello !== null || message.op === 'hello') socket?.write(line);
    });
  };

  const adopt = async (fresh: Socket): Promise<void> => {
    const reader = createJsonLineReader(LINE_BYTES, receive, (why) => fresh.destroy(new Error(why)));
    fresh.on('data', (chunk: Buffer) => reader.push(chunk)); // no encoding is set: always a Buffer
    fresh.on('error', (error) => log.debug({ error }, 'the connection to the keeper broke'));
    fresh.on('close', () => {
      if (socket !== fresh) return;
      socket = null;
      hello = null;
      if (!closing.signal.aborted) reconnecting ??= reconnect();
    });
    socket = fresh;
    const broken = new Promise<never>((_, reject) => {
      fresh.once('close', () => reject(new Error('the connection broke')));
    });
    broken.catch(() => undefined);
    const greeted = await Promise.race([request({ op: 'hello', program: options.program }, { deadlineMs: CONNECT_MS }), broken]);
    hello = greeted;
    // Requests that were made or left unanswered meanwhile; the keeper knows spawn and attach by their keys.
    for (const entry of pending.values()) fresh.write(entry.line);
    notify(connectListeners, greeted);
  };

  const connectOnce = async (): Promise<void> => {
    let fresh: Socket;
    try {
      fresh = await open(options.socketPath, clock);
    } catch (error) {
      if (options.revive === undefined) throw error;
      await options.revive();
      fresh = await open(options.socketPath, clock);
    }
    try {
      await adopt(fresh);
    } catch (error) {
      socket = null;
      fresh.destroy();
      throw error;
    }
  };

  async function reconnect(): Promise<void> {
    for (let attempt = 0; !closing.signal.aborted; attempt += 1) {
      try {
        await connectOnce();
        reconnecting = null;
        return;
      } catch (error) {
        if (attempt % 10 === 0) log.warn({ error }, 'the keeper cannot be reached; trying again');
      }
      try {
        await clock.sleep(backoffMs(attempt, { minMs: 50, maxMs: 2000 }, systemRandom), closing.signal);
      } catch {
        return; // closed
      }
    }
  }

  try {
    await connectOnce();
  } catch (error) {
    closing.abort(new Error('closed'));
    throw new Failure('unavailable', {
      message: `The keeper at ${options.socketPath} cannot be reached: ${messageOf(error)}`,
      cause: error,
    });
  }

  return {
    request,
    onEvent: (listener) => {
      eventListeners.add(listener);
      return () => void eventListeners.delete(listener);
    },
    onConnect: (listener) => {
      connectListeners.add(listener);
      return () => void connectListeners.delete(listener);
    },
    connectedTo: () => hello,
    close: async () => {
      closing.abort(new Error('closed'));
      for (const entry of pending.values()) {
        entry.cancel();
        entry.reject(new Failure('unavailable', { message: 'The connection to the keeper was closed.' }));
      }
      pending.clear();
      const last = socket;
      if (last !== null && !last.destroyed) {
        await new Promise<void>((resolve) => {
          last.once('close', () => resolve());
          last.destroy();
        });
      }
      await reconnecting;
    },
  };
}
