// A command inside an Instance: frames pass between the client's socket and the agent's, both ways with back-pressure, and whichever
// end goes first takes the other with it.

import { createWebSocketStream } from 'ws';
import { CALL_FRAME } from '../../api/agent.ts';
import type { TerminalSize } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure, toFailure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import type { ControlContext } from '../context.ts';
import type { Call, Handler } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import { frameOf } from './calls.ts';
import type { AgentCalls } from './calls.ts';
import { findInstance } from './find-instance.ts';
import { instanceStatusRecords } from './records.ts';

type Exec = typeof table.instances.exec;

const WORDS = 1000;

export function createInstanceExec(context: ControlContext, deps: { readonly calls: AgentCalls }): Handler<Exec> {
  const { view } = context;

  const target = (call: Call<Exec>): { readonly spec: InstanceSpec; readonly command: readonly string[] } => {
    const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
    const spec = findInstance(view, app.document, environment.document, call.params.instance);
    const status = view.get(instanceStatusRecords, spec.id)?.document;
    if (status === undefined || status.phase === 'pending' || status.phase === 'preparing' || FINAL_INSTANCE_PHASES.has(status.phase)) {
      throw new Failure('unavailable', { message: `The Instance ${spec.id} does not run: it is ${status?.phase ?? 'pending'}.` });
    }
    return { spec, command: parseCommand(call.query.command) };
  };

  const exec = async (call: Call<Exec>, socket: Parameters<Handler<Exec>>[1]): Promise<void> => {
    const client = createWebSocketStream(socket, { readableObjectMode: true });
    const gone = new AbortController();
    client.on('close', () => gone.abort());
    client.on('error', () => gone.abort());
    const signal = AbortSignal.any([call.signal, gone.signal]);
    const send = (frame: Uint8Array): Promise<void> =>
      new Promise((resolve, reject) => {
        client.write(frame, (error) => (error === null || error === undefined ? resolve() : reject(error)));
      });
    try {
      const { spec, command } = target(call);
      const channel = await deps.calls.open(
        spec.nodeId,
        { kind: 'exec', instanceId: spec.id, command, ...terminalOf(call.query.terminal) },
        signal,
      );
      signal.addEventListener('abort', () => channel.close(), { once: true });
      const upward = forward(client, (frame) => channel.send(frame), signal);
      for await (const frame of channel.frames) {
        await send(frame);
        if (frame[0] === CALL_FRAME.exit || frame[0] === CALL_FRAME.failure) break;
      }
      channel.close();
      socket.close(1000);
      await upward;
    } catch (error) {
      if (!gone.signal.aborted) {
        const failure = toFailure(error);
        const text = JSON.stringify({ code: failure.code, message: failure.message, hint: failure.hint ?? null });
        await send(frameOf(CALL_FRAME.failure, Buffer.from(text))).catch(() => undefined);
        socket.close(1011, failure.code);
      }
    }
  };

  return Object.assign(exec, { check: (call: Call<Exec>): void => void target(call) });
}

/** Kinds of frames that a client may send. */
const UPWARD: ReadonlySet<number | undefined> = new Set([CALL_FRAME.input, CALL_FRAME.endInput, CALL_FRAME.resize]);

/** `80x24`, as the endpoint lets it through. */
function terminalOf(text: string | undefined): { readonly terminal?: TerminalSize } {
  if (text === undefined) return {};
  const [columns = 0, rows = 0] = text.split('x').map(Number);
  return { terminal: { columns, rows } };
}

/** Frames of the client to the agent, until either has gone. */
async function forward(client: AsyncIterable<unknown>, send: (frame: Uint8Array) => Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    for await (const message of client) {
      if (signal.aborted) return;
      if (Buffer.isBuffer(message) && UPWARD.has(message[0])) await send(message);
    }
  } catch {
    // The client went away: the abort signal has told the agent already.
  }
}

function parseCommand(text: string): readonly string[] {
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch (cause) {
    throw new Failure('invalid_input', { message: 'The command must be a JSON array of words.', cause });
  }
  if (
    !Array.isArray(words) ||
    words.length === 0 ||
    words.length > WORDS ||
    !words.every((word) => typeof word === 'string' && !word.includes('\0'))
  ) {
    throw new Failure('invalid_input', { message: `The command must be a JSON array of 1 to ${WORDS} words.` });
  }
  return words;
}
