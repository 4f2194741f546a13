// The terminal's side of exec: frames to and from a WebSocket of the API, with the exit code of the remote program.

import type { WebSocket } from 'ws';
import { CALL_FRAME } from '../api/agent.ts';
import { failureOf } from '../api/problem.ts';
import { Failure } from '../lib/failure.ts';
import type { CommandContext } from './command.ts';

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** As a shell would tell it: the code, or 128 and the signal's number. */
export function exitCodeOf(exit: { readonly code: number | null; readonly signal: string | null }): number {
  if (exit.code !== null) return exit.code;
  return 128 + (SIGNAL_NUMBERS[exit.signal ?? ''] ?? 0);
}

function frame(kind: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([kind]), payload]);
}

/** The JSON of a frame; undefined where it is none. */
function parsed(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** What an answer says that is no WebSocket. */
export async function refusal(response: {
  readonly statusCode?: number | undefined;
  [Symbol.asyncIterator](): AsyncIterator<Buffer>;
}): Promise<Failure> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) if (chunks.length < 16) chunks.push(chunk);
  const failure = failureOf(parsed(Buffer.concat(chunks)));
  if (failure !== null) return failure;
  return new Failure('unreachable', { message: `The platform answered the connection with status ${response.statusCode ?? 'none'}.` });
}

const MOST_CELLS = 999;
const cells = (count: number, otherwise: number): number => Math.min(MOST_CELLS, Math.max(1, count || otherwise));

/** `80x24` */
export const terminalSize = ({ columns, rows }: Pick<NodeJS.WriteStream, 'columns' | 'rows'>): string =>
  `${cells(columns, 80)}x${cells(rows, 24)}`;

/** Runs a call to its end. Resolves with the exit code of the remote program. `terminal`: every key goes there, those that signal too. */
export async function runCall(context: CommandContext, path: string, terminal = false): Promise<number> {
  const { url, token } = await context.endpoint();
  const { WebSocket: Socket } = await import('ws');
  const socket: WebSocket = new Socket(`${url.replace(/^http/u, 'ws')}${path}`, {
    headers: { authorization: `Bearer ${token}` },
    handshakeTimeout: 15_000,
    maxPayload: 1024 * 1024,
  });
  const { input, output, errors } = context.streams;
  return await new Promise<number>((resolve, reject) => {
    let exit: number | null = null;
    const onInput = (chunk: Buffer): void => {
      input.pause();
      socket.send(frame(CALL_FRAME.input, chunk), () => input.resume());
    };
    const onEnd = (): void => socket.send(frame(CALL_FRAME.endInput, Buffer.alloc(0)));
    const onResize = (): void => {
      const [columns, rows] = terminalSize(output).split('x').map(Number);
      socket.send(frame(CALL_FRAME.resize, Buffer.from(JSON.stringify({ columns, rows }))));
    };
    const onAbort = (): void => socket.terminate();
    const finish = (): void => {
      input.off('data', onInput);
      input.off('end', onEnd);
      if (terminal) {
        output.off('resize', onResize);
        input.setRawMode(false);
      }
      input.pause();
      context.signal.removeEventListener('abort', onAbort);
    };
    context.signal.addEventListener('abort', onAbort, { once: true });
    socket.on('unexpected-response', (_request, response) => {
      finish();
      refusal(response).then(reject, reject);
    });
    socket.on('open', () => {
      if (terminal) {
        input.setRawMode(true);
        output.on('resize', onResize);
      }
      input.on('data', onInput);
      input.on('end', onEnd);
    });
    socket.on('message', (data) => {
      const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer /* binaryType is nodebuffer */);
      const payload = bytes.subarray(1);
      if (bytes[0] === CALL_FRAME.output || bytes[0] === CALL_FRAME.errors) {
        const target = bytes[0] === CALL_FRAME.output ? output : errors;
        if (!target.write(payload)) {
          socket.pause();
          target.once('drain', () => socket.resume());
        }
      } else if (bytes[0] === CALL_FRAME.exit) {
        const told = parsed(payload);
        if (typeof told === 'object' && told !== null && 'code' in told && 'signal' in told) {
          exit = exitCodeOf({
            code: typeof told.code === 'number' ? told.code : null,
            signal: typeof told.signal === 'string' ? told.signal : null,
          });
        }
      } else if (bytes[0] === CALL_FRAME.failure) {
        const told = parsed(payload);
        const message = typeof told === 'object' && told !== null && 'message' in told ? String(told.message) : 'The Node could not do it.';
        finish();
        reject(new Failure('start_failed', { message }));
      }
    });
    socket.on('error', (error) => {
      finish();
      reject(new Failure('unreachable', { message: 'The connection to the platform broke.', cause: error }));
    });
    socket.on('close', () => {
      finish();
      if (exit === null)
        reject(new Failure('unreachable', { message: 'The connection ended before the command did; whether it still runs is not known.' }));
      else resolve(exit);
    });
  });
}
