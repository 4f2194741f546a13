// What Instances and Nodes took over time. The Nodes keep it and are asked for it; one that does not answer hides its own part alone.

import { CALL_FRAME, NODE_AS_WHOLE } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure, toFailure } from '../../lib/failure.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import { unpackPoint } from '../../model/usage.ts';
import type { UsagePoint } from '../../model/usage.ts';
import type { ControlContext } from '../context.ts';
import { hasEnded } from '../deploys/placement.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { Call, Handler } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import { failureOf } from './calls.ts';
import type { AgentCalls } from './calls.ts';
import { findInstance } from './find-instance.ts';
import { nodeSpecRecords } from './records.ts';

type InstanceStats = Handler<typeof table.instances.stats>;
type NodeStats = Handler<typeof table.nodes.stats>;

/** In one answer. */
const MOST_INSTANCES = 50;
/** A Node keeps less. */
const MOST_POINTS = 2000;
const DEFAULT_MS = 3_600_000;
const DEADLINE_MS = 15_000;

interface Series {
  readonly id: string;
  readonly stepMs: number;
  readonly points: UsagePoint[];
}

export function createUsageStats(
  context: ControlContext,
  deps: { readonly calls: Pick<AgentCalls, 'open'> },
): { readonly instances: InstanceStats; readonly node: NodeStats } {
  const { view, clock } = context;

  const ask = async (nodeId: string, ids: readonly string[], call: Call<unknown>, span: Span): Promise<readonly Series[]> => {
    const late = new AbortController();
    const cancel = clock.timer(DEADLINE_MS, () => late.abort());
    const signal = AbortSignal.any([call.signal, late.signal]);
    const series: Series[] = [];
    try {
      const channel = await deps.calls.open(nodeId, { kind: 'stats', ids, ...span }, signal);
      const close = (): void => channel.close();
      signal.addEventListener('abort', close, { once: true });
      try {
        for await (const frame of channel.frames) {
          if (frame[0] === CALL_FRAME.failure) throw failureOf(frame);
          const one = frame[0] === CALL_FRAME.json ? seriesOf(frame) : null;
          if (one !== null && ids.includes(one.id) && !series.some(({ id }) => id === one.id)) series.push(one);
        }
      } finally {
        signal.removeEventListener('abort', close);
        channel.close();
      }
    } finally {
      cancel();
    }
    if (series.length < ids.length)
      throw new Failure('unavailable', { message: 'The agent of the Node did not tell all that it was asked for.' });
    return series;
  };

  const chosen = ({ params, query }: Call<typeof table.instances.stats>): readonly InstanceSpec[] => {
    const { app, environment } = findEnvironment(view, params.app, params.environment);
    if (query.instance !== undefined) return [findInstance(view, app.document, environment.document, query.instance)];
    const specs = view
      .by(instanceSpecRecords, 'environment', environment.document.id)
      .map(({ document }) => document)
      .filter((spec) => query.entrypoint === undefined || spec.entrypoint === query.entrypoint)
      .filter((spec) => !hasEnded(view, spec.id));
    if (specs.length > MOST_INSTANCES) {
      throw new Failure('invalid_input', {
        message: `${specs.length} Instances are meant; one answer has ${MOST_INSTANCES}.`,
        hint: 'Name one with --entrypoint or --instance. For all of them there is /metrics.',
      });
    }
    return specs.toSorted((a, b) => a.entrypoint.localeCompare(b.entrypoint) || a.slot - b.slot || a.createdAtMs - b.createdAtMs);
  };

  const nameOf = (nodeId: string): string => view.get(nodeSpecRecords, nodeId)?.document.name ?? nodeId;

  return {
    instances: async (call) => {
      const specs = chosen(call);
      const span = spanOf(call.query, clock.now());
      const found = new Map<string, Series>();
      const missing: { node: string; message: string }[] = [];
      const ofNode = Map.groupBy(specs, ({ nodeId }) => nodeId);
      await Promise.all(
        [...ofNode].map(async ([nodeId, own]) => {
          try {
            const ids = own.map(({ id }) => id);
            for (const series of await ask(nodeId, ids, call, span)) found.set(series.id, series);
          } catch (error) {
            missing.push({ node: nameOf(nodeId), message: toFailure(error).message });
          }
        }),
      );
      const items = specs.flatMap(({ id, entrypoint, slot, nodeId }) => {
        const series = found.get(id);
        if (series === undefined) return [];
        return [{ instance: id, entrypoint, slot, node: nameOf(nodeId), stepMs: series.stepMs, points: series.points }];
      });
      return { items, missing };
    },
    node: async (call) => {
      const node = view.byName(nodeSpecRecords, call.params.node)?.document;
      if (node === undefined)
        throw new Failure('not_found', { message: `There is no Node ${call.params.node}.`, hint: '`libra nodes` lists them.' });
      const [series] = await ask(node.id, [NODE_AS_WHOLE], call, spanOf(call.query, clock.now()));
      return { node: node.name, stepMs: series?.stepMs ?? 0, points: series?.points ?? [] };
    },
  };
}

interface Span {
  readonly sinceMs: number;
  readonly untilMs: number;
}

function spanOf({ since, until }: { readonly since?: number | undefined; readonly until?: number | undefined }, nowMs: number): Span {
  const span = { sinceMs: since ?? (until ?? nowMs) - DEFAULT_MS, untilMs: until ?? nowMs };
  if (span.sinceMs > span.untilMs) throw new Failure('invalid_input', { message: '`since` is later than `until`.' });
  return span;
}

/** An agent is trusted with what its Node took, and with no more memory than that needs. */
function seriesOf(frame: Buffer): Series | null {
  const value: unknown = JSON.parse(frame.subarray(1).toString());
  if (typeof value !== 'object' || value === null || !('id' in value) || !('stepMs' in value) || !('points' in value)) return null;
  const { id, stepMs, points } = value;
  if (typeof id !== 'string' || typeof stepMs !== 'number' || !Array.isArray(points) || points.length > MOST_POINTS) return null;
  return { id, stepMs, points: points.flatMap((point) => unpackPoint(point) ?? []) };
}
