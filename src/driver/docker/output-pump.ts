// Takes the output of a container over from the engine's own bounded log into the log of the Instance, in which it outlives the container
// and is read like that of every other driver. Where it stands is written into that same log: a pump that died is followed by one that
// repeats nothing, and what the engine has dropped meanwhile is told in its place.

import type { IncomingMessage } from 'node:http';
import { backoffMs } from '../../lib/backoff.ts';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/failure.ts';
import type { Log } from '../../sys/log.ts';
import { readLastMark } from '../../sys/log-marks.ts';
import { openLogWriter } from '../../sys/log-segments.ts';
import type { Engine } from './engine.ts';
import { engineStatus } from './engine-http.ts';
import { readFrames } from './frames.ts';
import type { OutputFrame } from './frames.ts';
import { beginningOf, decodePosition, encodePosition, resumeFrom, sinceOf } from './output-position.ts';
import type { Resumption, Stream } from './output-position.ts';
import type { RunState } from '../contract.ts';

const RETRY = { minMs: 100, maxMs: 5000 };
/**
 * An engine that is to follow a log leaves out, without a word, what goes into further files while it lags behind. So it follows only while
 * little is written and arrives at once; else its log is read as it stands, where a gap shows.
 */
const FOLLOWED_BYTES = 1024 * 1024;
const FOLLOWED_LAG_MS = 1000;
const WINDOW_MS = 1000;
/** Pause between two such readings: a flood costs the agent and the engine no more than that. */
const PAUSE_MS = 2000;
/** What a successor finds after the last mark it counts, so marks need not be many. */
const MARK_BYTES = 32 * 1024;

export interface PumpOptions {
  readonly engine: Engine;
  readonly container: string;
  readonly folder: string;
  readonly bytes: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const RESTARTED = 'Docker did not answer at that time: most likely it was restarted, and ended its containers.';

/** Engines repeat messages when they change files under a reader. A time long before is a clock that was set back. */
const CLOCK_STEP_MS = 60_000;

const isRepeated = (time: string, last: string): boolean => time < last && Date.parse(last) - Date.parse(time) < CLOCK_STEP_MS;

/** Resolves with the container's end once all of its output is in the log. Rejects only with the signal. */
export async function pumpOutput(options: PumpOptions): Promise<RunState> {
  const { engine, container, clock, signal } = options;
  const mark = readLastMark(options.folder, (payload) => decodePosition(payload, container) !== null);
  let position = (mark === null ? null : decodePosition(mark.payload, container)) ?? beginningOf(container);
  const skip = { ...(mark?.after ?? { stdout: 0, stderr: 0 }) };
  let atMs = clock.now();
  // Every writer begins a file of its own: none for what is there already.
  const writer = position.isWhole ? null : openLogWriter(options.folder, options.bytes, () => atMs);
  let unmarkedBytes = 0;
  let wasCutOff = false;

  const markHere = (): void => {
    unmarkedBytes = 0;
    writer?.mark(encodePosition(position));
  };

  /** Answers when the last of what is new was written; null: nothing is. */
  const take = (frames: readonly OutputFrame[], resumption: Resumption): number | null => {
    const next = { stdout: position.stdout, stderr: position.stderr };
    let last = '';
    let pending: { readonly stream: Stream; readonly parts: Buffer[] } | null = null;
    const flush = (): void => {
      if (pending !== null) {
        const text = Buffer.concat(pending.parts);
        unmarkedBytes += text.length;
        writer?.write(pending.stream, text);
      }
      pending = null;
    };
    for (const { stream, payload } of frames) {
      const space = payload.indexOf(0x20);
      const time = payload.toString('latin1', 0, Math.max(0, space));
      if (!resumption.isNew(stream, time)) continue;
      if (resumption.hasGap()) {
        flush();
        writer?.lost();
        skip.stdout = 0;
        skip.stderr = 0;
      }
      const known = next[stream];
      if (isRepeated(time, known.time)) continue;
      last = time;
      next[stream] = { time, count: known.time === time ? known.count + 1 : 1 };
      // Written by a predecessor that died before it could say so.
      const drop = Math.min(skip[stream], payload.length - space - 1);
      skip[stream] -= drop;
      const text = payload.subarray(space + 1 + drop);
      if (text.length === 0) continue;
      if (pending === null || pending.stream !== stream) {
        flush();
        atMs = Date.parse(time);
        pending = { stream, parts: [] };
      }
      pending.parts.push(text);
    }
    flush();
    position = { ...position, ...next };
    if (unmarkedBytes > MARK_BYTES) markHere();
    return last === '' ? null : Date.parse(last);
  };

  /** Answers how many bytes came. */
  const read = async (follow: boolean): Promise<number> => {
    const source: IncomingMessage = await engine.logs(container, { follow, since: sinceOf(position) }, signal);
    const onAbort = (): void => void source.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    const resumption = resumeFrom(position);
    let bytes = 0;
    let window = { startMs: clock.monotonic(), bytes: 0 };
    try {
      for await (const frames of readFrames(source)) {
        const came = frames.reduce((sum, { payload }) => sum + payload.length, 0);
        bytes += came;
        const newestMs = take(frames, resumption);
        if (!follow || newestMs === null) continue;
        if (clock.monotonic() - window.startMs > WINDOW_MS) window = { startMs: clock.monotonic(), bytes: 0 };
        window.bytes += came;
        if (window.bytes > FOLLOWED_BYTES || clock.now() - newestMs > FOLLOWED_LAG_MS) break;
      }
      return bytes;
    } finally {
      signal.removeEventListener('abort', onAbort);
      source.destroy();
    }
  };

  try {
    if (mark === null) markHere();
    for (let tries = 0; ; tries += 1) {
      signal.throwIfAborted();
      try {
        const isFlood = !position.isWhole && (await read(false)) > FOLLOWED_BYTES;
        if (!position.isWhole && !isFlood) await read(true);
        const state = await engine.stateOf(container);
        if (state.state !== 'running') {
          if (!position.isWhole) {
            await read(false);
            position = { ...position, isWhole: true };
            writer?.end();
            markHere();
          }
          return state.state === 'exited' && wasCutOff ? { ...state, note: RESTARTED } : state;
        }
        tries = 0;
        wasCutOff = false;
        if (isFlood) await clock.sleep(PAUSE_MS, signal);
      } catch (error) {
        signal.throwIfAborted();
        wasCutOff = engineStatus(error) === null;
        if (engineStatus(error) === 404) return { state: 'unknown', message: 'Its container is gone from Docker.' };
        if (tries === 0) options.log.warn({ container, error: messageOf(error) }, 'the output of a container is not read at the moment');
        await clock.sleep(backoffMs(tries, RETRY), signal);
      }
    }
  } finally {
    if (unmarkedBytes > 0) markHere();
    writer?.close();
  }
}
