// The output of one Instance from its agent: read once, or followed across reconnections until the Instance has ended and everything
// that it wrote has been read. Lines come in order, none twice: every attempt goes on after the last cursor.

import { CALL_FRAME } from '../../api/agent.ts';
import type { LogFilter } from '../../api/agent.ts';
import { isFailure, messageOf } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import type { ControlContext } from '../context.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { failureOf } from './calls.ts';
import type { AgentCalls } from './calls.ts';
import type { AgentLogLine } from './log-position.ts';
import { instanceStatusRecords } from './records.ts';

/** All that an agent keeps, when reading from the beginning. */
const ALL_LINES = 1_000_000;
const RETRY_MS = 1000;
/** An agent that does not know a new Instance yet is about to. */
const UNKNOWN_RETRY_MS = 150;
/** After the end of an Instance so long its last output may still be on its way through the pump. */
const SETTLE_MS = 200;
const FINAL_ATTEMPTS = 3;

export interface LogStart {
  /** Cursor of the last line that is known; null: none is. */
  readonly after: string | null;
  /** Null: every line. */
  readonly filter: LogFilter | null;
}

export interface LogSources {
  /** The last `tail` lines, or everything after the cursor. Ends at the present end. */
  read(spec: InstanceSpec, from: LogStart & { readonly tail: number }, signal: AbortSignal): AsyncIterable<AgentLogLine>;
  /** Everything after the cursor (null: from the beginning) until the Instance has ended. */
  follow(spec: InstanceSpec, from: LogStart, signal: AbortSignal): AsyncIterable<AgentLogLine>;
}

export function createLogSources(context: ControlContext, deps: { readonly calls: AgentCalls }): LogSources {
  const { view, clock, log } = context;

  async function* request(
    spec: InstanceSpec,
    { filter, ...from }: LogStart & { readonly tail: number; readonly follow: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<AgentLogLine> {
    const channel = await deps.calls.open(
      spec.nodeId,
      { kind: 'logs', instanceId: spec.id, ...from, ...(filter === null ? {} : { filter }) },
      signal,
    );
    const close = (): void => channel.close();
    signal.addEventListener('abort', close, { once: true });
    try {
      for await (const frame of channel.frames) {
        if (frame[0] === CALL_FRAME.failure) throw failureOf(frame);
        if (frame[0] === CALL_FRAME.json) yield* parseLines(frame);
      }
    } finally {
      signal.removeEventListener('abort', close);
      channel.close();
    }
  }

  const hasEnded = (id: string): boolean => {
    if (view.get(instanceSpecRecords, id) === undefined) return true;
    const phase = view.get(instanceStatusRecords, id)?.document.phase;
    return phase !== undefined && FINAL_INSTANCE_PHASES.has(phase);
  };

  /** Aborts a little after the Instance has ended. */
  const endSignal = (id: string): { readonly signal: AbortSignal; readonly release: () => void } => {
    const ended = new AbortController();
    let cancel: (() => void) | null = null;
    const check = (): void => {
      if (cancel === null && hasEnded(id)) cancel = clock.timer(SETTLE_MS, () => ended.abort());
    };
    const unsubscribe = view.onChange((changed) => {
      if (changed.get(instanceStatusRecords.name)?.has(id) === true || changed.get(instanceSpecRecords.name)?.has(id) === true) check();
    });
    check();
    return {
      signal: ended.signal,
      release: () => {
        unsubscribe();
        cancel?.();
      },
    };
  };

  async function* follow(spec: InstanceSpec, { after, filter }: LogStart, signal: AbortSignal): AsyncGenerator<AgentLogLine> {
    let cursor = after;
    let finalAttempts = 0;
    const end = endSignal(spec.id);
    try {
      while (!signal.aborted) {
        const last = end.signal.aborted;
        let retryMs = RETRY_MS;
        const attempt = last ? signal : AbortSignal.any([signal, end.signal]);
        try {
          for await (const line of request(spec, { after: cursor, filter, tail: ALL_LINES, follow: !last }, attempt)) {
            cursor = line.cursor;
            yield line;
          }
          if (last) return;
        } catch (error) {
          if (signal.aborted) return;
          if (isFailure(error, 'not_found')) {
            // An agent that has forgotten an ended Instance has nothing more to say.
            if (last) return;
            retryMs = UNKNOWN_RETRY_MS;
          }
          finalAttempts += last ? 1 : 0;
          if (finalAttempts >= FINAL_ATTEMPTS) return;
          log.debug({ instanceId: spec.id, error: messageOf(error) }, 'log stream of an Instance broke; goes on where it was');
        }
        await clock.sleep(retryMs, last ? signal : AbortSignal.any([signal, end.signal])).catch(() => undefined);
      }
    } finally {
      end.release();
    }
  }

  return { read: (spec, from, signal) => request(spec, { ...from, follow: false }, signal), follow };
}

/** A frame holds one line or an array of lines, as JSON. What is not a line is skipped. */
function* parseLines(frame: Buffer): Generator<AgentLogLine> {
  const value: unknown = JSON.parse(frame.subarray(1).toString());
  for (const item of Array.isArray(value) ? value : [value]) if (isLine(item)) yield item;
}

function isLine(value: unknown): value is AgentLogLine {
  return (
    typeof value === 'object' &&
    value !== null &&
    'atMs' in value &&
    typeof value.atMs === 'number' &&
    'stream' in value &&
    (value.stream === 'stdout' || value.stream === 'stderr') &&
    'text' in value &&
    typeof value.text === 'string' &&
    'cursor' in value &&
    typeof value.cursor === 'string'
  );
}
