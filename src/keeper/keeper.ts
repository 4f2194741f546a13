// The process that must not die: a socket in front of programs and listeners. It knows nothing of Apps, and whatever a client sends
// or however librad dies, it goes on; it ends only when nothing needs it.

import { chmodSync, mkdirSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import { createJsonLineReader } from '../sys/json-lines.ts';
import type { KeeperEvent, KeeperReplies, KeeperReply, KeeperRequest } from '../sys/keeper-protocol.ts';
import type { Log } from '../sys/log.ts';
import { socketAnswers } from '../sys/socket-answers.ts';
import { currentBootId } from '../sys/process-identity.ts';
import { createListeners } from './listeners.ts';
import { createPlainLog } from './plain-log.ts';
import { createProcesses } from './processes.ts';
import { parseEnvelope, parseRequest } from './requests.ts';
import { createStateFile } from './state-file.ts';

const LINE_BYTES = 2 * 1024 * 1024;
const CLIENT_BUFFER_BYTES = 16 * 1024 * 1024;
const MAX_CLIENTS = 64;
const MAX_PENDING_PER_CLIENT = 256;

export interface KeeperOptions {
  readonly socketPath: string;
  /** Version of the program, told to clients. */
  readonly program: string;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Ends after this long without programs, listeners and clients; milliseconds. */
  readonly idleMs?: number;
}

export interface Keeper {
  /** Resolves when the keeper is not needed any more; the process should then exit, even if programs live on. */
  readonly ended: Promise<void>;
  /** Closes the socket and gives up the listeners; programs and their output pipes live on. */
  stop(): Promise<void>;
}

function assertNever(request: never): never {
  throw new Failure('internal', { message: `A request was parsed but is not answered: ${JSON.stringify(request)}` });
}

/**
 * Runs the keeper in this process. Rejects with `exists` where another one answers at the socket already.
 * The caller exits the process when `ended` resolves.
 */
export async function runKeeper(options: KeeperOptions): Promise<Keeper> {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? createPlainLog((line) => process.stderr.write(line), clock);
  const idleMs = options.idleMs ?? 60_000;
  const clients = new Set<Socket>();
  const listeners = createListeners();
  const stateFile = createStateFile(`${options.socketPath}.state.json`);
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let draining = false;
  // After a forced end the programs live on, and the next keeper shall find what we held.
  let successor = false;
  let cancelIdle: (() => void) | null = null;

  const send = (socket: Socket, message: KeeperReply | KeeperEvent): void => {
    if (socket.destroyed) return;
    // A client that does not read is cut off; it asks again after it has reconnected.
    if (socket.writableLength > CLIENT_BUFFER_BYTES) socket.destroy();
    else socket.write(`${JSON.stringify(message)}\n`);
  };

  const processes = createProcesses({
    clock,
    log,
    descriptors: (names) => listeners.descriptors(names),
    emit: (event) => {
      for (const client of clients) send(client, event);
      review();
    },
  });

  const save = (): void => {
    try {
      stateFile.save({ listeners: listeners.list(), programs: processes.restarting() });
    } catch (error) {
      log.error({ error }, 'what is held could not be written down');
    }
  };

  /** Goes on where a killed keeper was: programs that still run are adopted, sockets bound beside theirs for the next start. */
  const restore = async (): Promise<void> => {
    const state = stateFile.load();
    for (const listener of state.listeners) {
      await listeners.listen({ ...listener, takeover: true }).catch((error: unknown) => {
        log.error({ error, listener: listener.name }, 'a listener of the last keeper could not be taken over');
      });
    }
    for (const program of state.programs) await processes.spawn(program);
  };

  function review(): void {
    cancelIdle?.();
    cancelIdle = null;
    if (processes.active() > 0) return;
    if (draining) end();
    else if (clients.size === 0 && listeners.list().length === 0) cancelIdle = clock.timer(idleMs, end);
  }

  const answer = (request: KeeperRequest): KeeperReplies[KeeperRequest['op']] | Promise<KeeperReplies[KeeperRequest['op']]> => {
    switch (request.op) {
      case 'hello':
        return { program: options.program, pid: process.pid, bootId: currentBootId() };
      case 'spawn':
        draining = false;
        return processes.spawn(request);
      case 'attach':
        draining = false;
        return processes.attach(request);
      case 'list':
        return { processes: processes.list(), listeners: listeners.list() };
      case 'get':
        return processes.get(request.key);
      case 'signal':
        return processes.signal(request.key, request.signal, request.group).then((delivered) => ({ delivered }));
      case 'attend':
        processes.attend(request.key, request.forMs);
        return null;
      case 'retire':
        processes.retire(request.key);
        return null;
      case 'forget':
        processes.forget(request.key);
        return null;
      case 'listen':
        draining = false;
        return listeners.listen(request);
      case 'unlisten':
        listeners.unlisten(request.name);
        return null;
      case 'shutdown':
        draining = true;
        if (request.force) {
          successor = true;
          setImmediate(end);
        }
        return null;
      default:
        return assertNever(request);
    }
  };

  const serve = (socket: Socket): void => {
    if (clients.size >= MAX_CLIENTS) {
      socket.destroy();
      return;
    }
    clients.add(socket);
    review();
    let pending = 0;
    const handle = async (value: unknown): Promise<void> => {
      const envelope = parseEnvelope(value);
      if (envelope === null) {
        socket.destroy();
        return;
      }
      const { id, fields } = envelope;
      pending += 1;
      try {
        if (pending > MAX_PENDING_PER_CLIENT) throw new Failure('rate_limited', { message: 'Too many requests at once for the keeper.' });
        const value = await answer(parseRequest(fields));
        save();
        send(socket, { id, ok: true, value });
      } catch (error) {
        if (!isFailure(error)) log.error({ error, op: fields['op'] }, 'a request failed');
        const code = isFailure(error) ? error.code : 'internal';
        const details = isFailure(error) ? error.details : undefined;
        send(socket, { id, ok: false, code, message: messageOf(error), ...(details === undefined ? {} : { details }) });
      }
      pending -= 1;
      review();
    };
    const reader = createJsonLineReader(
      LINE_BYTES,
      (value) => void handle(value),
      () => socket.destroy(),
    );
    socket.on('data', (chunk: Buffer) => reader.push(chunk)); // no encoding is set: always a Buffer
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clients.delete(socket);
      review();
    });
  };

  mkdirSync(dirname(options.socketPath), { recursive: true, mode: 0o700 });
  if (await socketAnswers(options.socketPath)) {
    throw new Failure('exists', { message: `A keeper already answers at ${options.socketPath}.` });
  }
  try {
    unlinkSync(options.socketPath);
  } catch {
    // There was none.
  }
  await restore();
  const server = net.createServer(serve);
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.socketPath, resolve);
    });
  } finally {
    process.umask(mask);
  }
  chmodSync(options.socketPath, 0o600);
  server.on('error', (error) => log.error({ error }, 'the socket failed'));
  review();

  return {
    ended,
    stop: async () => {
      cancelIdle?.();
      processes.close();
      if (!successor) stateFile.remove();
      for (const listener of listeners.list()) listeners.unlisten(listener.name);
      for (const client of clients) client.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
