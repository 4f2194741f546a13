// One more command inside a running container, over the connection that the engine hands over.

import type { Duplex } from 'node:stream';
import type { Clock } from '../../lib/clock.ts';
import type { ExecSession, Terminal } from '../contract.ts';
import type { Engine } from './engine.ts';
import { engineStatus } from './engine-http.ts';
import { readFrames } from './frames.ts';
import { isOfContainer } from './seen-process.ts';
import { Failure, messageOf } from '../../lib/failure.ts';

const START_MS = 5000;
const END_MS = 10_000;
const POLL_MS = 20;

export interface ExecRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** null: pipes. */
  readonly terminal: Terminal | null;
}

export async function startExec(engine: Engine, clock: Clock, container: string, request: ExecRequest): Promise<ExecSession> {
  const { terminal } = request;
  const id = await engine.createExec(container, {
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: terminal !== null,
    Cmd: request.argv,
    Env: Object.entries({ ...(terminal === null ? {} : { TERM: 'xterm-256color' }), ...request.env }).map(
      ([name, value]) => `${name}=${value}`,
    ),
  });
  const socket = await engine.startExec(id, terminal !== null);
  const closed = new Promise<void>((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined); // whoever reads or writes is told

  /** The connection ends with the output; the code is known soon after. */
  const ending = async (): Promise<{ code: number | null; signal: string | null }> => {
    await closed;
    for (const untilMs = clock.monotonic() + END_MS; ; await clock.sleep(POLL_MS)) {
      const { isRunning, code } = await engine.inspectExec(id);
      if (!isRunning) return { code, signal: null };
      if (clock.monotonic() > untilMs) return { code: null, signal: null };
    }
  };
  const resize = async ({ columns, rows }: Terminal): Promise<void> => {
    // The engine refuses it until the command has begun.
    for (const untilMs = clock.monotonic() + START_MS; ; await clock.sleep(POLL_MS)) {
      try {
        return await engine.resizeExec(id, columns, rows);
      } catch (error) {
        if (clock.monotonic() > untilMs || engineStatus(error) === null) throw error;
        const { isRunning, code } = await engine.inspectExec(id);
        if (!isRunning && code !== null) return;
      }
    }
  };
  if (terminal !== null) void resize(terminal).catch(() => undefined); // it stays at the size that the engine chose
  const exited = ending().catch(() => ({ code: null, signal: null }));

  return {
    write: (chunk) => write(socket, chunk),
    endInput: () => {
      socket.end();
    },
    output: terminal === null ? chunksOf(socket) : rawChunksOf(socket),
    exited,
    ...(terminal === null ? {} : { resize }),
    kill: () => {
      void killExec(engine, clock, container, id)
        .catch(() => undefined)
        .finally(() => socket.destroy());
    },
  };
}

function write(socket: Duplex, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(chunk, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(new Failure('conflict', { message: `The command does not take input any more: ${messageOf(error)}.`, cause: error }));
    });
  });
}

async function* chunksOf(socket: Duplex): ExecSession['output'] & AsyncGenerator<{ stream: 'stdout' | 'stderr'; chunk: Uint8Array }> {
  try {
    for await (const frames of readFrames(socket)) for (const { stream, payload } of frames) yield { stream, chunk: payload };
  } finally {
    socket.destroy();
  }
}

/** On a terminal both outputs are one. */
async function* rawChunksOf(socket: Duplex): AsyncGenerator<{ stream: 'stdout' | 'stderr'; chunk: Uint8Array }> {
  try {
    for await (const chunk of socket) yield { stream: 'stdout', chunk: Buffer.from(chunk) };
  } finally {
    socket.destroy();
  }
}

/** The engine has no word for this: the process is killed where we see it, once it is known to be that container's. */
async function killExec(engine: Engine, clock: Clock, container: string, id: string): Promise<void> {
  const untilMs = clock.monotonic() + START_MS;
  let seen = await engine.inspectExec(id);
  // It may have been asked for only just now.
  while (seen.pid === null && seen.code === null && clock.monotonic() < untilMs) {
    await clock.sleep(POLL_MS);
    seen = await engine.inspectExec(id);
  }
  if (!seen.isRunning || seen.pid === null || !isOfContainer(seen.pid, container)) return;
  // With its group where it leads one.
  for (const pid of [-seen.pid, seen.pid]) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended before, or it is not ours to end: then it ends with its container.
    }
  }
}
