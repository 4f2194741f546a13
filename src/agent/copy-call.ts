// Copies out of an Instance and into it, as frames on the socket of a call.

import { CALL_FRAME } from '../api/agent.ts';
import type { AgentCall, CopyEnd } from '../api/agent.ts';
import type { CopyPlace, Driver, DriverHandle } from '../driver/contract.ts';
import { Failure } from '../lib/failure.ts';
import type { LeaveOut } from '../sys/copy-tar.ts';
import type { CallSocket } from './link.ts';

/** What is left out is counted; so many are told by name. */
const EXAMPLES = 20;
const EXAMPLE_CHARACTERS = 300;

export interface CopyTarget {
  readonly driver: Driver;
  readonly handle: DriverHandle;
  readonly place: CopyPlace;
}

export async function runCopy(
  call: Extract<AgentCall, { kind: 'read' | 'write' }>,
  { driver, handle, place }: CopyTarget,
  socket: CallSocket,
  signal: AbortSignal,
): Promise<void> {
  if (driver.readFiles === undefined || driver.writeFiles === undefined)
    throw new Failure('unsupported', { message: `The driver ${driver.info.name} cannot copy files.` });
  const { leaveOut, end } = leftOut();
  let report = {};
  if (call.kind === 'read') {
    for await (const chunk of driver.readFiles(handle, place, leaveOut)) {
      signal.throwIfAborted();
      await socket.send(frameOf(CALL_FRAME.output, chunk));
    }
  } else {
    report = await driver.writeFiles(handle, place, inputOf(socket), { named: call.named, leaveOut, signal });
  }
  await socket.send(frameOf(CALL_FRAME.json, Buffer.from(JSON.stringify({ ...report, ...end() } satisfies CopyEnd))));
  await socket.send(frameOf(CALL_FRAME.exit, Buffer.from(JSON.stringify({ code: 0, signal: null }))));
}

const frameOf = (kind: number, body: Uint8Array): Uint8Array => Buffer.concat([Uint8Array.of(kind), body]);

function leftOut(): { readonly leaveOut: LeaveOut; readonly end: () => CopyEnd } {
  const examples: { path: string; why: string }[] = [];
  let count = 0;
  return {
    leaveOut: (path, why) => {
      count += 1;
      if (examples.length < EXAMPLES) examples.push({ path: path.slice(0, EXAMPLE_CHARACTERS), why: why.slice(0, EXAMPLE_CHARACTERS) });
    },
    end: () => ({ leftOut: count, examples }),
  };
}

/** What has no end was broken off, however whole it looks. */
async function* inputOf(socket: CallSocket): AsyncGenerator<Uint8Array> {
  for await (const frame of socket.frames) {
    if (frame[0] === CALL_FRAME.endInput) return;
    if (frame[0] === CALL_FRAME.input) yield frame.subarray(1);
  }
  throw new Failure('unreachable', { message: 'The copy was broken off before its end.' });
}
