// What happens inside an Instance, commands and copies of files: frames pass between the client's socket and the agent's, both ways with
// back-pressure, and whichever end goes first takes the other with it.

import { createWebSocketStream } from 'ws';
import { CALL_FRAME } from '../../api/agent.ts';
import type { AgentCall, TerminalSize } from '../../api/agent.ts';
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
type Files = typeof table.instances.files;

const WORDS = 1000;

export function createInstanceSockets(
  context: ControlContext,
  deps: { readonly calls: AgentCalls },
): { readonly exec: Handler<Exec>; readonly files: Handler<Files> } {
  const { view } = context;

  const target = (params: Call<Exec>['params']): InstanceSpec => {
    const { app, environment } = findEnvironment(view, params.app, params.environment);
    const spec = findInstance(view, app.document, environment.document, params.instance);
    const status = view.get(instanceStatusRecords, spec.id)?.document;
    if (status === undefined || status.phase === 'pending' || status.phase === 'preparing' || FINAL_INSTANCE_PHASES.has(status.phase)) {
      throw new Failure('unavailable', { message: `The Instance ${spec.id} does not run: it is ${status?.phase ?? 'pending'}.` });
    }
    return spec;
  };

  const relay = async (
    signalOfCall: AbortSignal,
    socket: Parameters<Handler<Exec>>[1],
    asked: () => { readonly spec: InstanceSpec; readonly call: AgentCall },
  ): Promise<void> => {
    const client = createWebSocketStream(socket, { readableObjectMode: true });
    const gone = new AbortController();
    client.on('close', () => gone.abort());
    client.on('error', () => gone.abort());
    const signal = AbortSignal.any([signalOfCall, gone.signal]);
    const send = (frame: Uint8Array): Promise<void> =>
      new Promise((resolve, reject) => {
        client.write(frame, (error) => (error === null || error === undefined ? resolve() : reject(error)));
      });
    try {
      const { spec, call } = asked();
      const channel = await deps.calls.open(spec.nodeId, call, signal);
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

  const execOf = ({ params, query }: Call<Exec>): { readonly spec: InstanceSpec; readonly call: AgentCall } => {
    const spec = target(params);
    const command = parseCommand(query.command);
    return { spec, call: { kind: 'exec', instanceId: spec.id, command, ...terminalOf(query.terminal) } };
  };
  const filesOf = ({ params, query }: Call<Files>): { readonly spec: InstanceSpec; readonly call: AgentCall } => {
    const spec = target(params);
    const { path, direction, named } = query;
    if (path.includes('\0')) throw new Failure('invalid_input', { message: 'A path has no NUL in it.' });
    const common = { instanceId: spec.id, path };
    return { spec, call: direction === 'out' ? { kind: 'read', ...common } : { kind: 'write', ...common, named } };
  };
  const exec: Handler<Exec> = Object.assign(
    (call: Call<Exec>, socket: Parameters<Handler<Exec>>[1]) => relay(call.signal, socket, () => execOf(call)),
    { check: (call: Call<Exec>): void => void execOf(call) },
  );
  const files: Handler<Files> = Object.assign(
    (call: Call<Files>, socket: Parameters<Handler<Files>>[1]) => relay(call.signal, socket, () => filesOf(call)),
    { check: (call: Call<Files>): void => void filesOf(call) },
  );
  return { exec, files };
}

/** Kinds of frames that a client may send. */
const UPWARD: ReadonlySet<number | undefined> = new Set([CALL_FRAME.input, CALL_FRAME.endInput, CALL_FRAME.resize]);

/** `80x24`, as the endpoint lets it through. */
function terminalOf(text: string | undefined): { readonly terminal?: TerminalSize } {
  if (text === undefined) return {};
  const [columns = 0, rows = 0] = text.split('x').map(Number);
  return { terminal: { columns, rows } };
}

/** Frames of the client to the agent. Where the agent takes no more, they are read all the same: what it said last is on its way to the
 * client, and a connection that is left with something unread may lose that. */
async function forward(client: AsyncIterable<unknown>, send: (frame: Uint8Array) => Promise<void>, signal: AbortSignal): Promise<void> {
  let isTaken = true;
  try {
    for await (const message of client) {
      if (signal.aborted) return;
      if (!isTaken || !Buffer.isBuffer(message) || !UPWARD.has(message[0])) continue;
      await send(message).catch(() => {
        isTaken = false;
      });
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
