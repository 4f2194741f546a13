// Forwards the output of Instances. What the driver keeps on disk is the buffer: per Instance there is only the place up to which lines
// were taken, so a receiver that is away costs no memory, and a kill or a failed request means that some lines come again, none is missed.
// The driver drops the oldest where a receiver stays away for too long, and says so in a line of its own.

import type { ForwardStatus } from '../../api/agent.ts';
import { backoffMs } from '../../lib/backoff.ts';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/failure.ts';
import type { Random } from '../../lib/id.ts';
import { startLoop } from '../../lib/loop.ts';
import type { LogLine } from '../../driver/contract.ts';
import { readJsonFile, replaceFileSync } from '../../sys/durable-file.ts';
import type { Log } from '../../sys/log.ts';
import type { ForwardedLine, LineOwner } from './line.ts';
import type { Sink } from './sink.ts';

const IDLE_MS = 500;
const RETRY = { minMs: 250, maxMs: 15_000 };
const BATCH_LINES = 2000;
const BATCH_BYTES = 1024 * 1024;
/** Of one Instance in one batch: a noisy one does not hold up the others. */
const INSTANCE_LINES = 500;
const SAVE_EVERY_MS = 1000;

export interface LineSource {
  readonly owner: LineOwner;
  /** Whole lines after the cursor (null: from the oldest kept), to the present end. */
  readonly read: (after: string | null, signal: AbortSignal) => AsyncIterable<LogLine>;
}

export interface ForwardTarget {
  readonly name: string;
  readonly sink: Sink;
}

interface Gathered {
  readonly batch: ForwardedLine[];
  /** Instance → cursor of its last line in the batch. */
  readonly reached: ReadonlyMap<string, string>;
  /** Instances of which nothing is left behind the batch. */
  readonly read: ReadonlySet<string>;
}

export interface ForwarderOptions {
  /** In the order in which the operator named them. */
  readonly targets: readonly ForwardTarget[];
  readonly sources: () => readonly LineSource[];
  /** All Instances that may come back, those included that have no source at the moment. */
  readonly isKnown: (id: string) => boolean;
  /** Where the places are kept. */
  readonly file: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface Forwarder {
  status(): readonly ForwardStatus[];
  /** Resolves when all that the Instance has written is delivered; what is not within the time is counted as lost. */
  finish(id: string, timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
}

/** Which of several targets an Instance has: always the same one, and few change when one is added (rendezvous hashing). */
export function targetOf(instanceId: string, names: readonly string[]): number {
  let best = 0;
  let bestScore = -1;
  for (const [index, name] of names.entries()) {
    const score = mix(`${name}\n${instanceId}`);
    if (score > bestScore) [best, bestScore] = [index, score];
  }
  return best;
}

/** FNV-1a, with the final mixing of MurmurHash3: names that differ in one letter are far apart. */
function mix(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export function startForwarder(options: ForwarderOptions): Forwarder {
  const { clock, log } = options;
  const names = options.targets.map(({ name }) => name);
  const places = readPlaces(options.file);
  let savedMs = clock.monotonic();
  let isChanged = false;
  let isStopped = false;

  const save = (): void => {
    if (!isChanged) return;
    for (const id of places.keys()) if (!options.isKnown(id)) places.delete(id);
    savedMs = clock.monotonic();
    try {
      replaceFileSync(options.file, JSON.stringify({ schema: 1, places: Object.fromEntries(places) }));
      isChanged = false;
    } catch (error) {
      // Lines that were taken come again after a restart: no reason to hold up those to come.
      log.warn({ error: messageOf(error) }, 'the places up to which output was forwarded cannot be kept on disk; trying on');
    }
  };

  const lanes = options.targets.map(({ name, sink }, index) => {
    const status = { target: name, lines: 0, lost: 0, failing: null as string | null };
    let failures = 0;
    let turn = 0;
    /** Instances whose end is waited for. */
    const finishing = new Map<string, () => void>();

    const gather = async (signal: AbortSignal): Promise<Gathered> => {
      const batch: ForwardedLine[] = [];
      const read = new Set<string>();
      const reached = new Map<string, string>();
      let bytes = 0;
      const sources = options.sources().filter(({ owner }) => targetOf(owner.instance, names) === index);
      turn += 1;
      for (let step = 0; step < sources.length && batch.length < BATCH_LINES && bytes < BATCH_BYTES; step += 1) {
        const source = sources[(turn + step) % sources.length];
        if (source === undefined) continue;
        const { instance } = source.owner;
        let count = 0;
        try {
          for await (const line of source.read(places.get(instance) ?? null, signal)) {
            batch.push({ owner: source.owner, line });
            reached.set(instance, line.cursor);
            bytes += line.text.length;
            count += 1;
            if (count >= INSTANCE_LINES || bytes >= BATCH_BYTES) break;
          }
          if (count < INSTANCE_LINES && bytes < BATCH_BYTES) read.add(instance);
        } catch (error) {
          // Its folder may be going in this moment; the others are not to wait for it.
          log.debug({ instance, error: messageOf(error) }, 'output of an Instance cannot be read for forwarding');
        }
      }
      return { batch, reached, read };
    };

    const loop = startLoop({
      clock,
      everyMs: IDLE_MS,
      errorDelayMs: RETRY.maxMs,
      onError: (error) => log.error({ target: name, error }, 'forwarding output failed'),
      run: async (signal) => {
        const asked = [...finishing];
        const { batch, reached, read } = await gather(signal);
        if (batch.length > 0) {
          try {
            status.lost += await sink.send(batch, signal);
          } catch (error) {
            if (signal.aborted) return IDLE_MS;
            const why = messageOf(error);
            if (status.failing === null) log.warn({ target: name, error: why }, 'output cannot be forwarded; trying on');
            status.failing = why;
            failures += 1;
            return backoffMs(failures - 1, RETRY, options.random);
          }
          if (status.failing !== null) log.info({ target: name }, 'output is forwarded again');
          status.failing = null;
          failures = 0;
          status.lines += batch.length;
          for (const [id, cursor] of reached) places.set(id, cursor);
          isChanged = true;
        }
        for (const [id, done] of asked) if (read.has(id)) done();
        if (clock.monotonic() - savedMs >= SAVE_EVERY_MS) save();
        return batch.length >= INSTANCE_LINES ? 0 : IDLE_MS;
      },
    });
    const finish = async (id: string, timeoutMs: number): Promise<void> => {
      const source = options.sources().find(({ owner }) => owner.instance === id);
      if (source === undefined || isStopped) return;
      const done = Promise.withResolvers<boolean>();
      const cancel = clock.timer(timeoutMs, () => done.resolve(false));
      finishing.set(id, () => done.resolve(true));
      loop.wake();
      const isDelivered = await done.promise;
      cancel();
      finishing.delete(id);
      if (isDelivered) return;
      let lost = 0;
      for await (const _line of source.read(places.get(id) ?? null, new AbortController().signal)) lost += 1;
      status.lost += lost;
      log.warn({ instance: id, target: name, lost }, 'the last output of an Instance that is gone was not forwarded');
    };
    return { status, loop, sink, finish, release: () => finishing.forEach((done) => done()) };
  });

  return {
    status: () => lanes.map(({ status }) => ({ ...status })),
    finish: async (id, timeoutMs) => await lanes[targetOf(id, names)]?.finish(id, timeoutMs),
    stop: async () => {
      isStopped = true;
      await Promise.all(lanes.map(({ loop }) => loop.stop()));
      for (const { release } of lanes) release();
      for (const { sink } of lanes) sink.close();
      save();
    },
  };
}

/** Places that cannot be read are none: lines come again, which their receivers can see. */
function readPlaces(file: string): Map<string, string> {
  const places = new Map<string, string>();
  const value = readJsonFile(file);
  const kept = typeof value === 'object' && value !== null && 'places' in value ? value.places : null;
  if (typeof kept === 'object' && kept !== null)
    for (const [id, cursor] of Object.entries(kept)) if (typeof cursor === 'string') places.set(id, cursor);
  return places;
}
