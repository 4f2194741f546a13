// Calls from control to an agent: put on the Node's sync stream, answered on a WebSocket that the agent opens, so that an agent needs no
// listening port. A call id is unguessable, good for one socket of one Node, and forgotten at its deadline.

import { createWebSocketStream } from 'ws';
import type { WebSocket } from 'ws';
import type { Duplex } from 'node:stream';
import type { AgentCall, AgentMessage, CALL_FRAME } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { FAILURE_CODES, Failure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import { newToken } from '../../lib/id.ts';
import type { ControlContext } from '../context.ts';
import type { Handler, Principal } from '../handler.ts';

const ANSWER_MS = 10_000;
const OPEN_CALLS = 500;
const CLOSE_MS = 2000;

/** The agent's end of one call: whole frames, first byte the kind (CALL_FRAME). */
export interface CallChannel {
  /** Ends when the agent closed in order; throws `unavailable` when the connection broke. */
  readonly frames: AsyncIterable<Buffer>;
  /** Resolves when there is room for more. */
  send(frame: Uint8Array): Promise<void>;
  close(): void;
}

export interface AgentCalls {
  readonly answer: Handler<typeof table.agent.call>;
  /** Resolves when the agent has answered. Throws `unavailable` where the Node is not connected or does not answer in time. */
  open(nodeId: string, call: AgentCall, signal: AbortSignal): Promise<CallChannel>;
  stop(): void;
}

interface Pending {
  readonly nodeId: string;
  readonly accept: (socket: WebSocket) => Promise<void>;
}

type SendCall = (nodeId: string, message: Extract<AgentMessage, { type: 'call' }>) => boolean;

export function createAgentCalls(context: ControlContext, deps: { readonly send: SendCall }): AgentCalls {
  const { clock } = context;
  const pending = new Map<string, Pending>();
  const open = new Set<WebSocket>();

  const pendingFor = (callId: string, principal: Principal): Pending => {
    const found = pending.get(callId);
    if (found === undefined || principal.kind !== 'node' || principal.nodeId !== found.nodeId) {
      throw new Failure('not_found', { message: 'Nobody waits for this call any more.' });
    }
    return found;
  };

  const answer: AgentCalls['answer'] = Object.assign(
    async (call: Parameters<AgentCalls['answer']>[0], socket: WebSocket): Promise<void> => {
      let waiting: Pending;
      try {
        waiting = pendingFor(call.params.call, call.principal);
      } catch {
        socket.close(4404, 'nobody waits for this call');
        return;
      }
      pending.delete(call.params.call);
      await waiting.accept(socket);
    },
    { check: (call: Parameters<AgentCalls['answer']>[0]): void => void pendingFor(call.params.call, call.principal) },
  );

  return {
    answer,
    open: (nodeId, call, signal) =>
      new Promise((resolve, reject) => {
        if (pending.size + open.size >= OPEN_CALLS) {
          reject(new Failure('rate_limited', { message: `${OPEN_CALLS} log and exec streams are open already.` }));
          return;
        }
        const callId = newToken('call', context.random);
        const finish = (): void => {
          cancel();
          signal.removeEventListener('abort', onAbort);
          pending.delete(callId);
        };
        const fail = (message: string, cause?: unknown): void => {
          finish();
          reject(new Failure('unavailable', { message, hint: '`libra nodes` shows whether the Node is up.', cause }));
        };
        const onAbort = (): void => fail('The call was given up.', signal.reason);
        const cancel = clock.timer(ANSWER_MS, () => fail('The agent of the Node did not answer in time.'));
        const accept = (socket: WebSocket): Promise<void> => {
          finish();
          open.add(socket);
          const closed = new Promise<void>((done) => {
            socket.once('close', () => {
              open.delete(socket);
              done();
            });
          });
          resolve(channelOf(socket, context));
          return closed;
        };
        signal.addEventListener('abort', onAbort, { once: true });
        pending.set(callId, { nodeId, accept });
        if (signal.aborted) onAbort();
        else if (!deps.send(nodeId, { type: 'call', callId, call })) fail('The agent of the Node is not connected.');
      }),
    stop: () => {
      pending.clear();
      for (const socket of open) socket.terminate();
    },
  };
}

function channelOf(socket: WebSocket, context: ControlContext): CallChannel {
  const stream: Duplex = createWebSocketStream(socket, { readableObjectMode: true });
  let closeCode: number | null = null;
  socket.on('close', (code) => {
    closeCode = code;
  });
  // Without a listener an error would be thrown in the process; it also ends the iteration below.
  stream.on('error', () => undefined);

  async function* frames(): AsyncGenerator<Buffer> {
    try {
      for await (const message of stream) if (Buffer.isBuffer(message) && message.length > 0) yield message;
    } catch (cause) {
      throw broken(cause);
    }
    if (closeCode !== null && closeCode !== 1000 && closeCode !== 1005) throw broken(null);
  }

  return {
    frames: frames(),
    // Past the stream, which a failed write would end with what it has still to give.
    send: (frame) =>
      new Promise((resolve, reject) => {
        socket.send(frame, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(broken(error));
        });
      }),
    close: () => {
      socket.close(1000);
      // An agent that does not close its end is cut off.
      context.clock.timer(CLOSE_MS, () => socket.terminate());
    },
  };
}

function broken(cause: unknown): Failure {
  return new Failure('unavailable', { message: 'The connection to the agent of the Node broke.', cause });
}

/** The Failure that an agent answered with. */
export function failureOf(frame: Buffer): Failure {
  const fallback = new Failure('unavailable', { message: 'The agent of the Node refused the call.' });
  try {
    const value: unknown = JSON.parse(frame.subarray(1).toString());
    if (typeof value !== 'object' || value === null || !('message' in value) || typeof value.message !== 'string') return fallback;
    const code = 'code' in value && typeof value.code === 'string' && isCode(value.code) ? value.code : 'unavailable';
    const hint = 'hint' in value && typeof value.hint === 'string' ? value.hint : undefined;
    return new Failure(code, { message: value.message, hint });
  } catch {
    return fallback;
  }
}

function isCode(text: string): text is FailureCode {
  return Object.hasOwn(FAILURE_CODES, text);
}

/** A frame of one kind around a payload. */
export function frameOf(kind: (typeof CALL_FRAME)[keyof typeof CALL_FRAME], payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(kind), payload]);
}
