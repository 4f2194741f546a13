// What happened, for people: recorded without waiting, written in batches under an hourly lease so that all of it ends after a week,
// never more than the bound. Ids rise in the order of writing, so that they are the resumable ids of the stream.

import type { table } from '../../api/table.ts';
import { messageOf } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { startLoop } from '../../lib/loop.ts';
import type { Loop } from '../../lib/loop.ts';
import type { Event } from '../../model/documents.ts';
import type { Stored } from '../../store/collection.ts';
import { put, remove } from '../../store/records.ts';
import type { Lease } from '../../store/store.ts';
import { appRecords } from '../apps/records.ts';
import type { ControlContext, EventInput } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { NounHandlers, StreamItem } from '../handler.ts';
import { findApp } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { createWakeup } from '../wakeup.ts';
import { eventRecords } from './records.ts';

const TTL_MS = 7 * 24 * 3_600_000;
const LEASE_MS = 3_600_000;
const KEPT_EVENTS = 10_000;
const WAITING_EVENTS = 1000;
const PER_COMMIT = 40;
const MESSAGE_CHARACTERS = 2000;
const STREAM_IDLE_MS = 60_000;

type EventReply = Awaited<ReturnType<NounHandlers<typeof table.events>['list']>>['items'][number];

export interface Events {
  readonly handlers: { readonly events: NounHandlers<typeof table.events> };
  /** Never throws, never waits; beyond the bound of waiting events it drops and says so in the log. */
  readonly record: (input: EventInput) => void;
  start(): void;
  /** Writes what is waiting, then ends. */
  stop(): Promise<void>;
}

export function createEvents(context: Omit<ControlContext, 'event'>): Events {
  const { clock, view, log } = context;
  const waiting: Event[] = [];
  let dropped = 0;
  let lease: Lease | null = null;
  let leaseMadeMs = 0;
  let idFloorMs = 0;
  let loop: Loop | null = null;

  const record = (input: EventInput): void => {
    if (waiting.length >= WAITING_EVENTS) {
      dropped += 1;
      return;
    }
    // A wall clock that was set back must not make ids that a follower has passed already.
    waiting.push({
      id: newId(Math.max(clock.now(), idFloorMs), context.random),
      atMs: clock.now(),
      level: input.level,
      kind: input.kind,
      message: input.message.slice(0, MESSAGE_CHARACTERS),
      subject: input.subject,
      runbook: input.runbook ?? null,
    });
    loop?.wake();
  };

  const currentLease = async (): Promise<Lease> => {
    const age = clock.monotonic() - leaseMadeMs;
    if (lease === null || age > LEASE_MS) {
      lease = await context.store.lease({ ttlMs: TTL_MS });
      leaseMadeMs = clock.monotonic();
    }
    return lease;
  };

  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, PER_COMMIT);
      const { id: leaseId } = await currentLease();
      const all = view.list(eventRecords);
      const excess = all.slice(0, Math.min(PER_COMMIT, Math.max(0, all.length + batch.length - KEPT_EVENTS)));
      try {
        await view.commit(
          ...batch.map((event) => put(eventRecords, event, { leaseId })),
          ...excess.map((stored) => remove(eventRecords, stored)),
        );
      } catch (error) {
        // Perhaps the lease is gone: the next attempt takes a new one.
        lease = null;
        throw error;
      }
      waiting.splice(0, batch.length);
    }
    if (dropped > 0) {
      log.warn({ dropped }, 'events were dropped: more happened than could be written');
      dropped = 0;
    }
  };

  const reply = (event: Event): EventReply => ({
    id: event.id,
    atMs: event.atMs,
    level: event.level,
    kind: event.kind,
    message: event.message,
    app: event.subject.appId === undefined ? null : (view.get(appRecords, event.subject.appId)?.document.name ?? null),
    environment:
      event.subject.environmentId === undefined ? null : (view.get(environmentRecords, event.subject.environmentId)?.document.name ?? null),
    runbook: event.runbook,
  });

  async function* follow(appName: string | undefined, after: string | null, signal: AbortSignal): AsyncGenerator<StreamItem<EventReply>> {
    const appId = appName === undefined ? null : findApp(view, appName).document.id;
    const wakeup = createWakeup(clock);
    const unsubscribe = view.onChange((changed) => {
      if (changed.has(eventRecords.name)) wakeup.wake();
    });
    try {
      let position = after ?? view.list(eventRecords).at(-1)?.document.id ?? '';
      while (!signal.aborted) {
        const all = view.list(eventRecords);
        for (const { document } of all.slice(firstAfter(all, position))) {
          position = document.id;
          if (appId === null || document.subject.appId === appId) yield { id: document.id, data: reply(document) };
          if (signal.aborted) return;
        }
        await wakeup.wait(STREAM_IDLE_MS, signal);
      }
    } finally {
      unsubscribe();
    }
  }

  return {
    record,
    handlers: {
      events: {
        list: async (call) => {
          const appId = call.query.app === undefined ? null : findApp(view, call.query.app).document.id;
          const newestFirst = view
            .list(eventRecords)
            .map((stored) => stored.document)
            .filter((event) => appId === null || event.subject.appId === appId)
            .reverse();
          const page = pageOf(newestFirst, call.query, { list: 'events', keyOf: (event) => event.id, order: 'descending' });
          return { items: page.items.map(reply), next: page.next };
        },
        follow: (call) => follow(call.query.app, call.lastEventId, call.signal),
      },
    },
    start: () => {
      const newest = view.list(eventRecords).at(-1)?.document.id;
      if (newest !== undefined) idFloorMs = Number.parseInt(newest.replace('-', '').slice(0, 12), 16);
      loop = startLoop({
        clock,
        everyMs: 60_000,
        run: flush,
        onError: (error) => log.warn({ error: messageOf(error) }, 'events cannot be written'),
      });
    },
    stop: async () => {
      await loop?.settled();
      await loop?.stop();
      loop = null;
    },
  };
}

function firstAtOrAfter(all: readonly Stored<Event>[], id: string): number {
  let low = 0;
  let high = all.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((all[middle]?.document.id ?? '') < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

function firstAfter(all: readonly Stored<Event>[], id: string): number {
  const index = firstAtOrAfter(all, id);
  return all[index]?.document.id === id ? index + 1 : index;
}
