// Logs of several Instances as one stream in order of time. First what is there, cut to the asked-for tail, then what comes, new
// Instances included. The id of each line holds every Instance's place, so that a reconnect neither loses nor repeats a line.

import type { LogFilter } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import { engineProblem } from '../../model/patterns.ts';
import type { ControlContext } from '../context.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { Call, Handler, StreamItem } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import { createWakeup } from '../wakeup.ts';
import { findInstance } from './find-instance.ts';
import { mergeStreams, packPosition, takeMerged, unpackPosition } from './log-position.ts';
import type { AgentLogLine, LogPosition } from './log-position.ts';
import type { LogSources } from './log-source.ts';
import { instanceStatusRecords } from './records.ts';

type Logs = typeof table.instances.logs;
type LogReply = { atMs: number; instanceId: string; entrypoint: string; slot: number; stream: 'stdout' | 'stderr'; text: string };

const SOURCES = 50;
const BACKLOG_BYTES = 8 * 1024 * 1024;
const WAITING_LINES = 1000;
/** So long lines of other Instances are waited for before the earliest one is given out. */
const REORDER_MS = 40;
const IDLE_MS = 60_000;
/** All that an agent keeps. */
const ALL_LINES = 1_000_000;

interface Line extends AgentLogLine {
  readonly spec: InstanceSpec;
}

interface Source {
  readonly spec: InstanceSpec;
  readonly queue: Line[];
  done: boolean;
}

export function createInstanceLogs(context: ControlContext, deps: { readonly sources: LogSources }): Handler<Logs> {
  const { view, clock } = context;

  /** What a stream without a place of its own begins with. */
  const choose = (call: Call<Logs>): { readonly specs: readonly InstanceSpec[]; readonly environmentId: string } => {
    const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
    const environmentId = environment.document.id;
    if (call.query.instance !== undefined)
      return { specs: [findInstance(view, app.document, environment.document, call.query.instance)], environmentId };
    const specs = latest(
      view
        .by(instanceSpecRecords, 'environment', environmentId)
        .map(({ document }) => document)
        .filter((spec) => call.query.entrypoint === undefined || spec.entrypoint === call.query.entrypoint),
    );
    refuseTooMany(specs.length);
    return { specs, environmentId };
  };

  /** All that still run, and of every slot without one the last that did. */
  const latest = (specs: readonly InstanceSpec[]): readonly InstanceSpec[] => {
    const running = specs.filter((spec) => !hasEnded(spec.id));
    const covered = new Set(running.map(slotOf));
    const ended = new Map<string, InstanceSpec>();
    for (const spec of specs) {
      const slot = slotOf(spec);
      const known = ended.get(slot);
      if (!covered.has(slot) && (known === undefined || known.createdAtMs < spec.createdAtMs)) ended.set(slot, spec);
    }
    return [...running, ...ended.values()];
  };

  const hasEnded = (id: string): boolean => {
    const phase = view.get(instanceStatusRecords, id)?.document.phase;
    return phase !== undefined && FINAL_INSTANCE_PHASES.has(phase);
  };

  const item = (line: Line, position: LogPosition): StreamItem<LogReply> => {
    position.cursors.set(line.spec.id, line.cursor);
    const { atMs, stream, text, spec } = line;
    return { id: packPosition(position), data: { atMs, instanceId: spec.id, entrypoint: spec.entrypoint, slot: spec.slot, stream, text } };
  };

  async function* backlog(
    specs: readonly InstanceSpec[],
    position: LogPosition,
    { tail, filter }: { readonly tail: number | null; readonly filter: LogFilter | null },
    signal: AbortSignal,
  ): AsyncGenerator<StreamItem<LogReply>> {
    const failures: unknown[] = [];
    const streams = specs.map((spec) => {
      const after = position.cursors.get(spec.id) ?? null;
      return tolerant(
        deps.sources.read(spec, { after, filter, tail: tail === null ? ALL_LINES : Math.max(1, tail) }, signal),
        spec,
        failures,
      );
    });
    const merged = mergeStreams(streams, (line) => line.atMs);
    if (tail === null) {
      for await (const line of merged) yield item(line, position);
    } else {
      const kept: Line[] = [];
      let bytes = 0;
      for await (const line of merged) {
        kept.push(line);
        bytes += line.text.length;
        while (kept.length > tail || bytes > BACKLOG_BYTES) {
          const cut = kept.shift();
          if (cut === undefined) break;
          bytes -= cut.text.length;
          position.cursors.set(cut.spec.id, cut.cursor);
        }
      }
      for (const line of kept) yield item(line, position);
    }
    if (specs.length > 0 && failures.length === specs.length) throw failures[0];
  }

  async function* live(
    call: Call<Logs>,
    environmentId: string,
    specs: readonly InstanceSpec[],
    position: LogPosition,
    filter: LogFilter | null,
  ): AsyncGenerator<StreamItem<LogReply>> {
    const wakeup = createWakeup(clock);
    const stopped = new AbortController();
    const signal = AbortSignal.any([call.signal, stopped.signal]);
    const sources = new Map<string, Source>();
    const pumps = new Set<Promise<void>>();
    let waiting = 0;
    let failure: unknown = null;

    const pump = async (source: Source): Promise<void> => {
      for await (const line of deps.sources.follow(source.spec, { after: position.cursors.get(source.spec.id) ?? null, filter }, signal)) {
        source.queue.push({ ...line, spec: source.spec });
        waiting += 1;
        wakeup.wake();
        // oxlint-disable-next-line no-unmodified-loop-condition -- the reader below takes lines meanwhile
        while (waiting >= WAITING_LINES && !signal.aborted) await clock.sleep(REORDER_MS, signal).catch(() => undefined);
      }
    };
    const add = (spec: InstanceSpec): void => {
      if (sources.has(spec.id) || sources.size >= SOURCES) return;
      const source: Source = { spec, queue: [], done: false };
      sources.set(spec.id, source);
      if (!position.cursors.has(spec.id)) position.cursors.set(spec.id, null);
      const running = pump(source)
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => {
          source.done = true;
          pumps.delete(running);
          wakeup.wake();
        });
      pumps.add(running);
    };
    const takeIn = (ids: Iterable<string>): void => {
      for (const id of ids) {
        const spec = view.get(instanceSpecRecords, id)?.document;
        if (spec === undefined || spec.environmentId !== environmentId || spec.createdAtMs < position.startedAtMs) continue;
        if (call.query.entrypoint === undefined || spec.entrypoint === call.query.entrypoint) add(spec);
      }
    };
    const unsubscribe =
      call.query.instance !== undefined ? () => undefined : view.onChange((changed) => takeIn(changed.get(instanceSpecRecords.name) ?? []));
    try {
      for (const spec of specs) add(spec);
      if (call.query.instance === undefined)
        takeIn(view.by(instanceSpecRecords, 'environment', environmentId).map(({ document }) => document.id));
      while (!call.signal.aborted) {
        const all = [...sources.values()];
        if (waiting > 0) {
          if (all.filter((source) => !source.done).length > 1) await clock.sleep(REORDER_MS, signal).catch(() => undefined);
          const lines = takeMerged(
            all.map((source) => source.queue),
            (line) => line.atMs,
          );
          waiting -= lines.length;
          for (const line of lines) yield item(line, position);
          continue;
        }
        if (failure !== null) throw failure;
        for (const source of all) if (source.done) forget(sources, position, source.spec.id);
        if (call.query.instance !== undefined && all.every((source) => source.done)) return;
        await wakeup.wait(IDLE_MS, call.signal);
      }
    } finally {
      unsubscribe();
      stopped.abort();
      await Promise.allSettled(pumps);
    }
  }

  /** A read-out Instance that is no longer kept needs no place in the ids. */
  const forget = (sources: Map<string, Source>, position: LogPosition, id: string): void => {
    if (view.get(instanceSpecRecords, id) !== undefined) return;
    sources.delete(id);
    position.cursors.delete(id);
  };

  async function* stream(call: Call<Logs>): AsyncGenerator<StreamItem<LogReply>> {
    const filter = await filterOf(call);
    const { specs: chosen, environmentId } = choose(call);
    const resumed = call.lastEventId === null ? null : unpackPosition(call.lastEventId);
    const position: LogPosition = resumed ?? { startedAtMs: clock.now(), cursors: new Map(chosen.map((spec) => [spec.id, null])) };
    const specs = resumed === null ? chosen : resumedSpecs(resumed, environmentId, chosen, call);
    if (!call.query.follow || resumed === null) {
      const failed = yield* tolerateWhenFollowing(
        backlog(specs, position, { tail: resumed === null ? call.query.tail : null, filter }, call.signal),
        call.query.follow,
      );
      if (failed) context.log.debug({}, 'no Node of the chosen Instances answers yet');
    }
    if (call.query.follow) yield* live(call, environmentId, specs, position, filter);
  }

  /** The Instances of the place that are still kept; those that came since are taken in like new ones. */
  const resumedSpecs = (
    position: LogPosition,
    environmentId: string,
    chosen: readonly InstanceSpec[],
    call: Call<Logs>,
  ): readonly InstanceSpec[] => {
    const allowed = new Set(chosen.map((spec) => spec.id));
    for (const id of position.cursors.keys()) {
      const spec = view.get(instanceSpecRecords, id)?.document;
      if (spec?.environmentId === environmentId && (call.query.entrypoint === undefined || spec.entrypoint === call.query.entrypoint))
        allowed.add(id);
    }
    const ids = [...allowed].filter((id) => position.cursors.has(id));
    refuseTooMany(ids.length);
    return ids.flatMap((id) => view.get(instanceSpecRecords, id)?.document ?? []);
  };

  return stream;
}

/** What is asked for of the lines; null: all. Throws `invalid_input`. */
async function filterOf({ query }: Call<Logs>): Promise<LogFilter | null> {
  const { since: sinceMs, until: untilMs, grep, follow } = query;
  if (sinceMs === undefined && untilMs === undefined && grep === undefined) return null;
  if (untilMs !== undefined && follow) {
    throw new Failure('invalid_input', {
      message: '`until` says where the lines end, and `follow` that they do not.',
      hint: 'Leave one of them out.',
    });
  }
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs)
    throw new Failure('invalid_input', { message: '`since` is later than `until`.' });
  if (grep !== undefined) {
    const problem = await engineProblem(grep);
    if (problem !== null)
      throw new Failure('invalid_input', {
        message: `The pattern ${JSON.stringify(grep)} for lines cannot be used: ${problem}.`,
        hint: 'A character that means itself has a backslash before it, such as \\[ or \\(.',
      });
  }
  return {
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(untilMs === undefined ? {} : { untilMs }),
    ...(grep === undefined ? {} : { grep }),
  };
}

const slotOf = (spec: InstanceSpec): string => `${spec.role}/${spec.entrypoint}/${spec.slot}`;

function refuseTooMany(count: number): void {
  if (count <= SOURCES) return;
  throw new Failure('invalid_input', {
    message: `${count} Instances are meant; one stream takes ${SOURCES}.`,
    hint: 'Name one with --entrypoint or --instance.',
  });
}

/** The lines of one source; a failure ends it and is noted, so that one silent Node does not hide the others. */
async function* tolerant(lines: AsyncIterable<AgentLogLine>, spec: InstanceSpec, failures: unknown[]): AsyncGenerator<Line> {
  try {
    for await (const line of lines) yield { ...line, spec };
  } catch (error) {
    failures.push(error);
  }
}

async function* tolerateWhenFollowing<T>(items: AsyncIterable<T>, following: boolean): AsyncGenerator<T, boolean> {
  try {
    yield* items;
    return false;
  } catch (error) {
    if (!following) throw error;
    return true;
  }
}
